//! The log, the projections and the backups of the same day, for tests and the gallery.

import { before, eur, moment, NOW, retryingPage, row as bookingRow, status } from './fixtures'
import type {
  People,
  Action,
  Backup,
  Backups,
  CauseGraph,
  CauseNode,
  DiffRow,
  EventCatalogue,
  EventDetail,
  EventFilter,
  EventPage,
  EventRow,
  ListEvents,
  Projection,
  ProjectionChange,
  Projections,
  Proofs,
  Rebuild,
  Space,
  StateFact,
  StreamState,
} from './types'

const id = (n: number) => `01937c31-${(0x6000 + (n % 0x9000)).toString(16)}-7000-8000-${n.toString(16).padStart(12, '0')}`

// ---- the log ------------------------------------------------------------------------------------------

/** One conversation, as the log tells it: type, schema version, seconds since the one before, login. */
const story: [name: string, schema: number, wait: number, actor: string][] = [
  ['BookingCreated', 1, 0, 'sofia'],
  ['InventoryHeld', 1, 0.02, 'sofia'],
  ['PaymentRequested', 2, 0.6, 'worker-1'],
  ['PaymentAuthorized', 1, 46, 'worker-1'],
  ['PaymentReceived', 1, 2.2, 'worker-1'],
  ['BookingConfirmed', 1, 0.1, 'worker-1'],
  ['NotificationSent', 1, 1.4, 'worker-1'],
]
export const NEWEST = 4_118_246
const LENGTH = story.length

/** The event at a position: conversations follow each other, seven events each, one every eight seconds. */
export function event(position: number): EventRow {
  const conversation = Math.floor((NEWEST - position) / LENGTH)
  const step = LENGTH - 1 - ((((NEWEST - position) % LENGTH) + LENGTH) % LENGTH)
  const [name, schema, , actor] = story[step]!
  const since = story.slice(step + 1).reduce((sum, [, , wait]) => sum + wait, 0)
  const at = new Date(Date.parse(NOW) - (11 + conversation * 83 + since) * 1000).toISOString()
  const booking = bookingRow(((conversation % 400) + 400) % 400)
  return {
    position,
    event_id: id(position),
    name,
    schema_version: name === 'PaymentRequested' && conversation > 2 ? 1 : schema,
    stream_id: `booking-${booking.booking_id}`,
    category: 'booking',
    subject: booking.reference,
    version: step + 1,
    correlation_id: id(9_000_000 + conversation),
    causation_id: step === 0 ? null : id(position - 1),
    occurred: { ...moment(at.slice(0, 19) + 'Z'), utc: at },
    recorded_at: new Date(Date.parse(at) + 3).toISOString(),
    actor,
    on_behalf_of: actor === 'worker-1' ? 'sofia' : null,
  }
}

function matches(filter: EventFilter, row: EventRow): boolean {
  return (
    (filter.types.length === 0 || filter.types.includes(row.name)) &&
    (!filter.stream || filter.stream === row.stream_id || filter.stream === row.subject) &&
    (!filter.category || filter.category === row.category) &&
    (!filter.correlation_id || filter.correlation_id === row.correlation_id) &&
    (!filter.causation_id || filter.causation_id === row.causation_id) &&
    (!filter.actor || filter.actor === row.actor)
  )
}

/** `total` events lie in the log, the newest at `newest`. */
export function listEvents(ask: ListEvents, newest = NEWEST, total = NEWEST): EventPage {
  const rows: EventRow[] = []
  const oldest = newest - total + 1
  const narrowed = ask.filter.types.length > 0 || Object.entries(ask.filter).some(([key, value]) => key !== 'types' && value)
  // A filter may match seldom; the script looks no further than a real index would make cheap.
  let looked = 0
  if (ask.after !== null) {
    for (let at = ask.after + 1; at <= newest && rows.length < ask.limit && looked < 8_000; at++, looked++) if (matches(ask.filter, event(at))) rows.unshift(event(at))
  } else {
    for (let at = Math.min(newest, (ask.before ?? newest + 1) - 1); at >= oldest && rows.length < ask.limit && looked < 8_000; at--, looked++) if (matches(ask.filter, event(at))) rows.push(event(at))
  }
  return {
    rows,
    more: rows.length === ask.limit,
    searched: null,
    total: { count: total, estimated: total > 1_000_000 },
    matched: narrowed && rows.length < ask.limit && ask.before === null && ask.after === null ? { count: rows.length, estimated: false } : null,
    safe_position: newest,
    chain: { at: moment('2026-11-24T06:10:00Z'), intact: true, events: total, broken_at: null },
  }
}

const payloads: Record<string, Record<string, unknown>> = {
  BookingCreated: { reference: 'BK-7QA3H', service_name: 'Deep tissue 90', starts: '2026-11-26T14:00:00Z', zone: 'Europe/Lisbon', price: eur(120), customer_id: id(77), source: 'staff' },
  InventoryHeld: { expires_at: before(-840), claims: [{ resource_id: id(12), from: '2026-11-26T14:00:00Z', until: '2026-11-26T15:45:00Z' }] },
  PaymentRequested: { amount: eur(120), mode: 'link', checkout_session: 'cs_test_a1B2c3' },
  PaymentAuthorized: { amount_capturable: eur(120), payment_intent: 'pi_3QK8vR2eZvKYlo2C1d2Lw' },
  PaymentReceived: { amount_received: eur(120), payment_intent: 'pi_3QK8vR2eZvKYlo2C1d2Lw', charge_id: 'ch_3QK8vR' },
  BookingConfirmed: { reference: 'BK-7QA3H', confirmed_at: before(11), sequence: 0 },
  NotificationSent: { template: 'booking_confirmed', channel: 'email', attempt: 1, to: '$sealed:AQID' },
}

export function eventDetail(position: number): EventDetail {
  const row = event(position)
  const read = { ...payloads[row.name]! }
  const old = row.name === 'PaymentRequested' && row.schema_version === 1
  const stored = old ? { amount: '120.00 EUR', checkout_session: 'cs_test_a1B2c3' } : read
  return {
    row,
    stream_versions: LENGTH,
    cause: row.causation_id ? { position: position - 1, name: event(position - 1).name } : null,
    app_version: '0.1.0',
    metadata: { app_version: '0.1.0' },
    stored,
    read,
    read_version: row.name === 'PaymentRequested' ? 2 : 1,
    unreadable: null,
    upcast: old
      ? [{ from_version: 1, to_version: 2, changes: [{ kind: 'changed', path: 'amount', before: '120.00 EUR', after: eur(120) }, { kind: 'added', path: 'mode', before: null, after: 'link' }] }]
      : [],
    sealed: row.name === 'NotificationSent' ? [{ path: 'to', state: 'sealed', subject_id: id(77) }] : [],
    schemas: (row.name === 'PaymentRequested' ? [1, 2] : [1]).map((version, i, all) => ({
      version,
      current: i === all.length - 1,
      registered_at: before(86_400 * (30 - i * 20)),
      schema: { $schema: 'https://json-schema.org/draft/2020-12/schema', title: row.name, type: 'object', required: Object.keys(read), properties: Object.fromEntries(Object.keys(read).map((key) => [key, { type: 'string' }])) },
    })),
    hash: '9f2c1d0e8b7a6f5c4d3e2b1a09f8e7d6c5b4a39281706f5e4d3c2b1a0f9e8d7c',
    hash_before: row.version === 1 ? '' : '0a1b2c3d4e5f60718293a4b5c6d7e8f9',
    hash_matches: true,
    deliveries: row.name === 'BookingConfirmed' ? [{ delivery_id: id(55), kind: 'email', destination: 'E-mail', template: 'booking_confirmed', state: 'delivered', attempts: 1, next_try_at: null, finished_at: before(9) }] : [],
  }
}

export function causes(correlation: string): CauseGraph {
  const conversation = parseInt(correlation.slice(-12), 16) - 9_000_000
  const last = NEWEST - conversation * LENGTH
  const events = Array.from({ length: LENGTH }, (_, i) => event(last - LENGTH + 1 + i))
  const node = (e: EventRow): CauseNode => ({ id: e.event_id, kind: 'event', what: e.name, schema_version: e.schema_version, position: e.position, at: e.occurred, actor: e.actor, subject: e.subject, state: null, mark: null })
  const other = (name: string, kind: CauseNode['kind'], what: string, after: EventRow, more: Partial<CauseNode> = {}): CauseNode => ({ id: `${name}-${conversation}`, kind, what, schema_version: null, position: null, at: after.occurred, actor: null, subject: null, state: null, mark: null, ...more })
  const [created, held, asked, authorised, received, confirmed, told] = events as [EventRow, EventRow, EventRow, EventRow, EventRow, EventRow, EventRow]
  const command = other('command', 'command', 'create_booking', created, { actor: 'sofia', mark: '01937c31' })
  const stripe = other('stripe', 'signal', 'payment_intent.amount_capturable_updated', authorised, { mark: 'evt_1QK9…c2' })
  const attempt = other('attempt', 'saga_attempt', 'payment.forward', asked, { state: 'done', mark: '412 ms' })
  const mail = other('mail', 'delivery', 'email', confirmed, { state: 'delivered' })
  const pairs: [string, string, 'caused' | 'matched'][] = [
    [command.id, created.event_id, 'caused'],
    [created.event_id, held.event_id, 'caused'],
    [held.event_id, attempt.id, 'caused'],
    [held.event_id, asked.event_id, 'caused'],
    [asked.event_id, stripe.id, 'matched'],
    [asked.event_id, authorised.event_id, 'caused'],
    [authorised.event_id, received.event_id, 'caused'],
    [received.event_id, confirmed.event_id, 'caused'],
    [confirmed.event_id, mail.id, 'caused'],
    [confirmed.event_id, told.event_id, 'caused'],
  ]
  return { nodes: [command, ...events.slice(0, 3).map(node), attempt, stripe, ...events.slice(3).map(node), mail], edges: pairs.map(([from, to, how]) => ({ from, to, how })), left_out: 0 }
}

const states = ['held', 'held', 'awaiting_payment', 'held', 'held', 'confirmed', 'confirmed']
const payments = ['not_asked', 'not_asked', 'link_sent', 'authorised', 'paid', 'paid', 'paid']

export function stateAt(stream: string, version: number): StreamState {
  // The stream's newest conversation is the one whose booking it is.
  let conversation = 0
  while (conversation < 400 && event(NEWEST - conversation * LENGTH).stream_id !== stream && event(NEWEST - conversation * LENGTH).subject !== stream) conversation++
  const last = NEWEST - conversation * LENGTH
  const versions = Array.from({ length: LENGTH }, (_, i) => event(last - LENGTH + 1 + i)).map((e) => ({ version: e.version, position: e.position, name: e.name, at: e.occurred }))
  const at = Math.max(0, Math.min(LENGTH, version))
  const fact = (name: string, kind: StateFact['kind'], tell: (version: number) => unknown): StateFact => ({ name, kind, before: at > 1 ? tell(at - 1) : null, at: at > 0 ? tell(at) : null })
  const first = event(last)
  return {
    stream_id: first.stream_id,
    category: 'booking',
    subject: first.subject,
    version: at,
    versions,
    facts: [
      fact('state', 'booking_state', (v) => states[v - 1]),
      fact('payment', 'payment_state', (v) => payments[v - 1]),
      fact('starts', 'moment', () => moment('2026-11-26T14:00:00Z')),
      fact('hold', 'moment', (v) => (v > 1 && v < 5 ? moment('2026-11-24T11:56:00Z') : null)),
      fact('price', 'money', () => eur(120)),
      fact('captured', 'money', (v) => eur(v >= 5 ? 120 : 0)),
    ],
  }
}

export const eventCatalogue: EventCatalogue = {
  types: [...story.map(([name, version]) => ({ name, versions: version === 2 ? [1, 2] : [1] })), { name: 'BookingCancelled', versions: [1] }, { name: 'CustomerRegistered', versions: [1] }, { name: 'PaymentFailed', versions: [1] }].sort((a, b) => (a.name < b.name ? -1 : 1)),
  categories: ['booking', 'customer'],
  actors: ['sofia', 'tomas', 'worker-1'],
}

// ---- projections ------------------------------------------------------------------------------------------

const every = ['pause_projection', 'resume_projection', 'start_replay', 'roll_back_projection', 'retry_parked', 'skip_parked', 'withdraw_skip']
const may = (...names: string[]): Action[] => names.map((name) => ({ name, refused: null }))
const wave = [5, 7, 6, 10, 8, 11, 9, 7, 8, 10, 6, 8]

function projection(name: string, more: Partial<Projection> = {}): Projection {
  return {
    name,
    shape_version: 1,
    code_shape_version: 1,
    generation: 1,
    state: 'up_to_date',
    position: NEWEST,
    lag_events: 0,
    lag_seconds: 0,
    rate_per_s: 312,
    rates: wave.map((v) => v * 30),
    rows: { count: 18_412, estimated: false },
    event_types: story.map(([type]) => type),
    holder: 'server-1',
    last_error: null,
    parked: null,
    paused: null,
    skipped: [],
    lacks: [],
    newer_types: [],
    folded_without: [],
    rebuild_id: null,
    previous: null,
    actions: [...may('pause_projection', 'start_replay'), { name: 'roll_back_projection', refused: 'There is no generation before this one.' }],
    ...more,
  }
}

const phase = (name: Rebuild['phase'], from: number, to: number | null) => ({ phase: name, started_at: before(from), ended_at: to === null ? null : before(to) })

export function rebuild(more: Partial<Rebuild> = {}): Rebuild {
  return {
    rebuild_id: id(700),
    projection: 'payments_ledger',
    mode: 'rebuild',
    from: { from: 'start' },
    live_generation: 9,
    live_shape_version: 9,
    generation: 10,
    shape_version: 10,
    state: 'running',
    phase: 'read',
    phases: [phase('prepare', 232, 231.7), phase('read', 231.7, null)],
    events_done: 2_635_677,
    events_total: 4_118_246,
    rate_per_s: 11_400,
    left_seconds: 130,
    ends: moment('2026-11-24T11:44:22Z'),
    ranges_done: 41,
    ranges_total: 64,
    speed: 'normal',
    started: moment('2026-11-24T11:38:20Z'),
    ended: null,
    by: 'Sofia Marçal',
    reason: 'VAT column was missing',
    ended_by: null,
    error: null,
    compare: { rows: 28_310, complete: false, different: 12, only_live: 0, only_new: 3, live_hash: null, new_hash: null, same_position: true },
    skipped: [],
    actions: may('pause_rebuild', 'resume_rebuild', 'cancel_rebuild', 'set_rebuild_speed'),
    ...more,
  }
}

export function projections(rebuilds: Rebuild[] = [rebuild()]): Projections {
  return {
    rows: [
      projection('bookings', { shape_version: 6, code_shape_version: 6, generation: 6, previous: { generation: 5, shape_version: 5, current: true, swapped_at: before(86_400 * 2), kept_until: before(-86_400 * 5) }, actions: may(...every) }),
      projection('customers', { shape_version: 3, code_shape_version: 3, lag_seconds: 0.1, rate_per_s: 96, rates: wave.map((v) => v * 9 + 20), rows: { count: 9806, estimated: false } }),
      projection('payments_ledger', { shape_version: 9, code_shape_version: 10, generation: 9, state: rebuilds.length ? 'rebuilding' : 'up_to_date', rebuild_id: rebuilds[0]?.rebuild_id ?? null, rows: { count: 44_190, estimated: true } }),
      projection('report_days', { shape_version: 5, code_shape_version: 6, generation: 5, state: 'parked', position: 4_101_377, lag_events: 16_869, lag_seconds: 7860, rate_per_s: 0, rates: [4, 5, 3, 6, 4, null, null, 0, 0, 0, 0, 0], rows: { count: 1320, estimated: false }, actions: may('pause_projection', 'start_replay', 'retry_parked', 'skip_parked'), parked: { position: 4_101_378, event_name: 'PaymentReceived', schema_version: 2, stream_id: `booking-${bookingRow(5).booking_id}`, subject: bookingRow(5).reference, error: 'the amount has 3 decimals and EUR has 2', excerpt: 'amount: "80.005" EUR\n        ^^^^^^^^ more precise than the currency', since: before(7860), attempts: 3 } }),
      projection('saga_statistics', { shape_version: 2, code_shape_version: 2, state: 'behind', position: 4_117_902, lag_events: 344, lag_seconds: 38, rate_per_s: 9, rates: [11, 11, 10, 10, 8, 6, 5, 4, 4, 3, 3, 3], rows: { count: 214, estimated: false } }),
      projection('schedule', { shape_version: 4, code_shape_version: 4, generation: 4, rows: { count: 61_007, estimated: false } }),
      projection('timeline', { shape_version: 3, code_shape_version: 3, state: 'paused', position: 4_090_115, lag_events: 28_131, lag_seconds: 86_400, rate_per_s: 0, rates: [6, 6, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0], rows: { count: 28_214, estimated: false }, paused: { by: 'tomas', at: before(86_400), reason: 'while the import runs' }, actions: may('resume_projection', 'start_replay') }),
    ],
    safe_position: NEWEST,
    lag_reason: null,
    workers: 1,
    rebuilds,
    now: status.now,
  }
}

export const diffRows: DiffRow[] = [
  ['refunded_minor', 0, 18_000],
  ['vat_minor', null, 1496],
  ['vat_minor', null, 2244],
  ['kept_minor', 7855, 7710],
  ['paid_at', '2026-10-25T00:30:00Z', '2026-10-25T01:30:00Z'],
].map(([column, live, next], i) => ({ table: 'payments_ledger', key: bookingRow(20 + i).booking_id, subject: bookingRow(20 + i).reference, cells: [{ column: String(column), live, new: next }] }))

export const projectionChanges: ProjectionChange[] = [
  { command_id: id(694), at: moment('2026-11-23T16:20:00Z'), by: 'tomas', projection: 'timeline', what: 'pause', position: null, reason: 'while the import runs' },
  { command_id: id(693), at: moment('2026-11-22T11:05:00Z'), by: 'sofia', projection: 'report_days', what: 'skip', position: 4_090_112, reason: 'Booked twice by the import' },
  { command_id: id(692), at: moment('2026-11-22T10:07:30Z'), by: 'sofia', projection: 'bookings', what: 'swap_rebuild', position: null, reason: 'Shows who cancelled' },
]

export const history: Rebuild[] = [
  rebuild({ rebuild_id: id(690), projection: 'bookings', state: 'done', phase: 'swap', live_shape_version: 5, shape_version: 6, started: moment('2026-11-22T10:02:00Z'), ended: moment('2026-11-22T10:07:41Z'), ended_by: 'Sofia Marçal', reason: 'Shows who cancelled', compare: { rows: 18_402, complete: true, different: 0, only_live: 0, only_new: 0, live_hash: 'a31f09c2d4b7e861', new_hash: 'a31f09c2d4b7e861', same_position: true }, actions: [] }),
  rebuild({ rebuild_id: id(689), projection: 'bookings', mode: 'dry_run', state: 'done', phase: 'compare', started: moment('2026-11-22T09:40:00Z'), ended: moment('2026-11-22T09:45:12Z'), reason: 'Does the new column hold?', compare: { rows: 18_402, complete: true, different: 12, only_live: 0, only_new: 0, live_hash: 'a31f09c2d4b7e861', new_hash: '77d1e9aa10c3f2b4', same_position: true }, actions: [] }),
  rebuild({ rebuild_id: id(688), projection: 'report_days', mode: 'rebuild', state: 'cancelled', phase: 'read', from: { from: 'time', wall: '2026-11-01T00:00' }, started: moment('2026-11-20T17:31:00Z'), ended: moment('2026-11-20T17:32:10Z'), by: 'tomas', ended_by: 'Sofia Marçal', reason: 'November looked too low', compare: null, actions: [] }),
]

// ---- backups ----------------------------------------------------------------------------------------------

function backup(n: number, utc: string, more: Partial<Backup> = {}): Backup {
  const made = moment(utc)
  return {
    backup_id: id(800 + n),
    made,
    why: 'daily',
    before_schema: null,
    by: null,
    file: `bizing-${utc.slice(0, 16).replaceAll(/[-:]/g, '')}.dump`,
    size_bytes: 1_104_000_000,
    schema_version: 13,
    server_version: '15.18',
    position: NEWEST - n * 4000,
    events: NEWEST - n * 4000,
    proof: { state: 'restored', at: made, events: NEWEST - n * 4000, chain_intact: true, seconds: 41, problem: null },
    ...more,
  }
}
const unproved: Backup['proof'] = { state: 'not_proved', at: null, events: null, chain_intact: null, seconds: null, problem: null }
export const backups: Backups = {
  rows: [
    backup(0, '2026-11-24T03:30:00Z', { proof: { state: 'restored', at: moment('2026-11-24T04:02:00Z'), events: NEWEST, chain_intact: true, seconds: 41, problem: null } }),
    backup(1, '2026-11-23T03:30:00Z'),
    backup(2, '2026-11-22T03:30:00Z'),
    backup(3, '2026-11-21T21:14:00Z', { why: 'before_migration', before_schema: 13 }),
    backup(4, '2026-11-21T03:30:00Z', { proof: unproved }),
  ],
  last_good: id(800),
  folder: '~/.local/share/bizing-desk/backups',
  kept_days: 14,
  kept_bytes: 16_000_000_000,
  daily_at: '03:30',
  next: moment('2026-11-25T03:30:00Z'),
  running: null,
  actions: may('back_up_now', 'verify_backup', 'restore_backup'),
}

// ---- what was proved, and the room it takes ---------------------------------------------------------------

const audits = ['money.captured_equals_events', 'ledger.equals_bookings', 'hold.overlap', 'stream.hash_chain', 'delivery.unclear', 'projection.lag']
export const proofs: Proofs = {
  last: { run_id: id(900), at: moment('2026-11-24T11:30:00Z'), by: 'sofia', seconds: 41, deep: true, events: NEWEST, audits: audits.map((name) => ({ name, found: 0 })) },
  last_deep: { run_id: id(900), at: moment('2026-11-24T11:30:00Z'), by: 'sofia', seconds: 41, deep: true, events: NEWEST, audits: audits.map((name) => ({ name, found: 0 })) },
  running: null,
  actions: may('examine'),
}
export const space: Space = {
  parts: [
    { of: 'events', bytes: 2_900_000_000 },
    { of: 'deliveries', bytes: 1_300_000_000 },
    { of: 'lists', bytes: 700_000_000 },
    { of: 'sagas', bytes: 240_000_000 },
    { of: 'rest', bytes: 60_000_000 },
  ],
  events: { count: NEWEST, estimated: true },
  disk: { free_bytes: 132_000_000_000, size_bytes: 250_000_000_000 },
  bytes_per_day: 90_000_000,
}

export const firstReference = retryingPage().row.reference

const somebody = { active: true, own: false, last_seen_at: null, created_at: before(9_000), created_by: 'sofia', password_at: before(9_000), disabled_at: null, disabled_by: null }
export const people: People = {
  rows: [
    { ...somebody, login: 'ana', name: 'Ana Beltrão', group: 'staff', last_seen_at: before(2) },
    { ...somebody, login: 'marta', name: 'Marta Reis', group: 'staff', active: false, disabled_at: before(3_000), disabled_by: 'sofia' },
    { ...somebody, login: 'sofia', name: 'Sofia Marçal', group: 'admin', own: true, last_seen_at: before(1) },
    { ...somebody, login: 'tomas', name: 'Tomás Vale', group: 'manager', last_seen_at: before(1_500) },
    { ...somebody, login: 'bizing_desk_k7q2m9xa', name: null, group: 'admin', created_at: null, created_by: null, password_at: null },
  ],
  refused: null,
}
