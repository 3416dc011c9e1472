//! A day at Halcyon Lisboa, for tests and the gallery: every state a booking can be in, told as the desk would tell it.

import type {
  BookingPage,
  BookingRow,
  BookingState,
  Catalogue,
  CustomerHistory,
  CustomerRow,
  Moment,
  Money,
  Named,
  PaymentState,
  SagaState,
  SagaStep,
  SagaView,
  Session,
  Status,
  StepState,
  TimelineItem,
} from './types'

/** Tuesday 24 November 2026, 11:42 in Lisbon. */
export const NOW = '2026-11-24T11:42:12Z'
const ZONE = 'Europe/Lisbon'

export function moment(utc: string): Moment {
  const iso = new Date(utc).toISOString()
  return { utc: iso.replace('.000Z', 'Z'), wall: iso.slice(0, 19), zone: ZONE, abbreviation: 'WET', offset_minutes: 0 }
}

export function before(seconds: number): string {
  return new Date(Date.parse(NOW) - seconds * 1000).toISOString()
}

export function eur(amount: number): Money {
  return { amount_minor: Math.round(amount * 100), currency: 'EUR' }
}

function uuid(n: number): string {
  return `01937c2e-8f0a-7000-8000-${n.toString(16).padStart(12, '0')}`
}

export const session: Session = {
  login: 'sofia',
  display_name: 'Sofia Marçal',
  group: 'admin',
  mode: 'sandbox',
  profile: 'demo',
  business_name: 'Halcyon Lisboa',
  location_name: 'Chiado',
  zone: ZONE,
  currency: 'EUR',
  database_name: 'bizing_demo',
  server_version: '15.18',
  schema_version: 7,
  read_only: null,
  works_here: true,
}

export const status: Status = {
  now: moment(NOW),
  database: { state: 'works', checked_at: NOW, latency_ms: 3, problem: null, hint: null },
  stripe: { state: 'works', checked_at: before(8), latency_ms: 212, problem: null, hint: null },
  mail: { state: 'works', checked_at: before(20), latency_ms: 12, problem: null, hint: null },
  workers: 1,
  works_here: true,
  position: 4118,
  projections: [{ name: 'bookings', version: 1, position: 4118, lag_events: 0, lag_seconds: 0, parked: null }],
  lag_cause: null,
  rebuild_percent: null,
  old_snapshot: null,
  log_id: uuid(900),
  log_change: null,
  last_good_backup: moment('2026-11-24T03:30:00Z'),
  backup_overdue: false,
  counts: { sagas_need_person: 1, sagas_open: 3, deliveries_failing: 1, deliveries_need_person: 0 },
  endpoints_in_trouble: [],
}

const staff: Named[] = ['Ana Beltrão', 'Tomás Figueiredo', 'Marek Wiśniewski', 'Chidi Okonkwo', 'ليلى حداد', 'Ingrid Sørensen-Nakagawa'].map(
  (name, i) => ({ id: uuid(100 + i), name }),
)
const rooms: Named[] = ['Quiet room', 'Studio A', 'Studio B', 'Treatment 3'].map((name, i) => ({ id: uuid(200 + i), name }))

export const catalogue: Catalogue = {
  services: (
    [
      ['Deep tissue 60', 'Massage', 60, 80],
      ['Sports massage', 'Massage', 45, 65],
      ['Physio 45', 'Physio', 45, 48],
      ['Osteopathy', 'Physio', 60, 70],
      ['Facial 60', 'Face', 60, 75],
      ['Hot stone 90', 'Massage', 90, 120],
      ['Lymph drainage and breathing', 'Massage', 75, 85],
    ] as const
  ).map(([name, category, duration_min, price], i) => ({
    service_id: uuid(300 + i),
    name,
    category,
    duration_min,
    buffer_before_min: 0,
    buffer_after_min: 15,
    price: eur(price),
    performed_by: staff.filter((_, j) => (i + j) % 3 !== 0).map((s) => s.id),
    rooms: i === 6 ? [] : rooms.map((r) => r.id),
  })),
  resources: [
    ...staff.map((s) => ({ resource_id: s.id, kind: 'staff', name: s.name })),
    ...rooms.map((r) => ({ resource_id: r.id, kind: 'room', name: r.name })),
  ],
  sandbox_cards: [
    { payment_method: 'pm_card_visa', behaviour: 'accepted' },
    { payment_method: 'pm_card_chargeDeclined', behaviour: 'declined' },
    { payment_method: 'pm_card_authenticationRequired', behaviour: 'needs_authentication' },
  ],
}

const names = [
  'Inês Carvalho-Lindqvist',
  'Lars Åkesson',
  'Harriet Ashdown',
  'Greta Holm',
  'نور الخطيب',
  'Theo Vandenbroucke',
  'Saoirse Ní Bhriain',
  'Hanneke de Vries',
  'Priya Raghunathan',
  'Aurora Bianchi-Castellani',
  'Filipa & João Quintela',
  'Paulo Siqueira 🎂',
  'Sunniva Haug',
  'Dimitra Papadaki',
  'Stella Mavros',
  'Wolfgang-Maximilian von Hohenfels-Altenburg',
  'Kenji Watanabe',
  'Maddalena Ricci',
  'Rui Salgado',
  'Oluwaseun Adébáyò-Whitfield',
]

type Shape = [BookingState, PaymentState, SagaState | null, StepState[]]
const D: StepState = 'done'
const N: StepState = 'not_begun'
export const shapes: Record<string, Shape> = {
  confirmed: ['confirmed', 'paid', 'done', [D, D, D, D, D]],
  retrying: ['confirmed', 'paid', 'running', [D, D, D, D, 'waiting']],
  venue: ['confirmed', 'at_venue', 'done', [D, 'not_needed', 'not_needed', D, D]],
  awaiting: ['awaiting_payment', 'link_sent', 'waiting_for_customer', [D, 'waiting', N, N, N]],
  authorised: ['held', 'authorised', 'running', [D, D, 'running', N, N]],
  unknown: ['held', 'unknown', 'running', [D, D, 'unknown', N, N]],
  declined: ['awaiting_payment', 'declined', 'waiting_for_customer', [D, 'failed', N, N, N]],
  held: ['held', 'not_asked', 'running', [D, 'running', N, N, N]],
  action: ['awaiting_payment', 'action_required', 'waiting_for_customer', [D, 'waiting', N, N, N]],
  person: ['confirmed', 'paid', 'needs_person', [D, D, D, D, 'needs_person']],
  undoing: ['cancelled', 'refund_pending', 'undoing', [D, D, D, 'undone', 'undone']],
  undone: ['cancelled', 'refunded', 'undone', ['undone', 'undone', 'undone', 'undone', 'undone']],
  expired: ['expired', 'voided', 'undone', ['undone', 'undone', N, N, N]],
}
const order = ['retrying', 'confirmed', 'venue', 'awaiting', 'confirmed', 'confirmed', 'held', 'unknown', 'confirmed', 'action', 'confirmed', 'authorised', 'confirmed', 'declined', 'person', 'undone', 'undoing', 'confirmed', 'venue', 'expired'] // prettier-ignore

function reference(i: number): string {
  const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
  let n = i * 7919 + 24_601_337
  let out = ''
  for (let k = 0; k < 4; k++) {
    out = alphabet[n % 32] + out
    n = Math.floor(n / 32)
  }
  return `BK-7Q${out}`
}

/** The `i`th booking of a long list, the same one every time. */
export function row(i: number, shape = order[i % order.length]!): BookingRow {
  const [state, payment, saga_state, steps] = shapes[shape]!
  const service = catalogue.services[(i * 5 + 2 * (i % 3)) % catalogue.services.length]!
  const slot = Math.floor(i / 4)
  const starts = Date.parse('2026-11-24T08:30:00Z') + Math.floor(slot / 12) * 86_400_000 + (slot % 12) * 45 * 60_000 + (i % 4) * 15 * 60_000
  const mode = payment === 'at_venue' ? 'venue' : i % 3 === 1 ? 'card_on_file' : 'link'
  const person = staff[i % staff.length]!
  return {
    booking_id: uuid(10_000 + i),
    reference: reference(i),
    customer: { id: uuid(500_000 + (i % 997)), name: names[i % names.length]! },
    service: { id: service.service_id, name: service.name },
    resources: service.rooms.length ? [person, rooms[i % rooms.length]!] : [person],
    starts: moment(new Date(starts).toISOString()),
    ends: moment(new Date(starts + service.duration_min * 60_000).toISOString()),
    state,
    hold_expires_at: state === 'held' || state === 'awaiting_payment' ? before(-252 - (i % 7) * 97) : null,
    payment,
    payment_mode: mode,
    price: service.price,
    saga_state,
    saga: 'booking',
    steps,
    changed_at: before([4, 190, 1620, 680, 86_400 * 1.2, 86_400 * 2, 40, 18 * 60, 7200, 15_000][i % 10]!),
  }
}

/** Fourteen bookings, whoever it is. */
export function customerHistory(): CustomerHistory {
  return {
    bookings: 14,
    visits: 9,
    no_shows: 1,
    cancelled: 2,
    spent: [eur(720)],
    latest: [0, 5, 9].map((i) => {
      const { booking_id, reference, service, starts, state } = row(i)
      return { booking_id, reference, service: service.name, starts, state }
    }),
  }
}

export function customer(i: number): CustomerRow {
  const name = names[i % names.length]!
  return {
    customer_id: uuid(500_000 + i),
    name,
    email: `${name.normalize('NFD').replace(/[^a-z]/gi, '').slice(0, 8).toLowerCase() || 'noor'}@example.com`,
    phone: i % 3 ? `+351 91 234 5${String(i).padStart(3, '0')}` : null,
    bookings: (i * 7) % 23,
    last_booking_at: before(86_400 * (i + 2)),
  }
}

// ---- one booking's page ----------------------------------------------------------------------------------

function step(name: string, state: StepState, from: number | null, to: number | null, more: Partial<SagaStep> = {}): SagaStep {
  return {
    step: name,
    state,
    attempts: from === null ? 0 : 1,
    undo_attempts: 0,
    started_at: from === null ? null : before(from),
    ended_at: to === null ? null : before(to),
    undo_started_at: null,
    undo_ended_at: null,
    error: null,
    next_try_at: null,
    ...more,
  }
}

interface Told {
  kind?: TimelineItem['kind']
  cause?: string
  data?: Record<string, unknown>
  actor?: string | null
  position?: number | null
}

function item(id: string, at: number, what: string, { kind = 'event', cause, data = {}, actor = null, position = null }: Told = {}): TimelineItem {
  return {
    id,
    kind,
    at: moment(before(at)),
    what,
    schema_version: kind === 'event' ? 1 : null,
    position: kind === 'event' ? position : null,
    actor,
    on_behalf_of: kind === 'event' && actor?.startsWith('worker') ? 'sofia' : null,
    correlation_id: '01937c2e-8f0a-7b13-9d04-51aa02c94ef7',
    caused_by: cause ?? null,
    data,
  }
}

const try_ = (attempt: number, ms: number, more: Record<string, unknown> = {}) => ({ result: 'done', attempt, duration_ms: ms, ...more })

/** Paid and confirmed; the e-mail server asks to come back later. */
export function retryingPage(): BookingPage {
  const r = row(0, 'retrying')
  const saga: SagaView = {
    saga_id: uuid(900),
    definition: 'booking@1',
    state: 'running',
    steps: [
      step('hold', 'done', 86_400.3, 86_400.28),
      step('payment', 'done', 86_399, 86_320, { attempts: 2 }),
      step('capture', 'done', 251, 250.6),
      step('confirm', 'done', 250.5, 250.49),
      step('notify', 'waiting', 250, null, {
        attempts: 3,
        error: '451 4.7.1 Greylisted, try again in 300 seconds',
        next_try_at: before(-248),
      }),
    ],
    waits_for: { waits_for: 'delivery', at: before(-248), attempt: 4, cause: '451 4.7.1 Greylisted, try again in 300 seconds' },
    started_at: before(86_400.3),
    finished_at: null,
    undo_reason: null,
  }
  return {
    row: r,
    customer: { ...customer(0), customer_id: r.customer.id, name: r.customer.name, bookings: 14, email: 'ines@lindqvist.example', phone: '+46 70 123 18 02' },
    cancelled: null,
    no_show: false,
    money: { price: r.price, authorised: eur(80), captured: eur(80), refunded: eur(0), disputed: eur(0), kept: eur(80), kept_by_decision: eur(0), fee: eur(1.45), payment_intent: 'pi_3QK8vR2eZvKYlo2C1d2Lw', as_of: before(250), unknown: false },
    disputes: [],
    saga,
    message: { delivery_id: uuid(901), channel: 'email', template: 'booking_confirmed', state: 'retrying', attempts: 3, next_try_at: before(-248), problem: '451 4.7.1 Greylisted, try again in 300 seconds' },
    pay_url: null,
    timeline: [
      item('e1', 86_400.4, 'BookingCreated', { actor: 'sofia', position: 4101, data: { reference: r.reference, service_name: r.service.name, source: 'staff', price: r.price, payment_mode: 'link' } }),
      item('e2', 86_400.3, 'InventoryHeld', { actor: 'sofia', position: 4102, cause: 'e1', data: { expires_at: before(84_600), claims: [{ blocked_from: r.starts.utc, blocked_until: r.ends.utc }] } }),
      item('a1', 86_399, 'payment.forward', { kind: 'saga_attempt', cause: 'e2', actor: 'worker-1', data: { result: 'unknown', attempt: 1, duration_ms: 20_000, error: 'Stripe did not answer in 20 s', error_class: 'outcome_unknown', request_id: 'req_8WbK1n' } }),
      item('a2', 86_370, 'payment.forward', { kind: 'saga_attempt', cause: 'a1', actor: 'worker-1', data: try_(2, 412, { request_id: 'req_9XcL2p' }) }),
      item('e3', 86_369.6, 'PaymentRequested', { actor: 'worker-1', position: 4105, cause: 'a2', data: { amount: eur(80), mode: 'link', checkout_session: 'cs_test_a1B2c3', link_expires_at: before(84_600) } }),
      item('e4', 86_320, 'PaymentAuthorized', { actor: 'worker-1', position: 4109, data: { amount_capturable: eur(80), payment_intent: 'pi_3QK8vR2eZvKYlo2C1d2Lw' } }),
      item('a3', 251, 'capture.forward', { kind: 'saga_attempt', cause: 'e4', actor: 'worker-1', data: try_(1, 412, { request_id: 'req_2Bd81M' }) }),
      item('e5', 250.6, 'PaymentReceived', { actor: 'worker-1', position: 4115, cause: 'a3', data: { amount_received: eur(80), payment_intent: 'pi_3QK8vR2eZvKYlo2C1d2Lw', charge_id: 'ch_3QK8vR' } }),
      item('e6', 250.5, 'BookingConfirmed', { actor: 'worker-1', position: 4116, cause: 'e5', data: { confirmed_at: before(250.5), sequence: 0 } }),
      item('d1', 249, 'email', { kind: 'delivery_attempt', cause: 'e6', actor: 'worker-1', data: { result: 'later', attempt: 1, duration_ms: 880, template: 'booking_confirmed', error: '451 4.7.1 Greylisted, try again in 300 seconds', error_class: 'temporary' } }),
      item('d2', 216, 'email', { kind: 'delivery_attempt', cause: 'e6', actor: 'worker-1', data: { result: 'later', attempt: 2, duration_ms: 910, template: 'booking_confirmed', error: '451 4.7.1 Greylisted, try again in 300 seconds', error_class: 'temporary' } }),
      item('d3', 112, 'email', { kind: 'delivery_attempt', cause: 'e6', actor: 'worker-1', data: { result: 'later', attempt: 3, duration_ms: 1240, template: 'booking_confirmed', error: '451 4.7.1 Greylisted, try again in 300 seconds', error_class: 'temporary' } }),
      item('p1', -248, 'email', { kind: 'planned', cause: 'd3', data: { attempt: 4, template: 'booking_confirmed' } }),
    ],
    actions: [
      { name: 'cancel_booking', refused: null },
      { name: 'open_payment_page', refused: 'The booking is paid: there is nothing left to pay.' },
    ],
    version: 9,
  }
}

/** The link is out and nobody has paid yet. */
export function awaitingPage(): BookingPage {
  const r = row(3, 'awaiting')
  const page = retryingPage()
  return {
    ...page,
    row: r,
    customer: { ...customer(3), customer_id: r.customer.id, name: r.customer.name },
    money: { price: r.price, authorised: eur(0), captured: eur(0), refunded: eur(0), disputed: eur(0), kept: eur(0), kept_by_decision: eur(0), fee: null, payment_intent: null, as_of: before(30), unknown: false },
    disputes: [],
    saga: {
      ...page.saga!,
      state: 'waiting_for_customer',
      waits_for: { waits_for: 'customer', until: r.hold_expires_at },
      steps: [step('hold', 'done', 680, 679.98), step('payment', 'waiting', 679.9, null), step('capture', 'not_begun', null, null), step('confirm', 'not_begun', null, null), step('notify', 'not_begun', null, null)],
      started_at: before(680),
    },
    message: { delivery_id: uuid(902), channel: 'email', template: 'payment_link', state: 'delivered', attempts: 1, next_try_at: null, problem: null },
    pay_url: 'http://127.0.0.1:4242/pay/cs_test_a1B2c3',
    timeline: [
      item('e1', 680, 'BookingCreated', { actor: 'sofia', position: 4110, data: { reference: r.reference, service_name: r.service.name, price: r.price } }),
      item('e2', 679.98, 'InventoryHeld', { actor: 'sofia', position: 4111, cause: 'e1', data: { expires_at: r.hold_expires_at } }),
      item('a1', 679.5, 'payment.forward', { kind: 'saga_attempt', cause: 'e2', actor: 'worker-1', data: try_(1, 388) }),
      item('e3', 679, 'PaymentRequested', { actor: 'worker-1', position: 4112, cause: 'a1', data: { amount: r.price, mode: 'link' } }),
      item('d1', 677, 'email', { kind: 'delivery_attempt', cause: 'e3', actor: 'worker-1', data: { result: 'accepted', attempt: 1, duration_ms: 96, template: 'payment_link' } }),
      item('p1', -(Date.parse(r.hold_expires_at!) - Date.parse(NOW)) / 1000, 'hold_expires', { kind: 'planned' }),
    ],
    actions: [
      { name: 'cancel_booking', refused: null },
      { name: 'open_payment_page', refused: null },
    ],
    version: 4,
  }
}

/** The card was declined and everything was taken back. */
export function undonePage(): BookingPage {
  const r = { ...row(15, 'undone'), payment: 'declined' as const, steps: ['undone', 'failed', 'not_begun', 'not_begun', 'not_begun'] as StepState[] }
  const page = retryingPage()
  return {
    ...page,
    row: r,
    customer: { ...customer(15), customer_id: r.customer.id, name: r.customer.name },
    cancelled: { by: 'system', reason_code: 'payment_failed', reason: null },
    money: { price: r.price, authorised: eur(0), captured: eur(0), refunded: eur(0), disputed: eur(0), kept: eur(0), kept_by_decision: eur(0), fee: null, payment_intent: 'pi_3QL0aaBBccDD', as_of: before(60), unknown: false },
    disputes: [],
    saga: {
      ...page.saga!,
      state: 'undone',
      waits_for: { waits_for: 'nothing' },
      started_at: before(66),
      finished_at: before(61),
      undo_reason: 'card_declined',
      steps: [
        step('hold', 'undone', 66, 65.98, { undo_attempts: 1, undo_started_at: before(62.2), undo_ended_at: before(62.1) }),
        step('payment', 'failed', 65.8, 63, { error: 'Your card was declined.', undo_attempts: 1, undo_started_at: before(62.8), undo_ended_at: before(62.3) }),
        step('capture', 'not_begun', null, null),
        step('confirm', 'not_begun', null, null),
        step('notify', 'not_begun', null, null),
      ],
    },
    message: { delivery_id: uuid(903), channel: 'email', template: 'booking_cancelled', state: 'delivered', attempts: 1, next_try_at: null, problem: null },
    timeline: [
      item('e1', 66, 'BookingCreated', { actor: 'sofia', position: 4090, data: { reference: r.reference, service_name: r.service.name, price: r.price } }),
      item('e2', 65.98, 'InventoryHeld', { actor: 'sofia', position: 4091, cause: 'e1' }),
      item('a1', 65.8, 'payment.forward', { kind: 'saga_attempt', cause: 'e2', actor: 'worker-1', data: { result: 'declined', attempt: 1, duration_ms: 640, error: 'Your card was declined.', error_class: 'card_declined' } }),
      item('e3', 63, 'PaymentFailed', { actor: 'worker-1', position: 4092, cause: 'a1', data: { code: 'card_declined', decline_code: 'generic_decline', message: 'Your card was declined.' } }),
      item('e4', 62.2, 'BookingCancelled', { actor: 'worker-1', position: 4093, cause: 'e3', data: { cancelled_by: 'system', reason_code: 'payment_failed', reason: null } }),
      item('a2', 62.15, 'hold.undo', { kind: 'saga_attempt', cause: 'e4', actor: 'worker-1', data: try_(1, 9) }),
      item('e5', 62.1, 'InventoryReleased', { actor: 'worker-1', position: 4094, cause: 'a2', data: { reason: 'payment_failed' } }),
      item('d1', 61, 'email', { kind: 'delivery_attempt', cause: 'e4', actor: 'worker-1', data: { result: 'accepted', attempt: 1, duration_ms: 88, template: 'booking_cancelled' } }),
    ],
    actions: [
      { name: 'cancel_booking', refused: 'The booking is cancelled already.' },
      { name: 'open_payment_page', refused: 'The booking is cancelled.' },
    ],
    version: 6,
  }
}
