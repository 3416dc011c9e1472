//! The scripted backend with the whole day in it.

import { awaitingPage, catalogue, customer, customerHistory, moment, NOW, retryingPage, row, session, status, undonePage } from './fixtures'
import { backups, causes, diffRows, eventCatalogue, eventDetail, history, listEvents, NEWEST, people, projectionChanges, projections, proofs, rebuild, space, stateAt } from './admin'
import { asking, batch, batchPage, batchPlan, compensation, differing, figures, policy, providers, sagaList, sagaPage, sagaRows } from './sagas'
import { allowList, noticeList, deliveryDetail, endpointOf, endpoints, historyOf, hookCatalogue, listDeliveries, redeliveries, redelivery, redeliveryPlan, tried } from './deliveries'
import { arrivalOf, incomingSecrets, listInbox, reprocessPlan } from './inbox'
import { appError, ScriptedBackend } from './testing'
import { DeskError } from './backend'
import type { BookingPage, BookingRow, CaughtMessage, DeliveryFilter, FreeTime, HostState, ListBookings } from './types'

export const ready: HostState = {
  phase: { is: 'ready' },
  profile: 'demo',
  app_version: '0.1.0',
  data_folder: '~/.local/share/bizing-desk',
  fixed_by_environment: false,
}

export const messages: CaughtMessage[] = [
  {
    id: 'm2',
    at: '2026-11-24T11:41:50Z',
    from: 'Halcyon Lisboa <desk@halcyon.example>',
    to: ['seun@whitfield.example'],
    subject: 'Confirmed: Deep tissue 60 on Wednesday 25 November, 14:00',
    text: 'Hello Seun,\n\nyour booking is confirmed.\n\nDeep tissue 60 with Ana Beltrão\nWednesday 25 November, 14:00 to 15:00 WET\nChiado, Quiet room\n\nPaid: €80.00\nReference: BK-7Q4M2K\n\nHalcyon Lisboa',
    ics: 'BEGIN:VCALENDAR\nVERSION:2.0\nMETHOD:REQUEST\nBEGIN:VEVENT\nUID:BK-7Q4M2K@halcyon.example\nDTSTART:20261125T140000Z\nDTEND:20261125T150000Z\nSUMMARY:Deep tissue 60\nLOCATION:Chiado, Quiet room\nSEQUENCE:0\nEND:VEVENT\nEND:VCALENDAR',
  },
  {
    id: 'm1',
    at: '2026-11-24T11:30:52Z',
    from: 'Halcyon Lisboa <desk@halcyon.example>',
    to: ['greta@holm.example'],
    subject: 'Pay for your booking until 12:02',
    text: 'Hello Greta,\n\nwe hold Facial 60 for you until 12:02 WET.\nPay here: http://127.0.0.1:4242/pay/cs_test_a1B2c3\n\nHalcyon Lisboa',
    ics: null,
  },
]

const anything: DeliveryFilter = { since: null, until: null, states: [], destination_ids: [], events: [], codes: [], errors: [], booking_id: null, event_id: null, payload: null, search: null }

function known<T>(found: T | null, what: string): T {
  if (found === null) throw new DeskError(appError('request.not_found', `There is no such ${what} here.`))
  return found
}

interface Options {
  count?: number
}

export function world({ count = 48 }: Options = {}): ScriptedBackend {
  const all: BookingRow[] = Array.from({ length: count }, (_, i) => row(i))
  const match = (p: ListBookings) => (r: BookingRow) =>
    (!p.search || `${r.reference} ${r.customer.name}`.toLowerCase().includes(p.search.toLowerCase())) &&
    (p.states.length === 0 || p.states.includes(r.state)) &&
    (p.payments.length === 0 || p.payments.includes(r.payment)) &&
    (!p.service_id || r.service.id === p.service_id) &&
    (!p.resource_id || r.resources.some((x) => x.id === p.resource_id)) &&
    (!p.from || r.starts.wall.slice(0, 10) >= p.from) &&
    (!p.to || r.starts.wall.slice(0, 10) <= p.to)
  const sorts = {
    starts: (r: BookingRow) => r.starts.utc + r.reference,
    changed: (r: BookingRow) => r.changed_at,
    customer: (r: BookingRow) => r.customer.name,
    price: (r: BookingRow) => String(r.price.amount_minor).padStart(10, '0'),
    reference: (r: BookingRow) => r.reference,
  }

  return new ScriptedBackend({
    host_state: () => ready,
    session: () => session,
    status: () => status,
    catalogue: () => catalogue,
    caught_messages: () => messages,
    list_bookings: (p) => {
      const key = sorts[p.sort]
      const found = all.filter(match(p)).sort((a, b) => (key(a) < key(b) ? -1 : 1) * (p.descending ? -1 : 1))
      const from = p.after ? Number(p.after) : 0
      const rows = found.slice(from, from + p.limit)
      const next = from + p.limit < found.length ? String(from + p.limit) : null
      return { rows, next, total: count, matched: found.length, position: status.position }
    },
    get_booking: ({ booking }) => {
      const found = all.findIndex((r) => r.booking_id === booking || r.reference === booking)
      if (found < 0) throw new DeskError(appError('request.not_found', `There is no booking ${booking}.`, { hint: 'Look for the customer instead.' }))
      return pageOf(all[found]!)
    },
    get_customer_history: () => customerHistory(),
    find_customers: ({ search, limit }) =>
      Array.from({ length: 20 }, (_, i) => customer(i))
        .filter((c) => `${c.name} ${c.email} ${c.phone}`.toLowerCase().includes(search.toLowerCase()))
        .slice(0, limit),
    free_times: ({ date, staff_id, service_id }) => {
      const able = catalogue.services.find((s) => s.service_id === service_id)?.performed_by ?? []
      const people = catalogue.resources.filter((r) => able.includes(r.resource_id) && (!staff_id || r.resource_id === staff_id))
      const closed = new Date(`${date}T00:00:00Z`).getUTCDay() === 0
      const times: FreeTime[] = closed
        ? []
        : people.flatMap((p, j) =>
            ['09:00', '09:45', '11:30', '13:00', '14:15', '15:00', '16:30', '17:15', '18:30'].filter((_, i) => (i + j) % 3 !== 1).map((time) => ({
              starts: moment(`${date}T${time}:00Z`),
              staff: { id: p.resource_id, name: p.name },
              room: { id: catalogue.resources[6]!.resource_id, name: 'Quiet room' },
            })),
          )
      return { date, times, next_date: times.length ? null : '2026-11-30' }
    },
    create_booking: () => ({ booking_id: all[3]!.booking_id, reference: all[3]!.reference, saga_id: 's' }),
    cancel_booking: ({ booking_id }) => ({ booking_id }),
    set_no_show: ({ booking_id, no_show }) => ({ booking_id, no_show }),
    list_events: (p) => listEvents(p),
    get_event: ({ position }) => {
      if (position > NEWEST) throw new DeskError(appError('request.not_found', `There is no event at position ${position}.`, { hint: 'The newest one is at the top of the list.' }))
      return eventDetail(position)
    },
    event_causes: ({ correlation_id }) => causes(correlation_id),
    state_as_of: ({ stream, at }) => stateAt(stream, at.as_of === 'version' ? at.version : 7),
    event_catalogue: () => eventCatalogue,
    copy_events: (p) => ({ json: JSON.stringify(p.copy === 'event' ? eventDetail(p.position).stored : causes(p.correlation_id), null, 2), events: p.copy === 'event' ? 1 : 7, left_out: 0 }),
    export_events: ({ upto }) => (upto === null ? { lines: '{"position":1}\n', events: 1, after: 2_000_000, upto: NEWEST } : { lines: '{"position":2000001}\n', events: 1, after: upto, upto }),
    list_sagas: ({ tab, search }) => (search ? { ...sagaList(tab), rows: sagaRows.filter((r) => r.booking.reference.includes(search.toUpperCase())) } : sagaList(tab)),
    get_saga: ({ saga_id }) => {
      if (!sagaRows.some((r) => r.saga_id === saga_id)) throw new DeskError(appError('request.not_found', 'There is no such saga here.'))
      return sagaPage()
    },
    preview_saga: ({ action }) => (action === 'compensate' ? compensation : { ...compensation, operations: [], refund: null }),
    command_saga: ({ command_id }) => ({ command_id, awaits_approval: false }),
    ask_stripe: ({ ask_id }) => ({ ...differing, ask_id, state: 'open', answered_at: null, answer: null }),
    get_ask: ({ ask_id }) => ({ ...differing, ask_id }),
    get_approval: () => ({ command: asking, plan: compensation, changed: false }),
    saga_figures: () => figures,
    get_saga_policy: () => policy,
    put_saga_policy: (p) => ({ ...policy, ...p, version: p.version + 1 }),
    export_sagas: ({ after }) => ({ csv: `${after ? '' : 'reference\n'}BK-7PRF2\n`, rows: 1, next: after ? null : 'more' }),
    ask_sweep: () => ({}),
    close_orphan: () => ({}),
    check_orphan: ({ ask_id }) => ({ ...differing, ask_id, state: 'open', answered_at: null, answer: null }),
    decide_orphan: ({ ask_id }) => ({ ...differing, ask_id, state: 'open', answered_at: null, answer: null }),
    list_providers: () => providers,
    put_provider: () => providers,
    open_gate: () => providers,
    preview_batch: ({ action }) =>
      ['assign', 'pause', 'resume'].includes(action)
        ? { ...batchPlan, refused: [], refunds: [], refund_count: 0, bookings_cancelled: 0, slots_freed: 0, messages: 0, typed: false }
        : batchPlan,
    preview_asked_batch: () => ({ ...batchPlan, refunds: [{ amount_minor: 18_000, currency: 'EUR' }], refund_count: 1, members: batchPlan.members.slice(0, 1) }),
    start_batch: () => batch,
    change_batch: () => batch,
    get_batch: () => batchPage,
    decide_saga_command: () => ({ ...asking, status: 'applied', approved_by: 'sofia' }),
    list_endpoints: () => endpoints,
    get_endpoint: ({ destination_id }) => known(endpointOf(destination_id), 'endpoint'),
    list_incoming_secrets: () => incomingSecrets,
    add_incoming_secret: () => incomingSecrets,
    end_incoming_secret: () => ({ ...incomingSecrets, secrets: incomingSecrets.secrets.slice(1) }),
    get_endpoint_history: ({ destination_id, span }) => historyOf(destination_id, span),
    put_endpoint: (p) => {
      const like = endpointOf(endpoints.rows[0]!.destination_id)!
      return { endpoint: { ...like, row: { ...like.row, name: p.name, state: 'works' }, url: p.url, events: p.events }, secret: p.version === null ? 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD' : null }
    },
    preview_recovery: () => ({ missed: 1240, given_up: 3 }),
    change_endpoint: ({ destination_id }) => known(endpointOf(destination_id), 'endpoint'),
    rotate_secret: ({ destination_id }) => ({ endpoint: known(endpointOf(destination_id), 'endpoint'), secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' }),
    reveal_secret: ({ secret_id }) => ({ secret_id, secret: 'whsec_plJ3nmyCDGBKInavdOK15jsl' }),
    try_filter: () => tried,
    send_test: () => ({ delivery_id: listDeliveries({ filter: anything, after: null, limit: 1 }).rows[0]!.delivery_id }),
    hook_catalogue: () => hookCatalogue,
    get_delivery_retention: () => ({ version: 0, deliveries_days: 730, changed_by: null, changed_at: NOW, reason: null, refused: null }),
    put_delivery_retention: (p) => ({ ...p, version: p.version + 1, changed_by: 'sofia', changed_at: NOW, refused: null }),
    get_allow_list: () => allowList,
    get_notice_list: () => noticeList,
    put_notice_list: (p) => ({ ...noticeList, ...p, version: p.version + 1 }),
    put_allow_list: (p) => ({ ...allowList, ...p, version: p.version + 1 }),
    list_deliveries: (p) => listDeliveries(p),
    get_delivery: ({ delivery_id }) => known(deliveryDetail(delivery_id), 'delivery'),
    redeliver: ({ delivery_id }) => ({ delivery_id }),
    cancel_delivery: ({ delivery_id }) => ({ delivery_id }),
    preview_redelivery: () => redeliveryPlan,
    start_redelivery: ({ bulk_id }) => redelivery({ bulk_id, done: 0, delivered: 0, failed: 0 }),
    change_redelivery: ({ bulk_id, change }) => redelivery({ bulk_id, state: change === 'stop' ? 'stopped' : change === 'cancel' ? 'cancelled' : 'running' }),
    list_redeliveries: () => redeliveries,
    list_inbox: (p) => listInbox(p),
    get_arrival: ({ arrival_id }) => known(arrivalOf(arrival_id), 'arrival'),
    reprocess: ({ arrival_ids }) => ({ count: arrival_ids.length }),
    preview_reprocess: () => reprocessPlan,
    start_reprocess: ({ bulk_id, filter, reason }) => redelivery({ bulk_id, action: 'reprocess', came: filter, reason, count: 214, done: 0, delivered: 0, failed: 0 }),
    poll_now: () => ({}),
    list_projections: () => projections(),
    list_rebuilds: ({ projection }) => ({ rows: history.filter((r) => !projection || r.projection === projection), next: null }),
    list_projection_changes: ({ projection }) => ({ rows: projectionChanges.filter((c) => !projection || c.projection === projection), next: null }),
    get_rebuild: ({ rebuild_id }) => [rebuild(), ...history].find((r) => r.rebuild_id === rebuild_id) ?? rebuild(),
    preview_replay: ({ from }) =>
      from.from === 'start'
        ? { from_position: 1, from_at: null, events: { count: NEWEST, estimated: true }, seconds: 361, subject: null, running: ['payments_ledger'], actions: [{ name: 'dry_run', refused: null }, { name: 'rebuild', refused: null }] }
        : { from_position: from.from === 'position' ? from.position : 3_912_044, from_at: moment('2026-11-01T00:00:00Z'), events: { count: 206_202, estimated: false }, seconds: 18, subject: from.from === 'stream' ? from.stream : null, running: ['payments_ledger'], actions: [{ name: 'dry_run', refused: null }, { name: 'rebuild', refused: null }] },
    start_replay: () => ({ rebuild_id: rebuild().rebuild_id }),
    pause_rebuild: () => rebuild({ state: 'paused' }),
    resume_rebuild: () => rebuild(),
    cancel_rebuild: () => rebuild({ state: 'cancelled' }),
    set_rebuild_speed: ({ speed }) => rebuild({ speed }),
    swap_rebuild: () => rebuild({ state: 'done' }),
    list_diff: ({ kind }) => ({ rows: kind === 'different' ? diffRows : kind === 'only_new' ? diffRows.slice(0, 3).map((r) => ({ ...r, cells: r.cells.map((c) => ({ ...c, live: null })) })) : [], next: null }),
    pause_projection: ({ projection }) => projections().rows.find((r) => r.name === projection)!,
    resume_projection: ({ projection }) => projections().rows.find((r) => r.name === projection)!,
    roll_back_projection: ({ projection }) => projections().rows.find((r) => r.name === projection)!,
    retry_parked: ({ projection }) => projections().rows.find((r) => r.name === projection)!,
    skip_parked: ({ projection }) => projections().rows.find((r) => r.name === projection)!,
    withdraw_skip: ({ projection }) => projections().rows.find((r) => r.name === projection)!,
    list_proofs: () => proofs,
    examine: ({ command_id }) => ({ run_id: command_id, started_at: NOW, streams: null, of: null }),
    space: () => space,
    list_people: () => people,
    list_names: () => ({ rows: people.rows.flatMap((row) => (row.name ? [{ login: row.login, name: row.name, able: row.active }] : [])) }),
    add_person: (p) => ({ person: { ...people.rows[1]!, ...p, own: false, last_seen_at: null }, password: 'k7Qw2mZx9TfB4sLd', address: `postgres://${p.login}:…@db.halcyon.example:5432/bizing` }),
    change_person: (p) => ({ ...people.rows.find((row) => row.login === p.login)!, active: p.change !== 'disable' }),
    reset_password: (p) => ({ person: people.rows.find((row) => row.login === p.login)!, password: 'h3Vn8cRy5KpW1xGa', address: `postgres://${p.login}:…@db.halcyon.example:5432/bizing` }),
    list_backups: () => backups,
    back_up_now: () => ({ work: 'back_up', backup_id: null, by: 'sofia', started_at: NOW }),
    verify_backup: ({ backup_id }) => ({ work: 'verify', backup_id, by: 'sofia', started_at: NOW }),
    preview_restore: ({ target }) => ({ backup: backups.rows[0]!, events_missing: 412, erasures_again: 1, free_bytes: 118_000_000_000, seconds: 41, typed: target.into === 'database' ? target.name : 'restore', refused: null }),
    restore_backup: ({ backup_id }) => ({ work: 'restore', backup_id, by: 'sofia', started_at: NOW }),
    preview_erasure: ({ customer_id }) => ({ customer: { ...customer(3), customer_id }, events: 2, bookings: 5, fields: ['name', 'email', 'phone'], backups: 5, refused: null }),
    erase_customer: ({ customer_id }) => ({ customer_id, erased_at: NOW }),
    choose_start: () => ({ ...ready, phase: { is: 'starting', step: 'finding_server', since: NOW } }),
    retry_start: () => ready,
    leave_database: () => ({ ...ready, phase: { is: 'choose' }, profile: null }),
  })
}

/** A page that fits the row: three are told in full, the others borrow their history from the nearest. */
function pageOf(r: BookingRow): BookingPage {
  const full = [retryingPage(), awaitingPage(), undonePage()]
  const own = full.find((page) => page.row.booking_id === r.booking_id)
  if (own) return own
  const base = r.state === 'cancelled' || r.state === 'expired' ? full[2]! : r.state === 'awaiting_payment' ? full[1]! : full[0]!
  return { ...base, row: r, customer: { ...base.customer, customer_id: r.customer.id, name: r.customer.name } }
}
