//! What leaves the desk on the day of the fixtures: a receiver that fails, one that does not answer, one that is off, and
//! some that work.

import { before, NOW, row as bookingRow } from './fixtures'
import type {
  AllowList,
  DeliveryDetail,
  DeliveryFilter,
  DeliveryList,
  DeliveryRow,
  DeliveryState,
  DeliveryTry,
  Endpoint,
  EndpointBar,
  EndpointHistory,
  EndpointHour,
  EndpointRow,
  EndpointSpan,
  Endpoints,
  FilterTried,
  HookEvent,
  ListDeliveries,
  NoticeList,
  Redelivery,
  RedeliveryPlan,
} from './types'

const id = (n: number) => `01937c50-1a2b-7000-8000-${n.toString(16).padStart(12, '0')}`

// ---- endpoints -----------------------------------------------------------------------------------------

function hours(shape: (hour: number) => [delivered: number, failed: number]): EndpointHour[] {
  return Array.from({ length: 24 }, (_, i) => {
    const [delivered, failed] = shape(i)
    return { at: before((23 - i) * 3600), delivered, failed }
  })
}
const working = (i: number): [number, number] => (i > 9 && i < 19 ? [0, 0] : [3 + ((i * 7) % 6), 0])

function endpoint(n: number, host: string, more: Partial<EndpointRow> = {}): EndpointRow {
  return {
    destination_id: id(n),
    kind: 'webhook',
    name: host,
    host,
    state: 'works',
    why: null,
    last_error: null,
    last_code: 200,
    since: null,
    failing_since: null,
    disabled_at: null,
    takes: ['BookingCancelled', 'BookingConfirmed'],
    hours: hours(working),
    delivered_today: 214,
    owed: 0,
    sending: 0,
    held: 0,
    gave_up: 0,
    unclear: 0,
    oldest_owed_at: null,
    p95_ms: 128,
    next_at: null,
    version: 3,
    ...more,
  }
}

export const endpointRows: EndpointRow[] = [
  endpoint(1, 'hooks.ledgerly.example', {
    state: 'failing',
    why: 'failing',
    last_error: '503 Service Unavailable',
    last_code: 503,
    since: before(17),
    failing_since: before(4027),
    disabled_at: before(-427_900),
    hours: hours((i) => (i > 9 && i < 19 ? [0, 0] : i > 21 ? [0, 4] : [3 + ((i * 7) % 6), 0])),
    owed: 4,
    oldest_owed_at: before(4027),
    p95_ms: 1980,
    next_at: before(-336),
  }),
  endpoint(2, 'hooks.fleet-laundry.example', {
    state: 'failing',
    why: 'failing',
    last_error: 'The connection was refused.',
    last_code: null,
    since: before(276_000),
    failing_since: before(276_000),
    disabled_at: before(-155_868),
    hours: hours((i) => ([4, 9, 13, 19].includes(i) ? [0, 8] : [0, 0])),
    delivered_today: 0,
    owed: 4,
    held: 0,
    oldest_owed_at: before(276_000),
    p95_ms: null,
    next_at: before(-1068),
  }),
  endpoint(3, 'sms.partner.example', { name: 'Text messages', unclear: 1, owed: 2, oldest_owed_at: before(490), hours: hours((i) => [working(i)[0], 0]), p95_ms: 412, next_at: before(-50) }),
  endpoint(4, 'mail.halcyon.example', {
    kind: 'email',
    name: 'E-mail',
    host: null,
    gave_up: 1,
    last_code: null,
    last_error: '550 5.1.1 no such user here',
    owed: 1,
    oldest_owed_at: before(2640),
    hours: hours((i) => (i === 22 ? [4, 2] : working(i))),
    next_at: before(-248),
    p95_ms: 96,
  }),
  endpoint(5, 'hooks.atelier-crm.example', { name: 'Atelier CRM', sending: 1, owed: 1, oldest_owed_at: before(1), p95_ms: 88 }),
  endpoint(6, 'hooks.atlas-bi.example', { name: 'Atlas reports', delivered_today: 702, p95_ms: 41 }),
  endpoint(7, 'printer.local', { name: 'Day sheet printer', state: 'paused', why: 'by_person', since: before(7200), owed: 3, oldest_owed_at: before(7200), p95_ms: 310 }),
  endpoint(8, 'old.partner-portal.example', {
    state: 'disabled',
    why: 'gone',
    last_code: 410,
    last_error: '410 Gone',
    since: before(4866),
    hours: hours((i) => (i === 22 ? [0, 9] : [0, 0])),
    delivered_today: 0,
    gave_up: 1,
    p95_ms: null,
  }),
]

/** By the hour what its row shows; by the day the same hours, over and over. */
export function historyOf(destination: string, span: EndpointSpan): EndpointHistory {
  const row = endpointRows.find((r) => r.destination_id === destination)
  const each = span === 'day' ? 3600 : 86_400
  const whole = row?.hours.reduce(([delivered, failed], hour): [number, number] => [delivered + hour.delivered, failed + hour.failed], [0, 0] as [number, number]) ?? [0, 0]
  const many = { day: 24, week: 7, month: 30 }[span]
  const bars = Array.from({ length: many }, (_, i): EndpointBar => {
    const [delivered, failed] = span === 'day' ? [row?.hours[i]?.delivered ?? 0, row?.hours[i]?.failed ?? 0] : whole
    const any = delivered + failed > 0
    return { from: before((many - 1 - i) * each), until: before((many - 2 - i) * each), delivered, failed, p50_ms: any ? 50 : null, p95_ms: any ? (failed ? 10_000 : 250) : null }
  })
  const sum = (of: 'delivered' | 'failed') => bars.reduce((all, bar) => all + bar[of], 0)
  const any = sum('delivered') + sum('failed') > 0
  return { bars, delivered: sum('delivered'), failed: sum('failed'), p50_ms: any ? 50 : null, p95_ms: any ? (sum('failed') ? 10_000 : 250) : null }
}

export const endpoints: Endpoints = { rows: endpointRows, delivered_today: 1204, refused: null, run_refused: null }

const matches = ['BookingConfirmed', 'PaymentActionRequired', 'PaymentAuthorized', 'PaymentFailed', 'PaymentReceived', 'PaymentRefunded', 'PaymentRequested']

export function endpointOf(destination: string): Endpoint | null {
  const row = endpointRows.find((r) => r.destination_id === destination)
  if (!row) return null
  const webhook = row.kind === 'webhook'
  return {
    row,
    url: webhook ? `https://${row.host}/in/halcyon` : null,
    shape: 'event',
    note: row.name === 'Atelier CRM' ? 'Customer care keeps its own calendar there.' : null,
    events: webhook ? ['BookingConfirmed', 'Payment*'] : ['BookingConfirmed'],
    matches: webhook ? matches : ['BookingConfirmed'],
    filter: row.destination_id === id(1) ? { data: { price: { amount_minor: { $gte: 10_000 } } } } : null,
    secrets: webhook
      ? [
          { secret_id: id(201), hint: 'whsec_…t4Qe', created_at: before(1320), expires_at: null },
          { secret_id: id(202), hint: 'whsec_…9aLm', created_at: before(90 * 86_400), expires_at: before(-85_020) },
        ]
      : [],
    sending: webhook
      ? { schedule_s: [0, 5, 300, 1800, 7200, 18_000, 50_400, 72_000, 86_400], timeout_ms: 15_000, max_in_flight: 4, rate_per_s: 10, in_order: false, headers: { 'x-tenant': 'halcyon-lisboa' } }
      : null,
    last_delivered_at: row.state === 'works' ? before(140) : before(4051),
    consecutive_failures: row.state === 'failing' ? 5 : 0,
    changes: [
      { at: before(1320), by: 'sofia', what: 'secret_rotated', reason: 'Once a quarter' },
      { at: before(86_400 * 3), by: 'tomas', what: 'changed', reason: 'Only larger sums from now on' },
      { at: before(86_400 * 90), by: 'sofia', what: 'created', reason: null },
    ],
  }
}

export const tried: FilterTried = {
  events: Array.from({ length: 20 }, (_, i) => ({ position: 4118 - i * 3, event_id: id(700 + i), name: i % 3 ? 'PaymentReceived' : 'BookingConfirmed', at: before(60 + i * 400), matches: [1, 4, 8, 9, 14, 17, 18].includes(i) })),
  types_today: matches,
}

export const noticeList: NoticeList = { version: 1, count: 2, entries: ['ana@halcyon.example', 'https://hooks.slack.com/services/T0/B0/x'], mail_set: true, problems: [], changed_by: 'sofia', changed_at: before(86_400 * 3), reason: 'Those who look after the web shop', refused: null }
export const allowList: AllowList = { version: 2, entries: ['10.1.0.0/16', 'printer.local'], changed_by: 'sofia', changed_at: before(86_400 * 12), reason: 'The printer behind the desk', refused: null }

const example = (name: string, data: Record<string, unknown>) => ({ type: name, timestamp: NOW, data })
export const hookCatalogue: HookEvent[] = [
  ['BookingCreated', 3, { booking_id: id(900), reference: 'BK-7Q9XC', service: 'Deep tissue 60', starts_at: '2026-11-26T14:00:00Z', zone: 'Europe/Lisbon' }],
  ['BookingConfirmed', 3, { booking_id: id(900), reference: 'BK-7Q9XC', starts_at: '2026-11-26T14:00:00Z', zone: 'Europe/Lisbon', price: { amount_minor: 12_000, currency: 'EUR' } }],
  ['BookingCancelled', 2, { booking_id: id(900), reference: 'BK-7Q9XC', reason: 'by_customer' }],
  ['BookingRescheduled', 1, { booking_id: id(900), reference: 'BK-7Q9XC', starts_at: '2026-11-27T10:00:00Z' }],
  ['PaymentRequested', 1, { booking_id: id(900), amount: { amount_minor: 12_000, currency: 'EUR' }, mode: 'link' }],
  ['PaymentReceived', 2, { booking_id: id(900), amount: { amount_minor: 12_000, currency: 'EUR' } }],
  ['PaymentRefunded', 1, { booking_id: id(900), amount: { amount_minor: 12_000, currency: 'EUR' } }],
].map(([name, version, data]) => ({
  name: name as string,
  version: version as number,
  schema: {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: name,
    type: 'object',
    required: Object.keys(data as object),
    properties: Object.fromEntries(Object.entries(data as object).map(([key, value]) => [key, typeof value === 'object' ? { type: 'object' } : { type: typeof value }])),
  },
  example: example(name as string, data as Record<string, unknown>),
}))

// ---- deliveries ----------------------------------------------------------------------------------------

type Shape = [ago: number, state: DeliveryState, event: string, endpoint: number, tries: number, code: number | null, more?: Partial<DeliveryRow>]
const shapes: Shape[] = [
  [1, 'sending', 'BookingConfirmed', 5, 1, null],
  [4, 'delivered', 'BookingRescheduled', 6, 1, 200],
  [17, 'retrying', 'BookingConfirmed', 1, 3, 503, { next_at: before(-355), error: '503 Service Unavailable', total_ms: 2104 }],
  [17, 'delivered', 'BookingConfirmed', 6, 1, 200],
  [18, 'delivered', 'BookingConfirmed', 4, 1, null, { template: 'booking_confirmed' }],
  [120, 'delivered', 'PaymentReceived', 5, 1, 204],
  [233, 'retrying', 'BookingRescheduled', 4, 3, 451, { next_at: before(-248), template: 'booking_moved' }],
  [272, 'retrying', 'PaymentReceived', 1, 4, 503, { next_at: before(-1260), waits_for: 'failing' }],
  [490, 'unclear', 'BookingConfirmed', 3, 1, null, { error: 'The connection ended before the answer came.' }],
  [662, 'paused', 'BookingConfirmed', 7, 0, null, { waits_for: 'paused' }],
  [663, 'paused', 'BookingCancelled', 7, 2, 401, { waits_for: 'paused' }],
  [674, 'delivered', 'BookingCancelled', 6, 1, 204],
  [1165, 'scheduled', 'BookingConfirmed', 5, 0, null, { next_at: before(-1068) }],
  [1332, 'delivered', 'PaymentRequested', 5, 1, 200],
  [1539, 'skipped', 'BookingRescheduled', 6, 1, null],
  [1963, 'delivered', 'BookingCancelled', 5, 2, 204, { trigger: 'manual' }],
  [2648, 'delivered', 'BookingRescheduled', 6, 1, 201],
  [3834, 'gave_up', 'BookingConfirmed', 4, 8, 550, { error: '550 5.1.1 no such user here', template: 'booking_confirmed' }],
  [4866, 'gave_up', 'PaymentReceived', 8, 8, 410, { waits_for: 'disabled', error: '410 Gone' }],
  [4888, 'delivered', 'PaymentReceived', 5, 1, 204],
  [5200, 'held', 'BookingConfirmed', 2, 0, null, { waits_for: 'held' }],
]

export function deliveryRow(i: number): DeliveryRow {
  const [ago, state, event_name, to, tries, code, more] = shapes[i % shapes.length]!
  const round = Math.floor(i / shapes.length)
  const end = endpointRows[to - 1]!
  const booking = bookingRow(i % 12)
  const at = before(ago + round * 5400)
  return {
    delivery_id: id(10_000 + i),
    at,
    created_at: before(ago + round * 5400 + (tries > 1 ? 620 : 1)),
    state: round && ['sending', 'unclear', 'held', 'scheduled', 'paused', 'retrying'].includes(state) ? 'delivered' : state,
    event_name,
    event_id: id(20_000 + i),
    position: 4_118_205 - i * 7,
    booking_id: booking.booking_id,
    reference: booking.reference,
    destination_id: end.destination_id,
    kind: end.kind,
    destination: end.name,
    template: null,
    tries,
    most_tries: 10,
    code: round && state !== 'delivered' ? 200 : code,
    error: null,
    total_ms: 40 + ((i * 37) % 160),
    next_at: null,
    give_up_at: before(-172_800),
    waits_for: null,
    trigger: 'auto',
    ...(round ? { tries: 1 } : more),
  }
}

export const deliveryRows: DeliveryRow[] = Array.from({ length: 640 }, (_, i) => deliveryRow(i))

function fits(filter: DeliveryFilter) {
  return (row: DeliveryRow) =>
    (filter.states.length === 0 || filter.states.includes(row.state)) &&
    (filter.destination_ids.length === 0 || filter.destination_ids.includes(row.destination_id)) &&
    (filter.events.length === 0 || filter.events.includes(row.event_name)) &&
    (!filter.booking_id || row.booking_id === filter.booking_id) &&
    (!filter.event_id || row.event_id === filter.event_id) &&
    (!filter.since || row.created_at >= filter.since) &&
    (!filter.search || `${row.reference} ${row.delivery_id}`.toLowerCase().includes(filter.search.toLowerCase()))
}

export function listDeliveries({ filter, after, limit }: ListDeliveries): DeliveryList {
  const found = deliveryRows.filter(fits(filter))
  const from = after ? Number(after) : 0
  return {
    rows: found.slice(from, from + limit),
    next: from + limit < found.length ? String(from + limit) : null,
    counts: { delivered_today: 1204, scheduled: 1, retrying: 6, gave_up: 2, unclear: 1, held: 1, all: { count: 84_110, estimated: true } },
    matching: { count: found.length, estimated: false },
    looked_since: null,
  }
}

const body = (row: DeliveryRow) =>
  JSON.stringify({ type: row.event_name, timestamp: row.created_at, data: { reference: row.reference, starts_at: '2026-11-26T14:00:00Z', zone: 'Europe/Lisbon', price: { amount_minor: 12_000, currency: 'EUR' } } })

function attempt(row: DeliveryRow, no: number, more: Partial<DeliveryTry>): DeliveryTry {
  const last = no === row.tries
  const bad = !last || row.state !== 'delivered'
  const at = last ? row.at : before(17 + (row.tries - no) * 307)
  return {
    no,
    trigger: 'auto',
    by: null,
    reason: null,
    started_at: at,
    ended_at: row.state === 'sending' && last ? null : at,
    result: row.state === 'sending' && last ? null : bad ? 'later' : 'accepted',
    error_class: bad ? 'status' : null,
    error: bad ? (row.error ?? '503 Service Unavailable') : null,
    code: bad ? (row.code ?? 503) : row.code,
    timings: { dns_ms: 12, connect_ms: 38, tls_ms: 61, first_byte_ms: bad ? 1981 : 44, body_ms: 12, total_ms: bad ? 2104 : 167 },
    url: 'https://hooks.ledgerly.example/in/halcyon',
    shape: 'event',
    peer: '203.0.113.24:443',
    tls: 'TLSv1.3',
    request_headers: [
      ['content-type', 'application/json'],
      ['webhook-id', 'msg_2pKx9TqvN1c7'],
      ['webhook-timestamp', '1795520515'],
      ['webhook-signature', 'v1,K5oZabcdefgh8w= v1,hQ2aabcdefgh0c='],
      ['x-tenant', '***'],
    ],
    response_headers: [
      ['content-type', 'text/plain'],
      ['server', 'nginx'],
    ],
    response_body: bad ? 'upstream is down for maintenance' : '{"ok":true}',
    response_cut: false,
    ...more,
  }
}

export function deliveryDetail(delivery: string): DeliveryDetail | null {
  const row = deliveryRows.find((r) => r.delivery_id === delivery)
  if (!row) return null
  const webhook = row.kind === 'webhook'
  const tries = Array.from({ length: row.tries }, (_, i) => {
    const no = row.tries - i
    const url = `https://${endpointRows.find((e) => e.destination_id === row.destination_id)?.host}/in/halcyon`
    return attempt(row, no, { url, ...(no === 2 ? { trigger: 'manual', by: 'tomas', reason: 'they say it is fixed' } : no === 1 && row.tries > 1 ? { code: null, error_class: 'timeout', error: 'No answer within 15 s.', response_body: null, timings: { dns_ms: 10, connect_ms: 40, tls_ms: 64, first_byte_ms: null, body_ms: null, total_ms: 15_000 } } : {}) })
  })
  const host = endpointRows.find((e) => e.destination_id === row.destination_id)?.host
  return {
    row,
    event_version: 3,
    correlation_id: id(30_000),
    timeout_ms: 15_000,
    url: webhook ? `https://${host}/in/halcyon` : null,
    tries,
    tries_forgotten_before: null,
    body: webhook ? body(row) : null,
    bodies: webhook ? [{ shape: 'event', body: body(row) }] : [],
    signature: webhook ? { message_id: 'msg_2pKx9TqvN1c7', base_string: `msg_2pKx9TqvN1c7.1795520515.${body(row)}`, hints: ['whsec_…t4Qe', 'whsec_…9aLm'] } : null,
    curl: webhook ? `curl -X POST 'https://${host}/in/halcyon' \\\n  -H 'content-type: application/json' \\\n  -H 'webhook-id: msg_2pKx9TqvN1c7' \\\n  -H 'webhook-timestamp: <now>' \\\n  -H 'webhook-signature: <signature>' \\\n  --data-binary '${body(row)}'` : null,
    redeliver_refused: row.kind === 'email' && row.state === 'delivered' ? 'A message to a customer leaves once.' : null,
    cancel_refused: ['delivered', 'gave_up', 'skipped', 'cancelled'].includes(row.state) ? 'It is over already.' : null,
  }
}

export const redeliveryPlan: RedeliveryPlan = {
  count: 39,
  shares: [
    { destination_id: id(1), destination: 'hooks.ledgerly.example', count: 31, delivered_before: 27, waits_for: 'failing' },
    { destination_id: id(5), destination: 'Atelier CRM', count: 8, delivered_before: 8, waits_for: null },
  ],
  left_out: [
    ['messages to customers leave once', 6],
    ['its customer was erased', 1],
  ],
  first_at: before(64_000),
  last_at: before(120),
  hash: 'c0ffee',
  refused: null,
}

export function redelivery(more: Partial<Redelivery> = {}): Redelivery {
  return {
    bulk_id: id(600),
    action: 'redeliver',
    filter: { since: before(64_000), until: null, states: [], destination_ids: [id(1)], events: [], codes: [], errors: [], booking_id: null, event_id: null, payload: null, search: null },
    came: null,
    by: 'sofia',
    reason: 'They lost a night’s import, ask for everything since Monday evening.',
    at: before(40),
    state: 'running',
    count: 39,
    done: 14,
    delivered: 12,
    failed: 2,
    per_second: 2,
    looked: null,
    ended_at: null,
    ...more,
  }
}
export const redeliveries: Redelivery[] = [
  redelivery(),
  redelivery({ bulk_id: id(601), by: 'tomas', reason: 'The receiver was moved to another host.', at: before(86_400 * 2), state: 'done', count: 212, done: 212, delivered: 211, failed: 1, per_second: 10, ended_at: before(86_400 * 2 - 30) }),
  redelivery({ bulk_id: id(602), action: 'cancel', by: 'sofia', reason: 'The printer got a new paper size, old sheets are of no use.', at: before(86_400 * 9), state: 'cancelled', count: 40, done: 12, delivered: 0, failed: 0, ended_at: before(86_400 * 9 - 30) }),
]
