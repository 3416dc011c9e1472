import { expect, test } from 'vitest'
import { moment, row } from '../src/backend/fixtures'
import { appError } from '../src/backend/testing'
import { world } from '../src/backend/world'
import { accessible, all, click, find, open, press, says, seen, type, until } from './desk'

const references = () => all('booking-row').map((element) => element.dataset.reference)

test('loading shows rows to come and no spinner', async () => {
  const backend = world()
  backend.hang('list_bookings')
  open('/bookings', backend)
  const table = await seen('bookings')
  expect(table.getAttribute('aria-busy')).toBe('true')
  expect(table.querySelectorAll('.bone').length).toBeGreaterThan(50)
})

test('empty says what the first step is', async () => {
  const backend = world({ count: 0 })
  open('/bookings', backend)
  await seen('empty')
  await says('No bookings yet')
  await accessible()
})

test('no match offers the way back to all', async () => {
  open('/bookings?q=nobody+of+this+name')
  await says('No booking matches')
  click(find('clear-filters')!)
  await until(() => all('booking-row').length > 10, 'rows')
  expect(location.hash).toContain('when=any')
})

test('whoever is looked for on other days is found with one press, and what was typed stays', async () => {
  const backend = world()
  const once = { ...row(0), reference: 'BK-LAST01', customer: { ...row(0).customer, name: 'Zoë Nakamura' } }
  backend.on('list_bookings', (p) => {
    const rows = p.search === 'nakam' && p.from === null ? [once] : []
    return { rows, next: null, total: 401, matched: rows.length, position: 1 }
  })
  open('/bookings?q=nakam', backend)
  click(await seen('all-days'))
  await until(() => find('booking-row')?.dataset.reference === 'BK-LAST01', 'the one of another day')
  expect(find('search')).toHaveProperty('value', 'nakam')
})

test('what is over recedes in the list', async () => {
  const backend = world()
  const at = (starts: string, ends: string, reference: string) => ({ ...row(0), reference, starts: moment(starts), ends: moment(ends) })
  const rows = [at('2026-11-24T09:00:00Z', '2026-11-24T10:00:00Z', 'BK-OVER01'), at('2026-11-24T18:00:00Z', '2026-11-24T19:00:00Z', 'BK-COMES1')]
  backend.on('list_bookings', () => ({ rows, next: null, total: 2, matched: 2, position: 1 }))
  open('/bookings', backend)
  await until(() => all('booking-row').length === 2, 'both')
  expect(all('booking-row').map((one) => one.classList.contains('over'))).toEqual([true, false])
})

test('an error says what, what to do, and an id to copy', async () => {
  const backend = world()
  backend.fail('list_bookings', appError('internal', 'The list could not be read.', { hint: 'Try again.' }))
  open('/bookings', backend)
  await says('The list could not be read.')
  expect(find('error-code')!.textContent).toContain('01937c44-9be0')
  await accessible()
})

test('data can be read, sorted and moved through with the keyboard', async () => {
  open('/bookings')
  await until(() => all('booking-row').length > 10, 'rows')
  expect(find('counts')!.textContent).toBe('48 in all.')
  await accessible()
  press('j')
  press('j')
  press('j')
  press('k')
  expect(document.querySelector('[aria-selected="true"]')!.id).toBe('row-1')
  press(' ')
  await seen('peek')
  await says('Open the booking')
  await accessible()
  press('Escape')
  await until(() => !find('peek'), 'closed peek')
  press('Enter')
  await until(() => location.hash.startsWith('#/bookings/BK-'), 'the booking')
})

test('a search narrows, keeps the typed text and counts', async () => {
  open('/bookings')
  await until(() => all('booking-row').length > 10, 'rows')
  press('/')
  expect(document.activeElement).toBe(find('search'))
  type('search', 'stella m')
  await says('48 in all. 2 match.')
  expect((find('search') as HTMLInputElement).value).toBe('stella m')
})

test('a change arrives in the row where it is, and nothing else moves', async () => {
  const backend = open('/bookings')
  await until(() => all('booking-row').length > 10, 'rows')
  press('j')
  const before = references()
  const changed = Array.from({ length: 48 }, (_, i) => (i === 3 ? { ...row(3), state: 'confirmed' as const, payment: 'paid' as const } : row(i)))
  backend.on('list_bookings', () => ({ rows: changed, next: null, total: 48, matched: 48, position: 4119 }))
  backend.hint('bookings')
  await until(() => all('booking-row')[3]!.textContent!.includes('Confirmed'), 'the change')
  expect(references()).toEqual(before)
  expect(document.querySelector('[aria-selected="true"]')!.id).toBe('row-0')
})

test('a row that comes in above leaves the row under the pointer where it is', async () => {
  const backend = open('/bookings')
  await until(() => all('booking-row').length > 10, 'rows')
  const table = find('bookings')!
  const watched = all('booking-row')[5]!
  const reference = watched.dataset.reference
  const height = watched.getBoundingClientRect().top
  watched.dispatchEvent(new PointerEvent('pointerenter'))
  const rows = [row(60), ...Array.from({ length: 48 }, (_, i) => row(i))]
  backend.on('list_bookings', () => ({ rows, next: null, total: 49, matched: 49, position: 4119 }))
  backend.hint('bookings')
  await until(() => table.scrollTop > 0, 'the move')
  const now = all('booking-row').find((element) => element.dataset.reference === reference)!
  expect(Math.abs(now.getBoundingClientRect().top - height)).toBeLessThan(2)
})

test('of 100,000 bookings fewer than 100 rows exist, and the far end is reached', async () => {
  const backend = world({ count: 100_000 })
  open('/bookings', backend)
  await until(() => all('booking-row').length > 10, 'rows')
  expect(all('booking-row').length).toBeLessThan(100)
  const table = find('bookings')!
  expect(table.scrollHeight).toBeGreaterThan(3_000_000)
  table.scrollTop = 5000 * 34
  await until(() => all('booking-row').some((element) => element.id === 'row-5005' && element.dataset.reference), 'row 5,005', 20_000)
  expect(all('booking-row').length).toBeLessThan(100)
  expect(backend.asked('list_bookings')).toBeLessThan(12)
}, 40_000)
