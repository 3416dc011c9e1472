import { expect, test } from 'vitest'
import { awaitingPage, before, NOW, retryingPage, undonePage } from '../../backend/fixtures'
import { plan } from './cancelPlan'
import { instants, scale } from './gantt'
import { byDay, chain, counts, entries } from './order'
import { sagaSentence } from './sagaWords'
import { outcome, tell } from './story'

const now = Date.parse(NOW)

test('a scale folds long quiet stretches and keeps everything in order', () => {
  const { at, folds } = scale([0, 20, 420, 60_000, 60_400, 2_000_000])
  expect(folds.map((fold) => fold.ms)).toEqual([59_580, 1_939_600])
  expect([at(0), at(2_000_000)]).toEqual([0, expect.closeTo(1)])
  const places = [0, 20, 420, 30_000, 60_000, 60_400, 1_000_000, 2_000_000].map(at)
  expect(places).toEqual(places.toSorted((a, b) => a - b))
})

test('a scale of one instant, or of none, divides by nothing', () => {
  expect(scale([5]).at(5)).toBe(0)
  expect(scale([]).at(5)).toBeGreaterThanOrEqual(0)
  expect(scale([0, 30_000]).at(15_000)).toBeCloseTo(0.5)
  expect(instants(awaitingPage().saga!.steps, now, true).at(-1)).toBe(now)
})

test('every line of the story is told, whatever is in it', () => {
  for (const page of [retryingPage(), awaitingPage(), undonePage()])
    for (const item of page.timeline) {
      const told = tell(item)
      expect(told.title).not.toMatch(/undefined|null|\{|^\s*$/)
      expect(told.note).not.toMatch(/undefined|null|\{/)
    }
  const strange = tell({ ...retryingPage().timeline[0]!, what: 'RoomHasMoved', data: { a: 1 } })
  expect(strange.title).toBe('Room has moved')
})

test('a try is only green when it is known to have gone well', () => {
  expect(outcome({ result: 'done' })).toBe('done')
  expect(outcome({ result: 'unknown', duration_ms: 20_000 })).toBe('unknown')
  expect(outcome({ result: 'something new', duration_ms: 5 })).toBe('unknown')
  expect(outcome({})).toBe('running')
  expect(outcome({ result: 'not_sent', error: 'no route' })).toBe('retry')
  expect(outcome({ result: 'refused', error: '550 no such user' })).toBe('failed')
})

test('what Stripe says in a whole sentence stands in a list without its full stop', () => {
  const item = retryingPage().timeline.find((one) => one.kind === 'event')!
  const declined = { ...item, what: 'PaymentFailed', data: { message: 'Your card was declined.', decline_code: 'generic_decline' } }
  expect(tell(declined).note).toBe('Your card was declined, generic_decline')
})

test('the timeline is grouped by day, counted, and turns round', () => {
  const all = entries(retryingPage().timeline)
  expect(counts(all)).toEqual({ booking: 3, money: 3, saga: 3, messages: 4 })
  const newest = byDay(all, true)
  expect(newest.map((day) => day.date)).toEqual(['2026-11-24', '2026-11-23'])
  expect(newest[0]!.entries[0]!.item.kind).toBe('planned')
  expect(byDay(all, false)[0]!.entries[0]!.item.what).toBe('BookingCreated')
})

test('tries hang on the event that caused them, news stand for themselves', () => {
  const hangs = Object.fromEntries(entries(retryingPage().timeline).map((entry) => [entry.item.id, entry.hangs]))
  expect(hangs).toMatchObject({ e1: false, e2: true, a1: true, a2: true, e3: false, e4: false, a3: false, e5: false, e6: true, d1: true, p1: false })
})

test('the chain of causes goes back to the first and survives a circle', () => {
  const items = retryingPage().timeline
  expect(chain('d1', items).map((item) => item.id)).toEqual(['e4', 'a3', 'e5', 'e6', 'd1'])
  const circle = items.map((item) => (item.id === 'e4' ? { ...item, caused_by: 'd1' } : item))
  expect(chain('d1', circle).length).toBeLessThanOrEqual(12)
})

test('the saga says which step, what it waits for and whose turn it is', () => {
  expect(sagaSentence(retryingPage().saga!, 'Europe/Lisbon', now)).toBe('Step 5 of 5, Tell the customer: e-mail waits for try 4 at 11:46:20, in 4 min')
  expect(sagaSentence(awaitingPage().saga!, 'Europe/Lisbon', now)).toMatch(/^Step 2 of 5, Ask for the payment: the customer’s turn until \d\d:\d\d$/)
  expect(sagaSentence(undonePage().saga!, 'Europe/Lisbon', now)).toBe('Undone: card_declined')
  expect(sagaSentence({ ...retryingPage().saga!, state: 'done', finished_at: before(0) }, 'Europe/Lisbon', now)).toMatch(/^Done in /)
})

test('what cancelling will do depends on where the money is', () => {
  expect(plan(retryingPage()).map((line) => line.amount)).toEqual([null, '€80.00', null])
  expect(plan(awaitingPage()).map((line) => line.what)).toContain('The payment link stops working')
  const doubt = retryingPage()
  doubt.money = { ...doubt.money, kept: { ...doubt.money.kept, amount_minor: 0 }, unknown: true }
  expect(plan(doubt).map((line) => line.what)).toContain('Stripe is asked first whether money was taken')
})
