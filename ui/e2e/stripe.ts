//! What somebody does at Stripe past the desk: here at the sandbox, by the calls that Stripe's own pages make.

import { request } from '@playwright/test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { data } from './database'

interface Made {
  id: string
  status: string
}

const address = () => JSON.parse(readFileSync(join(data!, 'sandbox', 'address.json'), 'utf8')) as { api: string; secret_key: string }

async function call(method: 'GET' | 'POST', path: string, form: Record<string, string> = {}): Promise<Made & Record<string, unknown>> {
  const { api, secret_key } = address()
  const http = await request.newContext({ extraHTTPHeaders: { Authorization: `Bearer ${secret_key}` } })
  try {
    const url = `http://${api}/v1/${path}`
    const answer = method === 'POST' ? await http.post(url, { form }) : await http.get(url)
    if (!answer.ok()) throw new Error(`${method} ${path}: ${answer.status()} ${await answer.text()}`)
    return (await answer.json()) as Made & Record<string, unknown>
  } finally {
    await http.dispose()
  }
}

/** A payment that is taken, with a saga's mark, and that no call of the desk's made. */
export async function paid(saga: string, minor: number): Promise<string> {
  const made = await call('POST', 'payment_intents', {
    amount: String(minor),
    currency: 'eur',
    payment_method: 'pm_card_visa',
    confirm: 'true',
    capture_method: 'manual',
    'payment_method_types[]': 'card',
    'metadata[saga_id]': saga,
  })
  await call('POST', `payment_intents/${made.id}/capture`)
  return made.id
}

export async function refund(intent: string, minor: number): Promise<string> {
  return (await call('POST', 'refunds', { payment_intent: intent, amount: String(minor), 'metadata[by]': 'hand' })).id
}

/** How much of a payment went back. */
export async function returned(intent: string): Promise<number> {
  const { data: all } = (await call('GET', `refunds?payment_intent=${intent}`)) as unknown as { data: { amount: number; status: string }[] }
  return all.filter((one) => one.status === 'succeeded').reduce((sum, one) => sum + one.amount, 0)
}

/** Stripe says no to the next call of this operation. */
export async function refuses(operation: string): Promise<void> {
  const http = await request.newContext()
  try {
    const answer = await http.post(`http://${address().api}/_sandbox/faults`, { data: { operation, nth: 1, fault: { kind: 'refused' } } })
    if (!answer.ok()) throw new Error(`faults: ${answer.status()} ${await answer.text()}`)
  } finally {
    await http.dispose()
  }
}
