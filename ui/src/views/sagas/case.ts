//! A saga with everything known of it, as a file for whoever helps. Who the customer is does not leave the desk.

import type { SagaPage } from '../../backend/types'
import type { Desk } from '../../live/desk'
import { everything } from '../events/filters'
import { logQuestion, wholeLog } from '../deliveries/logFilter'

const HIDDEN = '(left out)'
/** As much of each as one answer holds. */
const MOST = 200
/** What people and other programs wrote: a name or a number may stand anywhere in it. */
const WRITTEN = new Set(['reason', 'refusal', 'evidence', 'message', 'error', 'text', 'note', 'said', 'response', 'undo_reason', 'description'])

/** What else is known of its booking. */
export interface Beside {
  events: unknown[]
  deliveries: unknown[]
}

export function caseOf(page: SagaPage, beside: Beside = { events: [], deliveries: [] }): Record<string, unknown> {
  const name = page.row.booking.customer.name
  const copy = structuredClone(page)
  copy.email = copy.email === null ? null : HIDDEN
  copy.row.booking.customer.name = HIDDEN
  const told = redacted({ ...copy, booking_events: beside.events, deliveries: beside.deliveries }, name) as Record<string, unknown>
  return { kind: 'bizing-desk saga case', version: 2, ...told }
}

function redacted(value: unknown, name: string, key = '', written = false): unknown {
  const within = written || WRITTEN.has(key)
  if (typeof value === 'string') return within ? withoutPerson(withoutAddress(value), name) : withoutName(withoutAddress(value), name)
  if (Array.isArray(value)) return value.map((one) => redacted(one, name, key, written))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([of, one]) => [of, redacted(one, name, of, within)]))
}

const withoutAddress = (text: string) => text.replace(/[^\s"<>,;:()\\]+@[^\s"<>,;:()\\]+/g, '(address)')
const literal = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
const withoutName = (text: string, name: string) => (name ? text.replace(new RegExp(literal(name), 'giu'), '(name)') : text)

/** Each part of the name too, and whatever could be a telephone number. A date is none, nor is a part of an id. */
function withoutPerson(text: string, name: string): string {
  const parts = name.split(/\s+/).filter((part) => part.length > 2)
  const unnamed = parts.reduce((left, part) => left.replace(new RegExp(`(?<!\\p{L})${literal(part)}(?!\\p{L})`, 'giu'), '(name)'), withoutName(text, name))
  return unnamed.replace(/(?<![\w-])\+?\d[\d ()./-]{6,}\d(?![\w-])/g, (number) => (/^\d{4}-\d{2}-\d{2}/.test(number) || number.replace(/\D/g, '').length < 7 ? number : '(number)'))
}

/** The booking's events as they are stored, and where they went. */
export async function besideOf(desk: Desk, page: SagaPage): Promise<Beside> {
  const booking = page.row.booking.booking_id
  const [log, sent] = await Promise.all([
    desk.call('list_events', { filter: { ...everything, stream: `booking-${booking}` }, before: null, after: null, limit: MOST }),
    desk.call('list_deliveries', { filter: { ...logQuestion(wholeLog, 0, 'UTC'), booking_id: booking }, after: null, limit: MOST }),
  ])
  const correlations = [...new Set(log.rows.map((row) => row.correlation_id))].reverse()
  const copies = await Promise.all(correlations.map((correlation_id) => desk.call('copy_events', { copy: 'correlation', correlation_id })))
  return { events: copies.flatMap((copy) => JSON.parse(copy.json) as unknown[]), deliveries: sent.rows }
}

export async function saveCase(desk: Desk, page: SagaPage): Promise<void> {
  const beside = await besideOf(desk, page)
  const blob = new Blob([JSON.stringify(caseOf(page, beside), null, 2)], { type: 'application/json' })
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = `saga-${page.row.booking.reference}.json`
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}
