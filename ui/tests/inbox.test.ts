import { expect, test } from 'vitest'
import { inboxRow, inboxRows, incomingSecrets, listInbox } from '../src/backend/inbox'
import { appError } from '../src/backend/testing'
import type { AddIncomingSecret } from '../src/backend/types'
import { redelivery } from '../src/backend/deliveries'
import { world } from '../src/backend/world'
import { accessible, all, click, find, open, press, says, seen, type, until } from './desk'

const asked = (backend: ReturnType<typeof world>, name: string) => backend.calls.filter((call) => call.name === name)

test('the inbox says how it comes in, and of each arrival whether it is genuine and what became of it', async () => {
  open('/deliveries/inbox')
  await until(() => all('inbox-row').length > 15, 'rows')
  expect(find('deliveries-say')!.textContent!.trim()).toBe('31 came in today: 28 taken, 1 duplicate, 1 not taken, 1 in quarantine.')
  expect(find('poll-bar')!.textContent).toMatch(/8 s ago.*every 10 s, 1 payment waits.*0 events.*4\.2 s/s)
  await accessible()
})

test('a row names the event that an arrival led to, and its link goes there', async () => {
  open('/deliveries/inbox')
  await until(() => all('inbox-row').length > 15, 'rows')
  const done = inboxRows.findIndex((row) => row.led_to)
  expect(inboxRows[0]!.led_to).toBeNull()
  expect(all('inbox-row')[0]!.querySelector('[data-testid=led-to]')).toBeNull()
  const link = all('inbox-row')[done]!.querySelector('[data-testid=led-to]')!
  expect(link.textContent).toBe('PaymentReceived')
  expect(link.getAttribute('href')).toBe(`#/events/${inboxRows[done]!.led_to!.position}`)
})

test('a webhook that came too late shows whose clock is wrong and that nothing is missing', async () => {
  const late = inboxRows[2]!
  open(`/deliveries/inbox/${late.arrival_id}`)
  await until(() => find('clock-wrong')?.textContent?.includes('The clock of server-2 is 6 min 44 s fast.'), 'the clock')
  expect(find('arrival')!.textContent).toContain('Too old by 1 min 48 s')
  expect(find('arrival')!.textContent).toContain('nothing is missing')
  expect(find('became-of')!.textContent).toContain('Not taken, answered 400')
  expect(find('became-event')!.textContent).toBe('#4\u00a0118\u00a0231')
  expect(find('clocks')).not.toBeNull()
  await accessible()
})

test('one or many are processed again with a reason; a forged one never', async () => {
  const backend = open(`/deliveries/inbox/${inboxRow(7).arrival_id}`)
  await until(() => find('arrival-result')?.textContent?.includes('Quarantine'), 'in quarantine')
  press('r')
  await seen('process-dialog')
  await accessible()
  type('reason', 'The booking was entered by hand')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'reprocess').length === 1, 'asked')
  expect(asked(backend, 'reprocess')[0]!.params).toEqual({ arrival_ids: [inboxRow(7).arrival_id], reason: 'The booking was entered by hand' })
  await until(() => find('process-dialog') === null, 'the dialog closes')
  press('x')
  press('j')
  press('x')
  await until(() => find('inbox-bulk')?.textContent?.includes('2'), 'two chosen')
  await accessible()
  click(find('inbox-process')!)
  await seen('process-dialog')
  type('reason', 'The booking was entered by hand')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'reprocess').length === 2, 'both')
  expect((asked(backend, 'reprocess')[1]!.params as { arrival_ids: number[] }).arrival_ids).toHaveLength(2)
})

test('a forged arrival is refused by name', async () => {
  open(`/deliveries/inbox/${inboxRow(12).arrival_id}`)
  await until(() => find('arrival')?.textContent?.includes('No secret of ours made this signature'), 'forged')
  expect(find('reprocess')!.getAttribute('aria-disabled')).toBe('true')
  await accessible()
})

test('Stripe is asked when somebody asks', async () => {
  const backend = open('/deliveries/inbox')
  click(await seen('poll-now'))
  await until(() => asked(backend, 'poll_now').length === 1, 'asked')
  await says('Asked to look. What comes shows here.')
})

test('an empty inbox and a filter without a match say so', async () => {
  const backend = world()
  backend.on('list_inbox', (p) => ({ ...listInbox(p), rows: [], next: null }))
  open('/deliveries/inbox?results=forged', backend)
  await says('Nothing that came in fits')
  await accessible()
})

test('a link to an arrival that is none says so in plain words', async () => {
  const backend = open('/deliveries/inbox/evt_1', world())
  await says('There is no such arrival')
  expect(backend.calls.filter((call) => call.name === 'get_arrival')).toHaveLength(0)
  backend.fail('get_arrival', appError('request.not_found', 'That arrival is not here any more.'))
  location.hash = '#/deliveries/inbox/4711'
  await until(() => backend.calls.some((call) => call.name === 'get_arrival'), 'asked for it')
  await says('There is no such arrival')
})

test('all that a filter finds is counted, processed again as that set, watched and shown one by one', async () => {
  const backend = world()
  backend.on('list_redeliveries', () => [])
  open('/deliveries/inbox?results=quarantined,kept', backend)
  await until(() => all('inbox-row').length > 0, 'rows')
  click(find('process-many')!)
  await until(() => find('again-many-plan')?.textContent?.includes('212'), 'counted')
  expect(find('again-many')!.textContent).toMatch(/Process these 214 again\?.*3 stay out.*They wait to be processed already\./s)
  await accessible()
  expect(find('again-many-go')!.getAttribute('aria-disabled')).toBe('true')
  click(find('pace-500')!)
  type('again-many-why', 'The new version knows these')
  const came = asked(backend, 'preview_reprocess')[0]!.params as { filter: { results: string[] } }
  expect(came.filter.results).toEqual(['quarantined', 'kept'])
  const running = redelivery({ action: 'reprocess', came: came.filter as never, count: 214, done: 100, delivered: 98, failed: 1, state: 'running' })
  backend.on('list_redeliveries', () => [running, redelivery()])
  click(find('again-many-go')!)
  await until(() => asked(backend, 'start_reprocess').length === 1, 'started')
  expect(asked(backend, 'start_reprocess')[0]!.params).toMatchObject({ filter: came.filter, hash: 'a11ce', per_second: 500, reason: 'The new version knows these' })
  await until(() => all('running').length === 1, 'only what came in')
  expect(find('running')!.textContent).toMatch(/Processing 214 again.*100 of 214, 98 through, 1 failed/s)
  await accessible()
  click(find('many-stop')!)
  await until(() => asked(backend, 'change_redelivery').length === 1, 'stopped')
  click(find('many-each')!)
  await until(() => (asked(backend, 'list_inbox').at(-1)!.params as { filter: { decision: string | null } }).filter.decision === running.bulk_id, 'each of it')
  expect(find('filter-decision')).not.toBeNull()
})

test('what Stripe signs with is added masked, beside those that are there, and ended with a reason', async () => {
  const backend = open('/settings/policies')
  await until(() => all('incoming-secret').length === 2, 'two secrets')
  expect(find('incoming-secrets')!.textContent).toMatch(/whsec_…t4Qe.*Counts.*whsec_…9aLm.*Ends.*in 12 h/s)
  expect(find('incoming-secrets')!.textContent).toContain('“Rolled as every half year”')
  await accessible()
  click(find('incoming-add')!)
  await seen('incoming-dialog')
  expect((find('incoming-value') as HTMLInputElement).type).toBe('password')
  expect(find('incoming-go')!.getAttribute('aria-disabled')).toBe('true')
  type('incoming-value', ' whsec_plJ3nmyCDGBKInavdOK15jsl ')
  type('incoming-reason', 'Rolled at Stripe this morning')
  await accessible()
  backend.fail('add_incoming_secret', appError('request.invalid', 'A signing secret of Stripe begins with whsec_.', { field: 'secret' }))
  click(find('incoming-go')!)
  await until(() => find('incoming-value')!.getAttribute('aria-invalid') === 'true', 'refused at the field')
  backend.mend('add_incoming_secret')
  click(find('incoming-go')!)
  await until(() => !find('incoming-dialog'), 'added')
  const [first, second] = asked(backend, 'add_incoming_secret').map((call) => call.params as AddIncomingSecret)
  expect(second).toMatchObject({ secret: 'whsec_plJ3nmyCDGBKInavdOK15jsl', others_for_h: 24, reason: 'Rolled at Stripe this morning' })
  // Pressed twice, it is one.
  expect(second!.secret_id).toBe(first!.secret_id)
  click(all('incoming-end')[1]!)
  await seen('incoming-end-dialog')
  type('reason', 'It became known to somebody')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'end_incoming_secret').length === 1, 'ended')
  expect(asked(backend, 'end_incoming_secret')[0]!.params).toMatchObject({ secret_id: incomingSecrets.secrets[1]!.secret_id })
})

test('only an admin may add or end what Stripe signs with, and is told so on the action itself', async () => {
  const backend = world()
  backend.on('list_incoming_secrets', () => ({ ...incomingSecrets, refused: 'An admin adds and ends these secrets.' }))
  open('/settings/policies', backend)
  await seen('incoming-add')
  expect(find('incoming-add')!.getAttribute('aria-disabled')).toBe('true')
  expect(all('incoming-end').every((one) => one.getAttribute('aria-disabled') === 'true')).toBe(true)
})
