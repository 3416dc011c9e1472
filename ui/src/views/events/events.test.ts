//! The parts of the Events page that are pure: where nodes stand, what a search means, how payloads differ, how a list
//! of a million rows scrolls, and which stretches of the log are read.

import { expect, test } from 'vitest'
import { causes, event, eventCatalogue, eventDetail, listEvents, NEWEST } from '../../backend/admin'
import type { CauseGraph, CauseNode, EventRow, ListEvents } from '../../backend/types'
import type { Desk } from '../../live/desk'
import { EventFeed } from './feed.svelte'
import { address, everything, narrowing, parse } from './filters'
import { layOut, neighbour } from './layout'
import { difference, shown } from './payload'
import { readings } from './search'
import { Tall } from '../../ui/tall'

// ---- the graph --------------------------------------------------------------------------------------------

const graph = causes(event(NEWEST).correlation_id)

test('no two nodes of a conversation stand in one place, and every cause stands above or left of its effect', () => {
  const { placed, lines } = layOut(graph)
  expect(new Set(placed.map((p) => `${p.column}/${p.row}`)).size).toBe(graph.nodes.length)
  for (const { from, to } of lines) expect(to.row > from.row || to.column > from.column).toBe(true)
})

test('the events of a booking form one trunk, what hangs on them stands to its right', () => {
  const { placed } = layOut(graph)
  const trunk = placed.filter((p) => p.column === 0).map((p) => p.node.what)
  expect(trunk).toEqual(['create_booking', 'BookingCreated', 'InventoryHeld', 'PaymentRequested', 'PaymentAuthorized', 'PaymentReceived', 'BookingConfirmed', expect.stringMatching(/NotificationSent|email/)])
})

test('a ring of causes, a missing cause and a thousand steps are drawn as well', () => {
  const node = (id: string): CauseNode => ({ ...graph.nodes[0]!, id })
  const ring: CauseGraph = { nodes: ['a', 'b'].map(node), edges: [{ from: 'a', to: 'b', how: 'caused' }, { from: 'b', to: 'a', how: 'caused' }, { from: 'gone', to: 'b', how: 'caused' }], left_out: 0 }
  expect(layOut(ring).placed).toHaveLength(2)
  const many = Array.from({ length: 1000 }, (_, i) => node(String(i)))
  const long = layOut({ nodes: many, edges: many.slice(1).map((n, i) => ({ from: String(i), to: n.id, how: 'caused' })), left_out: 0 })
  expect(long.rows).toBe(1000)
})

test('the arrow keys walk along the lines', () => {
  const layout = layOut(graph)
  const at = (what: string) => layout.placed.find((p) => p.node.what === what)!.node.id
  expect(neighbour(layout, at('PaymentRequested'), 'down')).toBe(at('PaymentAuthorized'))
  expect(neighbour(layout, at('PaymentRequested'), 'up')).toBe(at('InventoryHeld'))
  expect(neighbour(layout, at('PaymentRequested'), 'right')).toBe(at('payment_intent.amount_capturable_updated'))
  expect(neighbour(layout, at('create_booking'), 'up')).toBeNull()
})

// ---- the search field ---------------------------------------------------------------------------------------

test('what is typed is understood as what it looks like', () => {
  const first = (text: string) => readings(text, eventCatalogue)[0]
  expect(first('#4 118 231')).toEqual({ is: 'position', position: 4_118_231 })
  expect(first('4.118.231')).toEqual({ is: 'position', position: 4_118_231 })
  expect(first('bk-7qa3h')).toEqual({ is: 'stream', stream: 'BK-7QA3H' })
  expect(first('01937C31-6a10-7000-8000-000000000001')).toEqual({ is: 'conversation', id: '01937c31-6a10-7000-8000-000000000001' })
  expect(first('booking-01937c31-6a10-7000-8000-000000000001')).toEqual({ is: 'stream', stream: 'booking-01937c31-6a10-7000-8000-000000000001' })
  expect(first('payment received')).toEqual({ is: 'type', type: 'PaymentReceived' })
  expect(first('payment')).toMatchObject({ is: 'types', types: expect.arrayContaining(['PaymentRequested', 'PaymentReceived']) })
  expect(first('tomas')).toEqual({ is: 'actor', actor: 'tomas' })
  expect(readings('Left_Long_Ago', eventCatalogue)).toEqual([{ is: 'actor', actor: 'left_long_ago' }])
  expect(readings('z z!', eventCatalogue)).toEqual([])
})

test('the address holds every filter', () => {
  const filter = { ...everything, types: ['BookingCreated', 'PaymentFailed'], stream: 'BK-7QA3H', actor: 'sofia', from: '2026-11-01T00:00', json_path: '$.mode == "link"' }
  const text = address(filter, 12)
  expect(text.startsWith('/events/12?')).toBe(true)
  expect(parse(new URLSearchParams(text.split('?')[1]))).toEqual(filter)
  expect(narrowing(filter)).toBe(5)
  expect(address(everything, null)).toBe('/events')
})

// ---- payloads -------------------------------------------------------------------------------------------------

test('what reading changed is marked, a comma more is not', () => {
  const rows = difference({ a: 1, price: '1.00 EUR' }, { a: 1, price_minor: 100, zone: 'WET' }, [])
  const text = rows.map((row) => row.mark + row.parts.map((p) => (p.kind === 'sealed' ? '?' : p.text)).join(''))
  expect(text).toEqual([' {', '   "a": 1,', '-  "price": "1.00 EUR"', '+  "price_minor": 100,', '+  "zone": "WET"', ' }'])
})

test('a sealed field is a word and its bytes are nowhere', () => {
  const detail = eventDetail(NEWEST)
  const rows = shown(detail.stored, detail.sealed)
  expect(rows.flatMap((row) => row.parts).filter((part) => part.kind === 'sealed')).toEqual([{ kind: 'sealed', state: 'sealed' }])
  expect(JSON.stringify(rows)).not.toContain('AQID')
})

// ---- a list taller than a browser allows ----------------------------------------------------------------------------

test('ten million rows are scrolled pixel by pixel, and a pull of the bar reaches both ends', () => {
  const tall = new Tall()
  const total = 10_000_000 * 34
  tall.size(total, 800)
  expect(tall.height).toBeLessThan(33_000_000)
  expect(tall.scrolled(0)).toEqual({ at: 0, top: 0 })
  let at = 0
  for (let i = 0; i < 50; i++) {
    const next = tall.scrolled(tall.to(at).top + 100)
    expect(next.at - at).toBe(100)
    at = next.at
  }
  const end = tall.scrolled(tall.height - 800)
  expect(end.at).toBeGreaterThan(total - 800 - 34 * 10)
  expect(tall.to(total).at).toBe(total - 800)
  expect(tall.to(total).top).toBeLessThanOrEqual(tall.height - 800)
})

test('a list that fits is left alone', () => {
  const tall = new Tall()
  tall.size(34_000, 800)
  expect([tall.height, tall.scrolled(1234).at, tall.offset]).toEqual([34_000, 1234, 0])
})

// ---- which stretches are read ------------------------------------------------------------------------------------------

function feedOver(newest: { at: number }, total: number) {
  const asked: ListEvents[] = []
  const desk = {
    call: async (_: string, params: ListEvents) => {
      asked.push(params)
      return listEvents(params, newest.at, total)
    },
  }
  return { feed: new EventFeed(desk as unknown as Desk), asked }
}
const settled = async () => {
  for (let i = 0; i < 60; i++) await Promise.resolve()
}
const consecutive = (rows: EventRow[]) => rows.every((row, i) => i === 0 || row.position === rows[i - 1]!.position - 1)

test('the log is read from the newest on, and further as somebody scrolls, without a gap', async () => {
  const { feed, asked } = feedOver({ at: NEWEST }, NEWEST)
  feed.ask(everything, null)
  await settled()
  expect(feed.at(0)!.position).toBe(NEWEST)
  expect(feed.count).toBe(NEWEST)
  for (let first = 0; first < 2000; first += 40) {
    feed.need(first, first + 40)
    await settled()
    expect(feed.at(first)!.position).toBe(NEWEST - first)
  }
  expect(consecutive(feed.rows)).toBe(true)
  expect(asked.every((ask) => ask.limit <= 1000)).toBe(true)
})

test('a pull of the scroll bar reads one stretch there, not the million rows between', async () => {
  const { feed, asked } = feedOver({ at: NEWEST }, NEWEST)
  feed.ask(everything, null)
  await settled()
  const before = asked.length
  feed.need(2_000_000, 2_000_040)
  await settled()
  expect(asked.length - before).toBeLessThan(6)
  expect(Math.abs(feed.rows[0]!.position - (NEWEST - 2_000_000))).toBeLessThan(1000)
  feed.need(0, 40)
  await settled()
  expect(feed.at(0)!.position).toBe(NEWEST)
})

test('a link to an old event reads around it, and scrolling up from there meets the newest at row 0', async () => {
  const { feed } = feedOver({ at: NEWEST }, NEWEST)
  const shifts: number[] = []
  feed.onshift = (rows) => shifts.push(rows)
  feed.ask(everything, NEWEST - 300)
  await settled()
  const index = feed.indexOf(NEWEST - 300)
  expect(index).toBeGreaterThan(0)
  for (let first = index; first >= 0; first -= 40) {
    feed.need(Math.max(0, first), first + 40)
    await settled()
  }
  expect(feed.at(0)!.position).toBe(NEWEST)
  expect(feed.start).toBe(0)
  expect(consecutive(feed.rows)).toBe(true)
})

test('what is new waits until it is taken in, and is never read twice', async () => {
  const newest = { at: NEWEST - 5 }
  const { feed } = feedOver(newest, NEWEST)
  feed.ask(everything, null)
  await settled()
  newest.at = NEWEST
  await feed.tail()
  await feed.tail()
  expect(feed.fresh.map((row) => row.position)).toEqual([0, 1, 2, 3, 4].map((i) => NEWEST - i))
  expect(feed.at(0)!.position).toBe(NEWEST - 5)
  feed.absorb()
  expect(feed.at(0)!.position).toBe(NEWEST)
  expect(consecutive(feed.rows)).toBe(true)
})

test('rows far from the view are let go and read again when they are wanted', async () => {
  const { feed } = feedOver({ at: NEWEST }, NEWEST)
  feed.ask(everything, null)
  await settled()
  for (let first = 0; first < 9000; first += 100) {
    feed.need(first, first + 40)
    await settled()
  }
  expect(feed.rows.length).toBeLessThanOrEqual(6200)
  for (let first = 9000; first >= 0; first -= 100) {
    feed.need(first, first + 40)
    await settled()
    expect(feed.at(first)!.position).toBe(NEWEST - first)
  }
})

// ---- a search ------------------------------------------------------------------------------------------------------------

/** A log in which nothing matches, looked through a stretch at a time. */
function searchOver(newest: { at: number }, stretch: number) {
  const asked: ListEvents[] = []
  const desk = {
    call: async (_: string, params: ListEvents) => {
      asked.push(params)
      const page = { rows: [], matched: null, total: { count: newest.at, estimated: false }, safe_position: newest.at, chain: null }
      const stopped = params.after !== null ? params.after + stretch : Math.min(newest.at + 1, params.before ?? newest.at + 1) - stretch
      const end = params.after !== null ? stopped >= newest.at : stopped <= 1
      return { ...page, more: !end, searched: end ? null : { position: stopped, at: null } }
    },
  }
  return { feed: new EventFeed(desk as unknown as Desk), asked }
}
const patiently = async () => {
  for (let i = 0; i < 400; i++) await Promise.resolve()
}
const byNobody = { ...everything, actor: 'nobody' }

test('a search goes on by itself, says how far back it came, and rests until somebody says so', async () => {
  const { feed, asked } = searchOver({ at: 1_000 }, 10)
  feed.ask(byNobody, null)
  await patiently()
  expect(feed.rests).toBe(true)
  const looks = asked.length
  expect(looks).toBeLessThan(20)
  // Each look begins where the one before it ended.
  expect(asked.slice(1).map((ask) => ask.before)).toEqual(asked.slice(1).map((_, i) => 1_001 - (i + 1) * 10))
  expect(feed.searched!.position).toBe(1_001 - looks * 10)
  // Nobody scrolls a search on.
  feed.need(0, 40)
  await patiently()
  expect(asked.length).toBe(looks)
  feed.goOn()
  await patiently()
  expect(asked.length).toBeGreaterThan(looks)
  // Another question begins anew.
  feed.ask({ ...byNobody, actor: 'somebody' }, null)
  await patiently()
  expect(asked.filter((ask) => ask.filter.actor === 'somebody')[0]!.before).toBe(null)
})

test('a search that came to the end of the log says that nothing matches, and one that is stopped that it did not', async () => {
  const { feed, asked } = searchOver({ at: 100 }, 40)
  feed.ask(byNobody, null)
  await patiently()
  expect([feed.searched, feed.rests, feed.count, asked.length]).toEqual([null, false, 0, 3])

  const other = searchOver({ at: 1_000 }, 10)
  other.feed.ask(byNobody, null)
  while (other.asked.length < 3) await Promise.resolve()
  other.feed.stop()
  await patiently()
  expect([other.asked.length, other.feed.rests, other.feed.searched !== null]).toEqual([3, true, true])
})

test('what is new is looked for from where the last look ended, not from the last row that matched', async () => {
  const newest = { at: 10 }
  const { feed, asked } = searchOver(newest, 40)
  feed.ask(byNobody, null)
  await patiently()
  newest.at = 100
  for (const after of [10, 50, 90, 100]) {
    await feed.tail()
    expect(asked.at(-1)!.after).toBe(after)
  }
})
