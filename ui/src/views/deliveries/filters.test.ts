import { expect, test } from 'vitest'
import { NOW } from '../../backend/fixtures'
import { parseMatch, printMatch } from '../../lib/match'
import { utcOf, wallIn } from '../../lib/zoned'
import { address, instantOf, narrowing, parse, payloadWrong, text } from './filters'
import { inboxQuestion, wholeInbox, type CameFilter } from './inboxFilter'

const now = Date.parse(NOW)
const zone = 'Europe/Lisbon'

test('what is asked for survives the address, and nothing else is in it', () => {
  const filter: CameFilter = { ...wholeInbox, since: 'today', results: ['done', 'not_taken'], via: 'poll', payload: 'mode = link' }
  expect(parse(new URLSearchParams(text(filter)), wholeInbox)).toEqual(filter)
  expect(address('/deliveries/inbox', wholeInbox)).toBe('/deliveries/inbox')
  expect(narrowing(filter)).toBe(4)
})

test('today begins at midnight of the place, not of this computer', () => {
  expect(instantOf('today', now, 'Asia/Kolkata')).toBe('2026-11-23T18:30:00.000Z')
  expect(instantOf('today', now, zone)).toBe('2026-11-24T00:00:00.000Z')
  expect(instantOf('1h', now, zone)).toBe('2026-11-24T10:42:00.000Z')
  expect(instantOf('2026-11-20T09:30', now, 'America/New_York')).toBe('2026-11-20T14:30:00.000Z')
})

test('a wall time on the day when clocks change is the right instant', () => {
  expect(utcOf('2026-03-29T12:00', 'Europe/Berlin')).toBe('2026-03-29T10:00:00.000Z')
  expect(utcOf('2026-10-25T12:00', 'Europe/Berlin')).toBe('2026-10-25T11:00:00.000Z')
  expect(wallIn(Date.parse('2026-10-25T11:00:00Z'), 'Europe/Berlin')).toBe('2026-10-25T12:00:00')
})

test('the desk is asked with the payload as JSON; what it cannot be asked is said, not sent', () => {
  expect(inboxQuestion({ ...wholeInbox, payload: 'mode = link and price.currency = EUR' }, now, zone).payload).toEqual({ mode: 'link', price: { currency: 'EUR' } })
  expect(inboxQuestion({ ...wholeInbox, payload: '{"a": [1]}' }, now, zone).payload).toEqual({ a: [1] })
  expect(payloadWrong('price > 5')).toBe('object')
  expect(payloadWrong('{"a":')).toBe('json')
  expect(payloadWrong('nonsense')).toBe('line')
  expect(payloadWrong(null)).toBeNull()
})

test('a line about a payload becomes the JSON that means it, and back', () => {
  const line = 'data.price.amount_minor >= 10000 and data.mode = link'
  const value = { data: { price: { amount_minor: { $gte: 10_000 } }, mode: 'link' } }
  expect(parseMatch(line)).toEqual({ ok: value })
  expect(printMatch(value)).toBe(line)
  expect(parseMatch('a.b >= 1, a.b < 5')).toEqual({ ok: { a: { b: { $gte: 1, $lt: 5 } } } })
  expect(parseMatch('name = "x and y", zone in ["a", "b"]')).toEqual({ ok: { name: 'x and y', zone: { $in: ['a', 'b'] } } })
  expect(parseMatch('a = 1 and a.b = 2')).toEqual({ wrong: 'line', at: 'a.b = 2' })
  expect(printMatch({ $or: [{ a: 1 }] })).toBe('{"$or":[{"a":1}]}')
  expect(parseMatch('   ')).toEqual({ ok: null })
})
