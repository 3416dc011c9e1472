import { expect, test } from 'vitest'
import { deliveryRow, endpointOf, endpointRows, listDeliveries } from '../../backend/deliveries'
import { NOW } from '../../backend/fixtures'
import { changeWord, endpointLine, endpointNext, endpointsSay, offSoon, story } from './endpointWords'
import { line, stacked, within } from './history'
import { logQuestion, wholeLog } from './logFilter'
import { headline, logSays, next, said, tries } from './logWords'
import { add, beginnings, covers, takes, valid } from './patterns'
import { parseHeaders, parseSchedule, printHeaders, printSchedule, usual } from './sending'
import { precise } from './times'
import { phases } from './waterfall'

const now = Date.parse(NOW)
const zone = 'Europe/Lisbon'
const say = (parts: { text: string }[]) => parts.map((part) => part.text).join(' ')

// ---- endpoints -----------------------------------------------------------------------------------------

test('a star takes what begins so, later ones too, and what it takes need not be named', () => {
  const types = ['BookingCreated', 'BookingConfirmed', 'PaymentReceived', 'Refunded']
  expect(takes('Booking*', 'BookingConfirmed')).toBe(true)
  expect(takes('Booking', 'BookingConfirmed')).toBe(false)
  expect(covers(['Booking*', 'Refunded'], types)).toEqual(['BookingCreated', 'BookingConfirmed', 'Refunded'])
  expect(beginnings(types)).toEqual(['Booking*'])
  expect(beginnings(['NotificationSent', 'NotificationFailed', 'NoShowRecorded', 'NoShowWithdrawn'])).toEqual(['Notification*', 'NoShow*'])
  expect(add(['BookingCreated', 'Refunded'], 'Booking*')).toEqual(['Refunded', 'Booking*'])
  expect(add(['Booking*'], 'BookingCreated')).toEqual(['Booking*'])
  expect([valid('*'), valid('Payment*'), valid('*Paid'), valid('a b')]).toEqual([true, true, false, false])
})

test('what was refused for good is not said to have used up its tries', () => {
  const gave = { ...deliveryRow(0), state: 'gave_up' as const, most_tries: 8 }
  expect(headline({ ...gave, tries: 1 }, now, zone)).toBe('it is not tried again')
  expect(headline({ ...gave, tries: 8 }, now, zone)).toBe('every try is used up')
})

test('bars show what little there was beside much, and times have a gap where nothing was sent', () => {
  const bar = (delivered: number, failed: number) => ({ from: '', until: '', delivered, failed, p50_ms: null, p95_ms: null })
  expect(stacked([bar(998, 2), bar(0, 0), bar(50, 0)], 100)).toEqual([
    { x: 1, ok: 98, bad: 2 },
    { x: 11, ok: 0, bad: 0 },
    { x: 21, ok: 5, bad: 0 },
  ])
  expect(line([10, 10_000, null, 100], 34)).toBe('M5 32.0L15 2.0M35 22.0h0')
  expect([within(250), within(10_000)]).toEqual(['250 ms', 'over 5 s'])
})

test('every way in which a send can fail has a sentence of its own', () => {
  const sources = import.meta.glob<string>('../../../../src-tauri/engine/src/delivery/http/send.rs', { query: '?raw', import: 'default', eager: true })
  const words = Object.values(sources).flatMap((text) => [...text.matchAll(/FailureClass::\w+ => "(\w+)"/g)].map((found) => found[1] ?? ''))
  expect(words.length).toBeGreaterThan(9)
  const sentences = words.map((error_class) => said({ error_class }))
  expect(sentences).not.toContain('')
  expect(new Set(sentences).size).toBe(words.length)
})

test('every change of an endpoint that the database can write has a word', () => {
  const migrations = import.meta.glob<string>('../../../../migrations/*.sql', { query: '?raw', import: 'default', eager: true })
  const sql = Object.values(migrations).join('\n')
  const written = new Set(
    [/\bwhat := '(\w+)'/g, /noted\('(\w+)'/g, /noted\(case when .*? then '(\w+)' else/g, /noted\(case when .*? else '(\w+)' end/g, /insert into delivery\.changes[^;]*?(?:values \(|select )'(\w+)'/g].flatMap((found) =>
      [...sql.matchAll(found)].map((match) => match[1]!),
    ),
  )
  expect([...written]).toEqual(expect.arrayContaining(['created', 'changed', 'tried_now', 'tested', 'warned', 'disabled', 'held', 'held_newest_sent', 'secret_shown']))
  // Of one delivery, of many, or of Stripe’s secrets: these stand at the delivery, at the decision and under Policies.
  const elsewhere = ['tried_again', 'replayed', 'cancelled', 'bulk_started', 'bulk_', 'incoming_added', 'incoming_ended']
  const raw = [...written].filter((what) => !elsewhere.includes(what) && changeWord(what) === what.replaceAll('_', ' '))
  expect(raw).toEqual([])
})

test('a schedule and headers are read as they are typed, or not at all', () => {
  expect(parseSchedule('0, 5 s, 5 min, 2 h, 1 d')).toEqual([0, 5, 300, 7200, 86_400])
  expect(parseSchedule(printSchedule(usual.schedule_s))).toEqual(usual.schedule_s)
  expect(parseSchedule('soon')).toBeNull()
  expect(parseHeaders('X-Tenant: halcyon\n\nx-b:  2 ')).toEqual({ 'x-tenant': 'halcyon', 'x-b': '2' })
  expect(parseHeaders('no colon')).toBeNull()
  expect(printHeaders({ a: '1', b: '2' })).toBe('a: 1\nb: 2')
})

test('an endpoint that works says of its last failures, and never that nothing was sent there', () => {
  const one = endpointOf(endpointRows[0]!.destination_id)!
  const works = { ...one, last_delivered_at: null, row: { ...one.row, state: 'works' as const, last_code: 503, owed: 2 } }
  expect(story({ ...works, consecutive_failures: 4 }, zone, now)).toMatchObject({ lead: 'It answered “503” 4 times in a row.', rest: '2 deliveries are on their way.' })
  expect(story({ ...works, consecutive_failures: 0 }, zone, now)).toMatchObject({ lead: 'It works.', rest: 'Nothing was sent there yet. 2 deliveries are on their way.' })
})

test('an endpoint that fails says why, what happens next and when it turns itself off', () => {
  const told = story(endpointOf(endpointRows[0]!.destination_id)!, zone, now)
  expect(told.lead).toBe('It answered “503” 5 times in a row,')
  expect(told.rest).toBe('so we stopped sending at 11:41:55. 4 deliveries wait and use up no tries. At 11:47:48 we send one; if it gets through, the others follow, 10 per second.')
  expect(told.later).toBe('Failing since 10:35:05. Turned off on Sun 29 Nov, 10:33, in 4 days, if nothing gets through.')
  const silent = story(endpointOf(endpointRows[1]!.destination_id)!, zone, now)
  expect(`${silent.lead} ${silent.rest}`).toContain('It did not answer 5 times in a row, so we stopped sending')
  expect(offSoon(endpointRows[0]!, now)).toBe(false)
  expect(offSoon(endpointRows[1]!, now)).toBe(true)
})

test('rows say in one line what is wrong, and what they wait for', () => {
  const line = (i: number) => endpointLine(endpointRows[i]!, zone, now).text
  expect(line(0)).toBe('It fails (503)')
  expect(line(1)).toBe('No answer since Sat 21 Nov, 07:02')
  expect(line(2)).toBe('1 unclear, needs a person')
  expect(line(6)).toBe('Since 09:42:12, by a person')
  expect(line(7)).toBe('It said 410 Gone at 10:21:06')
  expect(endpointNext(endpointRows[7]!, zone, now)).toBe('never, by itself')
  expect(endpointNext(endpointRows[0]!, zone, now)).toBe('tries one at 11:47:48')
  expect(say(endpointsSay(endpointRows))).toBe('4 of 8 endpoints work. 2 are paused because they fail. 1 is paused by hand. 1 is turned off. Nothing is lost: 15 wait.')
})

// ---- the log -------------------------------------------------------------------------------------------

test('the sentence above the log counts what asks for something, and nothing else', () => {
  const { counts } = listDeliveries({ filter: logQuestion(wholeLog, now, zone), after: null, limit: 1 })
  expect(say(logSays(counts))).toBe('1,204 delivered today, 6 retrying, 2 gave up, 1 unclear, 1 held.')
  expect(say(logSays({ ...counts, scheduled: 0, retrying: 0, gave_up: 0, unclear: 0, held: 0 }))).toBe('1,204 delivered today, nothing waits.')
})

test('what comes next is a time, a reason to wait, or a decision', () => {
  expect(next(deliveryRow(2), now)).toBe('in 5 min')
  expect(next(deliveryRow(7), now)).toBe('endpoint fails')
  expect(next(deliveryRow(8), now)).toBe('decide')
  expect(next(deliveryRow(1), now)).toBe('')
  expect(tries(deliveryRow(2))).toBe('3/10')
  expect(tries(deliveryRow(1))).toBe('1')
  expect(precise(404_000)).toBe('6 min 44 s')
  expect(precise(4_000)).toBe('4 s')
})

test('a waterfall lays phase after phase, finds the longest, and leaves out what did not happen', () => {
  const all = phases({ dns_ms: 12, connect_ms: 38, tls_ms: 61, first_byte_ms: 1981, body_ms: 12, total_ms: 2104 })
  expect(all.map((phase) => phase.name)).toEqual(['try.dns', 'try.connect', 'try.tls', 'try.first_byte', 'try.body'])
  expect(all.find((phase) => phase.longest)?.name).toBe('try.first_byte')
  expect(all[3]!.left).toBeCloseTo(5.3, 1)
  expect(all[4]!.left + all[4]!.width).toBeCloseTo(100, 5)
  // Over a kept connection there is nothing to look up.
  expect(phases({ dns_ms: null, connect_ms: null, tls_ms: null, first_byte_ms: 40, body_ms: 2, total_ms: 42 }).map((phase) => phase.name)).toEqual(['try.first_byte', 'try.body'])
  // No answer came: the time was spent waiting, and the picture says so.
  const late = phases({ dns_ms: 10, connect_ms: 40, tls_ms: 64, first_byte_ms: null, body_ms: null, total_ms: 15_000 })
  expect(late.at(-1)).toMatchObject({ name: 'try.waited', ms: 14_886, longest: true })
})
