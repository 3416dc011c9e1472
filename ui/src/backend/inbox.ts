//! What came in on the day of the fixtures: Stripe's events, by webhook and by asking, with a computer whose clock is wrong.

import { before, row as bookingRow } from './fixtures'
import type { Arrival, InboxCheck, InboxList, InboxResult, InboxRow, InboxSource, InboxVia, IncomingSecrets, ListInbox, ReprocessPlan } from './types'

const id = (n: number) => `01937c50-1a2b-7000-8000-${n.toString(16).padStart(12, '0')}`

type Came = [ago: number, via: InboxVia, kind: string, check: InboxCheck, result: InboxResult, booking: number | null]
const came: Came[] = [
  [0, 'poll', 'charge.updated', 'asked', 'nothing_new', 3],
  [20, 'poll', 'payment_intent.amount_capturable_updated', 'asked', 'done', 1],
  [25, 'webhook', 'payment_intent.amount_capturable_updated', 'too_old', 'not_taken', 1],
  [52, 'poll', 'payment_intent.requires_action', 'asked', 'done', 1],
  [121, 'webhook', 'payment_intent.succeeded', 'genuine', 'duplicate', 3],
  [123, 'webhook', 'payment_intent.succeeded', 'genuine', 'done', 3],
  [370, 'webhook', 'charge.dispute.created', 'genuine', 'done', 5],
  [512, 'webhook', 'payment_intent.succeeded', 'genuine', 'quarantined', null],
  [675, 'poll', 'refund.created', 'asked', 'done', 6],
  [680, 'webhook', 'charge.refunded', 'genuine', 'nothing_new', 6],
  [1074, 'webhook', 'payment_intent.payment_failed', 'genuine', 'done', 7],
  [1329, 'webhook', 'radar.early_fraud_warning.created', 'genuine', 'kept', null],
  [1700, 'webhook', 'payment_intent.succeeded', 'forged', 'not_taken', null],
  [2008, 'webhook', 'payment_intent.succeeded', 'genuine', 'done', 8],
  [2261, 'webhook', 'charge.captured', 'genuine', 'done', 9],
  [3120, 'webhook', 'charge.captured', 'genuine', 'done', 10],
  [4807, 'poll', 'payout.paid', 'asked', 'not_ours', null],
  [4891, 'poll', 'payment_intent.succeeded', 'asked', 'done', 11],
  [4999, 'poll', 'payment_intent.created', 'asked', 'waiting', 2],
]

export function inboxRow(i: number): InboxRow {
  const [ago, via, kind, check, result, booking] = came[i % came.length]!
  const round = Math.floor(i / came.length)
  const about = booking === null ? null : bookingRow(booking)
  return {
    arrival_id: 9000 - i,
    source: 'stripe',
    external_id: `evt_1QK9vR2eZvKYlo${(1000 + i).toString(36)}c2`,
    kind,
    object_id: `pi_3QK8vR2eZvKYlo2C1d${i}`,
    via,
    received_at: before(ago + round * 5400),
    check: round ? 'genuine' : check,
    result: round && ['quarantined', 'not_taken', 'waiting'].includes(result) ? 'done' : result,
    booking_id: about?.booking_id ?? null,
    reference: about?.reference ?? null,
    problem: round ? null : result === 'quarantined' ? 'No booking knows this payment: it was made for another desk, or by hand.' : result === 'waiting' ? 'Its turn comes after evt_1QK9…b1 of the same payment.' : null,
    tries: result === 'quarantined' ? 5 : 1,
    next_at: result === 'waiting' ? before(-20) : null,
    led_to: result === 'done' ? { event_name: 'PaymentReceived', position: 4_118_222 - i * 7, before: 0 } : null,
  }
}
export const inboxRows: InboxRow[] = Array.from({ length: 240 }, (_, i) => inboxRow(i))

export const inboxSource: InboxSource = {
  source: 'stripe',
  polls: true,
  poll_at: before(8),
  poll_problem: null,
  poll_every_s: 10,
  payments_awaited: 1,
  cursor: 'evt_1QKdvR2eZvKYlo2C1dc9',
  cursor_created_at: before(8),
  waiting: 0,
  lag_p95_s: 4.2,
  skew_s: 0.3,
  webhook: true,
  webhook_at: before(25),
}

export function listInbox({ filter, after, limit }: ListInbox): InboxList {
  const found = inboxRows.filter(
    (row) =>
      (filter.results.length === 0 || filter.results.includes(row.result)) &&
      (!filter.via || row.via === filter.via) &&
      (filter.kinds.length === 0 || (row.kind !== null && filter.kinds.includes(row.kind))) &&
      (!filter.booking_id || row.booking_id === filter.booking_id) &&
      (!filter.since || row.received_at >= filter.since) &&
      (!filter.search || `${row.reference} ${row.external_id} ${row.object_id}`.toLowerCase().includes(filter.search.toLowerCase())),
  )
  const from = after ? Number(after) : 0
  return {
    rows: found.slice(from, from + limit),
    next: from + limit < found.length ? String(from + limit) : null,
    counts: { today: 31, done_today: 28, duplicates_today: 1, refused_today: 1, waiting: 0, quarantined: 1 },
    sources: [inboxSource],
  }
}

export const reprocessPlan: ReprocessPlan = {
  count: 214,
  shares: [
    ['quarantined', 212],
    ['kept', 2],
  ],
  left_out: [['They wait to be processed already.', 3]],
  hash: 'a11ce',
  refused: null,
}

export function arrivalOf(arrival: number): Arrival | null {
  const row = inboxRows.find((r) => r.arrival_id === arrival)
  if (!row) return null
  const late = row.check === 'too_old'
  return {
    row,
    api_version: '2026-09-30',
    created_at: new Date(Date.parse(row.received_at) - 4000).toISOString(),
    bytes: row.via === 'webhook' ? 3402 : null,
    secret_no: row.via === 'webhook' && row.check !== 'forged' ? 2 : null,
    secrets: row.via === 'webhook' ? 2 : null,
    signed_at: row.via === 'webhook' ? new Date(Date.parse(row.received_at) - (late ? 408_000 : 3000)).toISOString() : null,
    tolerance_s: 300,
    skew_s: late ? 404 : 0.3,
    receiver: late ? 'server-2' : 'server-1',
    saga_id: row.booking_id ? '01937b90-44d2-7000-8000-000000000000' : null,
    steps: late
      ? [
          { what: 'refused', at: row.received_at, name: null, position: null, event_id: null, by: null, text: '400' },
          { what: 'came_by_poll', at: new Date(Date.parse(row.received_at) + 5000).toISOString(), name: null, position: null, event_id: null, by: null, text: null },
          { what: 'signalled', at: new Date(Date.parse(row.received_at) + 5200).toISOString(), name: null, position: null, event_id: null, by: null, text: null },
          { what: 'event', at: new Date(Date.parse(row.received_at) + 5400).toISOString(), name: 'BookingConfirmed', position: 4_118_231, event_id: id(801), by: null, text: null },
        ]
      : row.result === 'quarantined'
        ? [
            { what: 'kept', at: row.received_at, name: null, position: null, event_id: null, by: null, text: null },
            { what: 'quarantined', at: new Date(Date.parse(row.received_at) + 60_000).toISOString(), name: null, position: null, event_id: null, by: null, text: row.problem },
          ]
        : [
            { what: 'kept', at: row.received_at, name: null, position: null, event_id: null, by: null, text: null },
            { what: 'signalled', at: new Date(Date.parse(row.received_at) + 40).toISOString(), name: null, position: null, event_id: null, by: null, text: null },
            { what: 'event', at: new Date(Date.parse(row.received_at) + 90).toISOString(), name: 'PaymentReceived', position: 4_118_222, event_id: id(800), by: null, text: null },
          ],
    raw: row.check === 'malformed' ? 'not json' : JSON.stringify({ id: row.external_id, object: 'event', api_version: '2026-09-30', type: row.kind, created: 1795520511, data: { object: { id: row.object_id, amount: 9500, currency: 'eur', metadata: { booking: row.reference } } } }),
    reprocess_refused: row.check === 'forged' || row.check === 'malformed' ? 'It is not genuine, so nothing may follow from it.' : null,
  }
}

/** One was rolled yesterday: both count until the old one ends. */
export const incomingSecrets: IncomingSecrets = {
  secrets: [
    { secret_id: id(901), hint: 'whsec_…t4Qe', added_at: before(40_000), added_by: 'sofia', expires_at: null },
    { secret_id: id(900), hint: 'whsec_…9aLm', added_at: before(4_000_000), added_by: 'tomas', expires_at: before(-46_400) },
  ],
  changes: [
    { at: before(40_000), by: 'sofia', added: true, hint: 'whsec_…t4Qe', reason: 'Rolled as every half year' },
    { at: before(4_000_000), by: 'tomas', added: true, hint: 'whsec_…9aLm', reason: 'The endpoint was set up' },
  ],
  refused: null,
}
