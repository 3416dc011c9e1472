//! Three sagas that need a person and one that runs, for tests and for the gallery.

import { before, eur, moment, retryingPage, row as bookingRow } from './fixtures'
import type { BatchPage, BatchPlan, Orphan, SagaAttempt, SagaBatch, SagaCommand, SagaFigures, SagaList, SagaOffer, SagaPage, SagaPlan, Providers, SagaPolicy, SagaRow, StripeAsk } from './types'

const id = (n: number) => `01937b90-44d2-7000-8000-${String(n).padStart(12, '0')}`

function stuck(n: number, more: Partial<SagaRow> = {}): SagaRow {
  const booking = bookingRow(n, 'retrying')
  return {
    saga_id: id(n),
    booking: { ...booking, saga_state: 'needs_person', steps: ['done', 'done', 'done', 'done', 'needs_person'] },
    step: 'notify',
    undoing: false,
    parked: { code: 'guard_late', reason: '550 5.1.1 no such user. The service starts in less than 24 hours.', at: before(3840) },
    error_class: 'refused',
    error: '550 5.1.1 no such user here',
    kept: eur(95),
    captured: eur(95),
    attempt: 0,
    next_try_at: null,
    since: before(3840),
    assigned_to: null,
    snoozed_until: null,
    version: 14,
    ...more,
  }
}

export const sagaRows: SagaRow[] = [
  stuck(0, { assigned_to: 'sofia' }),
  stuck(1, { parked: { code: 'guard_blast', reason: '550 5.1.1 no such user', at: before(1860) }, kept: eur(180), captured: eur(180), since: before(1860) }),
  stuck(2, {
    step: 'capture',
    undoing: true,
    parked: { code: 'refund_failed', reason: 'the refund failed', at: before(68_400) },
    error_class: null,
    error: null,
    kept: { amount_minor: 18_000, currency: 'JPY' },
    captured: { amount_minor: 18_000, currency: 'JPY' },
    since: before(68_400),
  }),
]

export const asking: SagaCommand = {
  command_id: '01937c44-9be0-7a31-8c55-2f1d8c7a9e77',
  saga_id: id(1),
  reference: sagaRows[1]!.booking.reference,
  action: 'compensate',
  reason: 'Her mother called, she is in hospital',
  by: 'tomas',
  at: before(600),
  status: 'awaiting_approval',
  refusal: null,
  object: null,
  approved_by: null,
  approved_at: null,
  expires_at: before(-85_800),
  outcome: null,
  refund: eur(180),
  keeps: null,
  own: false,
}

export function sagaList(tab: string): SagaList {
  const rows = tab === 'needs_person' ? sagaRows : tab === 'running' ? [stuck(3, { parked: null, step: 'capture', error: null, error_class: null })] : []
  return {
    rows,
    next: null,
    counts: { needs_person: 3, snoozed: 0, at_risk: 0, waiting_for_customer: 12, waiting_for_provider: 14, running: 1, done: { count: 17_204, estimated: true } },
    groups: [
      { key: 'notify:F:refused', step: 'notify', undoing: false, cause: 'refused', provider: 'email', count: 2, kept: [eur(275)], first_at: before(3840), last_at: before(1860), message: '550 5.1.1 no such user here' },
      { key: '2:C:refund_failed', step: 'capture', undoing: true, cause: 'refund_failed', provider: 'stripe', count: 1, kept: [{ amount_minor: 18_000, currency: 'JPY' }], first_at: before(68_400), last_at: before(68_400), message: 'the refund failed' },
    ],
    kept: [eur(275), { amount_minor: 18_000, currency: 'JPY' }],
    gates: [
      { provider: 'email', paused: false, reason: null, since: null, waiting: 0 },
      { provider: 'stripe', paused: true, reason: 'It refused our key (401).', since: before(660), waiting: 14 },
    ],
    approvals: [asking],
    batches: [],
    orphans: [],
    disputes: [],
    sweep: { running: false, ended_at: before(3600), looked: 412, problem: null },
  }
}

function attempt(n: number, seconds: number, more: Partial<SagaAttempt>): SagaAttempt {
  return {
    id: String(n),
    step: 'notify',
    undoing: false,
    kind: 'auto',
    at: moment(before(seconds)),
    took_ms: 412,
    result: 'done',
    error_class: null,
    message: null,
    effect_id: null,
    worker: 'server-1 (headless)',
    fence: 9,
    next_try_at: null,
    output: null,
    error: null,
    ...more,
  }
}

const offers = (refused: Record<string, string | null>): SagaOffer[] =>
  ['retry', 'compensate', 'undo_from', 'refund_part', 'skip', 'resolve_step', 'resolve', 'reopen', 'pause', 'resume', 'extend_hold', 'assign', 'snooze', 'note', 'release_lease', 'correct', 'migrate'].map((action) => ({
    action,
    code: refused[action] ? 'other' : null,
    refused: refused[action] ?? null,
    needs_approval: false,
  }))

export const compensation: SagaPlan = {
  hash: 'a1b2',
  version: 14,
  code: null,
  refused: null,
  operations: [
    { step: 'notify', op: 'nothing', amount: null, count: null, percent: null, from: null, to: null, object: null, at: null, since: null },
    { step: 'confirm', op: 'cancel_booking', amount: null, count: null, percent: null, from: null, to: null, object: null, at: null, since: null },
    { step: 'capture', op: 'refund', amount: eur(95), count: null, percent: null, from: null, to: null, object: null, at: null, since: null },
    { step: 'payment', op: 'nothing', amount: null, count: null, percent: null, from: null, to: null, object: null, at: null, since: null },
    { step: 'hold', op: 'release', amount: null, count: 2, percent: null, from: null, to: null, object: null, at: null, since: null },
  ],
  refund: eur(95),
  kept: eur(95),
  needs_approval: false,
  threshold: eur(150),
  step: null,
  choices: [],
  whole: null,
  keeps: null,
}

export function sagaPage(): SagaPage {
  const page = retryingPage()
  return {
    row: sagaRows[0]!,
    saga: { ...page.saga!, saga_id: id(0), state: 'needs_person', waits_for: { waits_for: 'person', reason: '550 5.1.1 no such user' } },
    money: { ...page.money, price: eur(95), captured: eur(95), kept: eur(95) },
    email: 'stella@mavros.example',
    paused: null,
    gate: null,
    supported: true,
    workers: 1,
    fence: 9,
    attempts: [
      attempt(1, 6000, { step: 'hold', took_ms: 12 }),
      attempt(2, 5990, { step: 'payment', result: 'unknown', error_class: 'unknown', message: 'no answer in 20 s: neither success nor failure', took_ms: 20_000, effect_id: id(70) }),
      attempt(3, 5980, { step: 'payment', effect_id: id(70), output: { object: 'pi_3QK8vR2eZvKYlo2C1d2Lw', status: 'requires_capture' } }),
      attempt(4, 5900, { step: 'capture' }),
      attempt(5, 5899, { step: 'confirm', took_ms: 3 }),
      attempt(6, 3850, { id: 'message:8', kind: 'message', result: 'refused', error_class: 'refused', message: '550 5.1.1 no such user here', fence: null, error: '550 5.1.1 no such user here' }),
    ],
    effects: [
      {
        effect_id: id(70),
        step: 'payment',
        undoing: false,
        generation: 0,
        provider: 'stripe',
        operation: 'create_intent',
        idempotency_key: `bz1:abcd1234:${id(0)}:payment:F:0`,
        intended_at: before(5990),
        last_sent_at: before(5980),
        sends: 2,
        outcome: 'confirmed',
        resolved_via: 'response',
        resolved_at: before(5980),
        provider_object: 'pi_3QK8vR2eZvKYlo2C1d2Lw',
        provider_status: 'requires_capture',
        request_id: 'req_9XcL2p',
        request: { method: 'POST', path: '/v1/payment_intents', fields: [['amount', '9500'], ['currency', 'eur'], ['payment_method', 'pm_card_visa']] },
      },
    ],
    commands: [{ ...asking, command_id: id(80), saga_id: id(0), action: 'retry', reason: '', by: 'sofia', status: 'applied', outcome: 'refused', refund: null, own: true }],
    signals: [{ signal_id: 'evt_1QK8', kind: 'payment_intent.succeeded', received_at: before(5899), consumed_at: before(5898) }],
    offers: offers({ resolve_step: 'What became of each call is known.', reopen: 'It is not over yet.', pause: 'It waits for a decision, so nothing runs that could be paused.', resume: 'It is not paused.', extend_hold: 'It does not wait for the customer.', release_lease: 'No worker holds it.', migrate: 'There is no other version of its definition.' }),
    undo: compensation.operations,
    resolution: null,
    ask_refused: null,
    asks: [],
  }
}


export const batchPlan: BatchPlan = {
  kept: [],
  members: sagaRows.slice(0, 2).map((r) => ({ saga_id: r.saga_id, version: r.version, hash: 'b1' })),
  seen: sagaRows.slice(0, 2).map((r) => ({ saga_id: r.saga_id, reference: r.booking.reference, customer: r.booking.customer.name, kept: r.kept })),
  refused: [{ saga_id: id(2), reference: sagaRows[2]!.booking.reference, reason: 'It is being taken back already.' }],
  refunds: [eur(275)],
  refund_count: 2,
  authorisations: [],
  bookings_cancelled: 2,
  slots_freed: 2,
  messages: 2,
  needs_approval: false,
  typed: true,
}

export const batch: SagaBatch = {
  kept: [],
  batch_id: id(90),
  action: 'compensate',
  reason: 'The mail server was down',
  by: 'sofia',
  at: before(20),
  state: 'running',
  approval: 'not_needed',
  approved_by: null,
  refusal: null,
  ended_at: null,
  refunds: [eur(275)],
  count: 2,
  applied: 1,
  parked: 0,
  left: 1,
  refused: [],
  own: true,
}

export const batchPage: BatchPage = {
  batch: { ...batch, count: 3, refused: [{ saga_id: id(2), reference: sagaRows[2]!.booking.reference, reason: 'It changed while you looked.' }] },
  refunded: [eur(95)],
  items: [
    { saga_id: id(0), reference: sagaRows[0]!.booking.reference, customer: sagaRows[0]!.booking.customer.name, status: 'applied', refusal: null, at: before(14), saga_state: 'undone', refund: eur(95), refunded: true, evidence: null },
    { saga_id: id(2), reference: sagaRows[2]!.booking.reference, customer: sagaRows[2]!.booking.customer.name, status: 'refused', refusal: 'It changed while you looked.', at: before(12), saga_state: 'needs_person', refund: null, refunded: false, evidence: null },
    { saga_id: id(1), reference: sagaRows[1]!.booking.reference, customer: sagaRows[1]!.booking.customer.name, status: 'pending', refusal: null, at: null, saga_state: 'needs_person', refund: null, refunded: false, evidence: null },
  ],
}

export const policy: SagaPolicy = {
  version: 3,
  on_exhausted: 'compensate',
  approval: eur(150),
  blast_sagas: 3,
  blast_minutes: 10,
  late_hours: 24,
  cancel_free_hours: 24,
  cancel_fee_percent: 50,
  cancel_late_hours: 2,
  cancel_late_percent: 100,
  steps: { card_declined: 'link', capture_tries: 40, undo_tries: 12, backoff_base_s: 1, backoff_cap_s: 300, hold_card_minutes: 15, hold_link_hours: 24, capture_exhausted: 'park', end_exhausted: 'park', message_tries: 8, message_minutes: 30 },
  changed_by: 'sofia',
  changed_at: before(86_400),
  reason: 'as delivered',
  refused: null,
}

/** Stripe gave money back of which the ledger knows nothing. */
export const differing: StripeAsk = {
  ask_id: id(90),
  by: 'sofia',
  at: before(4),
  state: 'answered',
  answered_at: before(3),
  problem: null,
  answer: {
    intent: { id: 'pi_3QK8vR2eZvKYlo2C1d2Lw', status: 'succeeded' },
    page: null,
    authorised: { stripe: eur(0), ledger: eur(0) },
    captured: { stripe: eur(95), ledger: eur(95) },
    refunded: { stripe: eur(30), ledger: eur(0) },
    refunds: [{ id: 're_3QK8vR2eZvKYlo2C0Kd', status: 'succeeded', amount: eur(30), known: false }],
    calls: [],
    absent: null,
    agrees: false,
  },
}

export const providers: Providers = {
  rows: [
    {
      provider: 'stripe',
      state: 'open',
      reason: 'It refused our key (401).',
      next_at: before(-20),
      rate_per_s: 20,
      max_in_flight: 8,
      waiting: 14,
      workers: 2,
      changed_by: 'sofia',
      changed_at: before(86_400),
      change: 'limits',
      change_reason: 'As Stripe recommends',
    },
  ],
  limits_refused: null,
  open_refused: null,
}

export const orphan: Orphan = {
  case_id: id(95),
  saga_id: id(0),
  reference: sagaRows[0]!.booking.reference,
  why: 'unknown',
  what: 'refund',
  object: 're_3QK8vR2eZvKYlo2C0Kd',
  status: 'succeeded',
  amount: eur(30),
  booked: null,
  opened_at: before(3500),
  checked_at: null,
  checked_by: null,
  refunded: null,
  check_refused: null,
  adopt_refused: null,
  give_back_refused: null,
  give_back_waits: false,
}

export const figures: SagaFigures = {
  since: before(30 * 86_400),
  kinds: [
    { definition: 'booking', over: 1_284, completed: 1_219, warned: 11, compensated: 49, resolved: 5, p50_s: 2.4, p95_s: 61 },
    { definition: 'cancellation', over: 96, completed: 95, warned: 1, compensated: 0, resolved: 0, p50_s: 1.9, p95_s: 7.2 },
  ],
  failures: [
    { step: 'notify', undoing: false, cause: 'refused', tries: 118, sagas: 37, last_at: before(3_600) },
    { step: 'capture', undoing: true, cause: 'later', tries: 12, sagas: 4, last_at: before(90_000) },
  ],
  given_back: [eur(2_940)],
  parked: { decided: 58, p50_s: 1_260, p95_s: 21_600, open: 3, oldest_at: before(68_400) },
  acts: [
    { action: 'retry', applied: 41, refused: 3, approved: 0, rejected: 0 },
    { action: 'compensate', applied: 17, refused: 1, approved: 4, rejected: 1 },
  ],
}
