import { expect, test } from 'vitest'
import { lead } from './explain'
import { newId } from './ids'
import { lines } from './json'
import { me, person } from './people'
import { prefs } from './prefs.svelte'
import { address, days, narrowing, parse, question, usual } from '../views/bookings/filters'
import { byPart, fieldOf } from '../views/create/draft.svelte'
import { moment, session } from '../backend/fixtures'

test('ids are of version 7, sort by time and never repeat', () => {
  const id = newId(1_795_000_000_000)
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  expect(newId(1_795_000_000_001) > id).toBe(true)
  expect(new Set(Array.from({ length: 1000 }, () => newId())).size).toBe(1000)
})

test('a payload is coloured as text and stays text', () => {
  const parts = lines({ key: 'a "quoted" <b>', n: -1.5, none: null }).flat()
  expect(parts.map((part) => part.text).join('')).toBe(JSON.stringify({ key: 'a "quoted" <b>', n: -1.5, none: null }, null, 2).replaceAll('\n', ''))
  expect(parts.filter((part) => part.kind === 'key').map((part) => part.text)).toEqual(['"key"', '"n"', '"none"'])
})

test('filters survive the address, and nonsense in it does no harm', () => {
  const filters = { ...usual, search: 'Inês & co', states: ['held' as const], when: 'range' as const, from: '2026-11-24', sort: 'price' as const, descending: true }
  expect(parse(new URLSearchParams(address(filters).split('?')[1]))).toEqual(filters)
  expect(parse(new URLSearchParams('state=held,broken&when=never&sort=x'))).toEqual({ ...usual, states: ['held'] })
  expect(address(usual)).toBe('/bookings')
  expect(narrowing(usual)).toBe(0)
})

test('when becomes days of the place', () => {
  expect(days({ ...usual, when: 'tomorrow' }, '2026-12-31')).toEqual({ from: '2027-01-01', to: '2027-01-01' })
  expect(days({ ...usual, when: 'week' }, '2026-11-24')).toEqual({ from: '2026-11-24', to: '2026-11-30' })
  expect(question(usual, '2026-11-24')).toMatchObject({ from: '2026-11-24', to: null, search: null })
})

test('whoever sits at a computer whose login has no name is called so in each language', () => {
  const own = { ...session, login: 'bizing_desk_j8tc32i5', display_name: 'You' }
  prefs.language = 'de'
  expect([me(own), person(own.login, own)]).toEqual(['Sie', 'Sie'])
  expect(me(session)).toBe('Sofia Marçal')
  prefs.language = 'en'
})

test('a start is offered once, in its part of the day, and a taken one stays to be seen', () => {
  const free = (time: string, id: string) => ({ starts: moment(`2026-11-25T${time}:00Z`), staff: { id, name: id }, room: null })
  const parts = byPart([free('14:00', 'ana'), free('09:00', 'ana'), free('14:00', 'tomas')], [free('18:00', 'ana'), free('09:00', 'ana')])
  expect(parts.morning.map((slot) => slot.gone)).toEqual([false])
  expect(parts.afternoon.map((slot) => slot.times.length)).toEqual([2])
  expect(parts.evening.map((slot) => slot.gone)).toEqual([true])
})

test('an error finds its field and its first sentence', () => {
  expect(fieldOf('customer.email')).toBe('email')
  expect(fieldOf('starts')).toBe('time')
  expect(fieldOf('something')).toBeNull()
  expect(lead('Today 16:00 was just taken. Marek booked it.')).toEqual(['Today 16:00 was just taken.', 'Marek booked it.'])
  expect(lead('Costs €1.50 more')).toEqual(['Costs €1.50 more', ''])
})
