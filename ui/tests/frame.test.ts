import { expect, test } from 'vitest'
import { TokenNeeded } from '../src/backend/backend'
import { moment, row, status } from '../src/backend/fixtures'
import { appError } from '../src/backend/testing'
import type { ListBookings } from '../src/backend/types'
import { ready, world } from '../src/backend/world'
import { setPrefs } from '../src/lib/prefs.svelte'
import { accessible, all, click, find, open, press, says, seen, type, until } from './desk'

test('the first run asks one question and puts an error beside its field', async () => {
  const backend = world()
  backend.on('host_state', () => ({ ...ready, phase: { is: 'choose' }, profile: null }))
  backend.fail('choose_start', appError('request.invalid', 'This is not a Postgres address.', { field: 'url' }))
  open('', backend)
  await says('How do you want to begin?')
  await accessible()
  click(find('start-connect')!)
  await seen('start-url')
  type('start-url', 'mysql://x')
  click(find('start-go')!)
  await says('This is not a Postgres address.')
  expect(find('start-url')!.getAttribute('aria-invalid')).toBe('true')
  expect((find('start-url') as HTMLInputElement).value).toBe('mysql://x')
  backend.mend('choose_start')
  click(find('start-go')!)
  await says('Getting your desk ready')
  expect(backend.calls.findLast((call) => call.name === 'choose_start')!.params).toEqual({ choice: 'connect', url: 'mysql://x' })
})

test('starting shows its steps and goes on by itself', async () => {
  const backend = world()
  backend.on('host_state', () => ({ ...ready, phase: { is: 'starting', step: 'migrating', since: new Date().toISOString() } }))
  open('', backend)
  await seen('starting')
  expect(document.querySelector('[aria-current="step"]')!.textContent).toContain('Bring the tables up to date')
  await accessible()
  backend.mend('host_state')
  await until(() => all('booking-row').length > 10, 'the bookings')
})

test('a failed start says what, why, what to do, and offers both ways on', async () => {
  const backend = world()
  backend.on('host_state', () => ({
    ...ready,
    phase: { is: 'failed', since: new Date().toISOString(), error: appError('database.wrong_password', 'The password is wrong.', { hint: 'Enter it again.' }) },
  }))
  open('', backend)
  await says('The password is wrong.')
  await says('Enter it again.')
  expect(find('error-code')!.textContent).toContain('database.wrong_password')
  await accessible()
  click(find('start-retry')!)
  await until(() => backend.asked('retry_start') === 1, 'the retry')
})

test('a browser without the token is told where to find it', async () => {
  const backend = world()
  backend.on('host_state', () => {
    throw new TokenNeeded()
  })
  open('', backend)
  await seen('token-needed')
  await accessible()
})

test('a database that goes away does not take the desk off the screen', async () => {
  const backend = open('/bookings')
  await until(() => all('booking-row').length > 10, 'rows')
  backend.on('host_state', () => ({ ...ready, phase: { is: 'failed', since: new Date().toISOString(), error: appError('database.unreachable', 'The database is gone.') } }))
  backend.fail('status', appError('database.unreachable', 'The database is gone.'))
  await seen('stale')
  await says('The database is gone.')
  expect(all('booking-row').length).toBeGreaterThan(10)
}, 20_000)

test('the status bar tells a problem in words, with what to do', async () => {
  const backend = world()
  backend.on('status', () => ({ ...status, workers: 0, works_here: false, stripe: { ...status.stripe, state: 'down', problem: 'Stripe refuses our key.', hint: 'Enter a new key.' } }))
  open('/bookings', backend)
  await says('No background work')
  click(await seen('status-stripe'))
  await says('Enter a new key.')
  await accessible()
})

test('the sandbox says so on every screen', async () => {
  open('/settings')
  await says('Sandbox: no money moves')
  await says('PostgreSQL 15.18')
  await accessible()
})

test('the palette finds a booking and opens it', async () => {
  open('/bookings')
  await until(() => all('booking-row').length > 10, 'rows')
  press('k', { ctrlKey: true })
  await seen('palette')
  const field = document.querySelector<HTMLInputElement>('.palette input')!
  field.value = 'stella mavros'
  field.dispatchEvent(new InputEvent('input', { bubbles: true }))
  await until(() => document.querySelector('.palette .hit mark')?.textContent === 'Stella Mavros', 'a hit')
  await accessible()
  press('Enter')
  await until(() => location.hash.startsWith('#/bookings/BK-'), 'the booking')
})

test('of somebody’s bookings the palette shows the next first, then the last', async () => {
  const backend = world()
  const asked: ListBookings[] = []
  backend.on('list_bookings', (p) => {
    asked.push(p)
    const of = (wall: string, id: string) => ({ ...row(0), booking_id: id, reference: `BK-${id}`, starts: moment(wall) })
    const rows = p.search !== 'stella' ? [] : p.from ? [of('2026-11-25T09:00:00Z', 'NEXT')] : [of('2026-11-20T09:00:00Z', 'LAST')]
    return { rows, next: null, total: 2, matched: rows.length, position: 1 }
  })
  open('/bookings', backend)
  await seen('counts')
  press('k', { ctrlKey: true })
  await seen('palette')
  const field = document.querySelector<HTMLInputElement>('.palette input')!
  field.value = 'stella'
  field.dispatchEvent(new InputEvent('input', { bubbles: true }))
  await until(() => find('palette')!.textContent!.includes('BK-LAST'), 'both')
  expect(find('palette')!.textContent).toMatch(/BK-NEXT.*BK-LAST/)
  const found = asked.filter((p) => p.search === 'stella')
  expect(found.map((p) => [p.from, p.to, p.descending])).toEqual([['2026-11-24', null, false], [null, '2026-11-23', true]])
})

test('messages show what a customer would have got', async () => {
  const backend = open('/messages')
  await seen('message-text')
  expect(find('message-text')!.textContent).toContain('your booking is confirmed')
  expect(find('message-text')!.textContent).toContain('BEGIN:VCALENDAR')
  await accessible()
  press('j')
  await until(() => find('message-text')!.textContent!.includes('Pay here'), 'the next one')
  click(find('message-text')!.querySelector('a')!)
  expect(backend.links).toEqual(['http://127.0.0.1:4242/pay/cs_test_a1B2c3'])
})

test('single letters can be turned off, and help stays beside the page', async () => {
  open('/bookings')
  await until(() => all('booking-row').length > 10, 'rows')
  press('?')
  await seen('keys')
  await accessible()
  press('Escape')
  await until(() => !find('keys'), 'the help to close')
  setPrefs({ singleKeys: false })
  press('n')
  await new Promise((resolve) => setTimeout(resolve, 60))
  expect(find('new-booking-drawer')).toBeNull()
})

test('a restored database is said above everything until it is put away', async () => {
  const backend = world()
  const found = { what: 'restored', found_at: moment('2026-11-24T11:40:00Z'), taken_at: moment('2026-11-24T03:30:00Z'), read_upto: 4118, kept_upto: 3900 } as const
  backend.on('status', () => ({ ...status, log_change: found }))
  open('', backend)
  const banner = await seen('log-changed')
  expect(banner.textContent).toContain('restored from the backup of Tue 24 Nov 03:30 WET')
  expect(banner.textContent).toContain('What was done after that is not in it')
  await accessible()
  click(find('log-changed-seen')!)
  await until(() => !find('log-changed'), 'the banner to go')
  backend.on('status', () => ({ ...status, log_change: { ...found, what: 'went_back', found_at: moment('2026-11-24T11:50:00Z') } }))
  await says('brought back to an earlier state by another tool')
})

test('a rebuild that runs shows its per cent in the rail, and a view that stands still goes before it', async () => {
  const backend = world()
  backend.on('status', () => ({ ...status, rebuild_percent: 64 }))
  open('', backend)
  expect((await seen('rebuild-percent')).textContent).toMatch(/^Being rebuilt: ?64 %$/)
  await accessible()
  backend.on('status', () => ({ ...status, rebuild_percent: 64, projections: [{ ...status.projections[0]!, parked: 'event 3: x' }] }))
  await seen('parked-count')
  expect(find('rebuild-percent')).toBeNull()
})
