//! The one place where word, icon and role of a state meet.

import type { BookingState, DeliveryState, EndpointState, InboxCheck, InboxResult, LampState, PaymentState, ProjectionState, ProofState, RebuildState, SagaState, StepState } from './backend/types'
import { t, type PlainKey } from './i18n'
import type { IconName } from './ui/icons'

/** What a colour means; `person` is the only one that is ever solid. */
export type Role = 'ok' | 'wait' | 'risk' | 'fail' | 'person' | 'undo' | 'idle' | 'accent'

export interface Sign {
  word: PlainKey
  icon: IconName
  role: Role
}

const sign = (word: PlainKey, icon: IconName, role: Role): Sign => ({ word, icon, role })

export const bookingStates: Record<BookingState, Sign> = {
  held: sign('state.booking.held', 'timer', 'risk'),
  awaiting_payment: sign('state.booking.awaiting_payment', 'credit-card', 'wait'),
  confirmed: sign('state.booking.confirmed', 'calendar-check', 'accent'),
  cancelled: sign('state.booking.cancelled', 'ban', 'undo'),
  expired: sign('state.booking.expired', 'timer-off', 'idle'),
}

/** Said beside the state: a booking that was missed stays confirmed. */
export const noShow: Sign = sign('booking.no_show', 'user-round-x', 'risk')

export const paymentStates: Record<PaymentState, Sign> = {
  not_asked: sign('state.payment.not_asked', 'minus', 'idle'),
  requested: sign('state.payment.requested', 'loader', 'wait'),
  link_sent: sign('state.payment.link_sent', 'link', 'wait'),
  action_required: sign('state.payment.action_required', 'smartphone', 'wait'),
  authorised: sign('state.payment.authorised', 'lock', 'wait'),
  paid: sign('state.payment.paid', 'circle-check', 'ok'),
  at_venue: sign('state.payment.at_venue', 'store', 'idle'),
  declined: sign('state.payment.declined', 'circle-x', 'fail'),
  unknown: sign('state.payment.unknown', 'circle-question-mark', 'risk'),
  voided: sign('state.payment.voided', 'undo-2', 'undo'),
  refund_pending: sign('state.payment.refund_pending', 'clock', 'undo'),
  part_refunded: sign('state.payment.part_refunded', 'undo-2', 'undo'),
  refunded: sign('state.payment.refunded', 'undo-2', 'undo'),
  refund_failed: sign('state.payment.refund_failed', 'circle-x', 'fail'),
  disputed: sign('state.payment.disputed', 'shield-alert', 'person'),
  dispute_lost: sign('state.payment.dispute_lost', 'shield-alert', 'fail'),
}

export const sagaStates: Record<SagaState, Sign> = {
  running: sign('state.saga.running', 'loader', 'accent'),
  waiting_for_customer: sign('state.saga.waiting_for_customer', 'clock', 'wait'),
  waiting_for_provider: sign('state.saga.waiting_for_provider', 'clock', 'wait'),
  needs_person: sign('state.saga.needs_person', 'hand', 'person'),
  done: sign('state.saga.done', 'check', 'ok'),
  done_with_warnings: sign('state.saga.done_with_warnings', 'triangle-alert', 'risk'),
  undoing: sign('state.saga.undoing', 'undo-2', 'undo'),
  undone: sign('state.saga.undone', 'undo-2', 'undo'),
  resolved: sign('state.saga.resolved', 'file-check', 'idle'),
  paused: sign('state.saga.paused', 'pause', 'idle'),
}

export const stepStates: Record<StepState, Sign> = {
  not_begun: sign('state.step.not_begun', 'minus', 'idle'),
  running: sign('state.step.running', 'loader', 'accent'),
  waiting: sign('state.step.waiting', 'clock', 'wait'),
  done: sign('state.step.done', 'check', 'ok'),
  not_needed: sign('state.step.not_needed', 'minus', 'idle'),
  unknown: sign('state.step.unknown', 'triangle-alert', 'risk'),
  failed: sign('state.step.failed', 'x', 'fail'),
  needs_person: sign('state.step.needs_person', 'hand', 'person'),
  undone: sign('state.step.undone', 'undo-2', 'undo'),
}

export const deliveryStates: Record<DeliveryState, Sign> = {
  scheduled: sign('state.delivery.scheduled', 'clock', 'wait'),
  sending: sign('state.delivery.sending', 'loader', 'accent'),
  retrying: sign('state.delivery.retrying', 'mail-warning', 'risk'),
  delivered: sign('state.delivery.delivered', 'mail-check', 'ok'),
  gave_up: sign('state.delivery.gave_up', 'mail-x', 'fail'),
  unclear: sign('state.delivery.unclear', 'hand', 'person'),
  skipped: sign('state.delivery.skipped', 'minus', 'idle'),
  paused: sign('state.delivery.paused', 'pause', 'idle'),
  held: sign('state.delivery.held', 'hand', 'person'),
  cancelled: sign('state.delivery.cancelled', 'ban', 'idle'),
}

/** The same, where what leaves need not be an e-mail. */
export const owedStates: Record<DeliveryState, Sign> = {
  scheduled: sign('state.owed.scheduled', 'clock', 'wait'),
  sending: sign('state.owed.sending', 'loader', 'accent'),
  retrying: sign('state.owed.retrying', 'rotate-cw', 'risk'),
  delivered: sign('state.owed.delivered', 'circle-check', 'ok'),
  gave_up: sign('state.owed.gave_up', 'circle-x', 'fail'),
  unclear: sign('state.owed.unclear', 'hand', 'person'),
  skipped: sign('state.owed.skipped', 'corner-up-right', 'idle'),
  paused: sign('state.owed.paused', 'pause', 'idle'),
  held: sign('state.owed.held', 'hand', 'person'),
  cancelled: sign('state.owed.cancelled', 'ban', 'idle'),
}

/** A message that had nothing to say was not superseded. */
export function owedSign(state: DeliveryState, kind: string): Sign {
  return state === 'skipped' && kind === 'email' ? sign('state.owed.not_needed', 'minus', 'idle') : owedStates[state]
}

/** Never "open" or "closed": to staff an open breaker sounds well. */
export const endpointStates: Record<EndpointState, Sign> = {
  works: sign('state.endpoint.works', 'circle-check', 'ok'),
  failing: sign('state.endpoint.failing', 'pause', 'risk'),
  waiting: sign('state.endpoint.waiting', 'clock', 'wait'),
  paused: sign('state.endpoint.paused', 'pause', 'idle'),
  disabled: sign('state.endpoint.disabled', 'power-off', 'idle'),
}

export const inboxResults: Record<InboxResult, Sign> = {
  waiting: sign('state.inbox.waiting', 'clock', 'wait'),
  done: sign('state.inbox.done', 'circle-check', 'ok'),
  nothing_new: sign('state.inbox.nothing_new', 'minus', 'idle'),
  not_ours: sign('state.inbox.not_ours', 'minus', 'idle'),
  kept: sign('state.inbox.kept', 'circle-question-mark', 'idle'),
  duplicate: sign('state.inbox.duplicate', 'copy', 'idle'),
  not_taken: sign('state.inbox.not_taken', 'circle-x', 'fail'),
  quarantined: sign('state.inbox.quarantined', 'hand', 'person'),
}

export const inboxChecks: Record<InboxCheck, Sign> = {
  asked: sign('state.check.asked', 'circle-check', 'ok'),
  genuine: sign('state.check.genuine', 'circle-check', 'ok'),
  too_old: sign('state.check.too_old', 'clock-alert', 'fail'),
  from_the_future: sign('state.check.from_the_future', 'clock-alert', 'fail'),
  forged: sign('state.check.forged', 'shield-alert', 'fail'),
  malformed: sign('state.check.malformed', 'circle-x', 'fail'),
}

export const lampStates: Record<LampState, Sign> = {
  works: sign('state.lamp.works', 'circle-check', 'ok'),
  limited: sign('state.lamp.limited', 'triangle-alert', 'risk'),
  down: sign('state.lamp.down', 'circle-x', 'fail'),
  unknown: sign('state.lamp.unknown', 'circle-question-mark', 'idle'),
  not_set: sign('state.lamp.not_set', 'minus', 'idle'),
}

export const projectionStates: Record<ProjectionState, Sign> = {
  up_to_date: sign('state.projection.up_to_date', 'circle-check', 'ok'),
  behind: sign('state.projection.behind', 'triangle-alert', 'risk'),
  rebuilding: sign('state.projection.rebuilding', 'loader', 'accent'),
  parked: sign('state.projection.parked', 'hand', 'person'),
  paused: sign('state.projection.paused', 'pause', 'idle'),
  unknown: sign('state.projection.unknown', 'circle-question-mark', 'idle'),
}

export const rebuildStates: Record<RebuildState, Sign> = {
  running: sign('state.rebuild.running', 'loader', 'accent'),
  paused: sign('state.rebuild.paused', 'pause', 'idle'),
  waits_for_swap: sign('state.rebuild.waits_for_swap', 'hand', 'person'),
  done: sign('state.rebuild.done', 'circle-check', 'ok'),
  cancelled: sign('state.rebuild.cancelled', 'ban', 'idle'),
  failed: sign('state.rebuild.failed', 'circle-x', 'fail'),
  rolled_back: sign('state.rebuild.rolled_back', 'undo-2', 'undo'),
}

export const proofStates: Record<ProofState, Sign> = {
  not_proved: sign('state.proof.not_proved', 'circle-question-mark', 'idle'),
  running: sign('state.proof.running', 'loader', 'accent'),
  restored: sign('state.proof.restored', 'circle-check', 'ok'),
  failed: sign('state.proof.failed', 'circle-x', 'fail'),
}

/** The steps of all sagas. */
export const stepNames: Record<string, PlainKey> = {
  hold: 'step.hold',
  payment: 'step.payment',
  capture: 'step.capture',
  confirm: 'step.confirm',
  notify: 'step.notify',
  cancel: 'step.cancel',
  refund: 'step.refund',
  release: 'step.release',
}
/** In their order, by the name of the saga's definition. */
export const stepOrders: Record<string, readonly string[]> = {
  booking: ['hold', 'payment', 'capture', 'confirm', 'notify'],
  booking_free: ['hold', 'confirm', 'notify'],
  cancellation: ['cancel', 'refund', 'release', 'notify'],
}

/** What undoing a step means, in the reverse order of the steps. */
export const undoNames: Record<string, PlainKey> = {
  hold: 'undo.hold',
  payment: 'undo.payment',
  capture: 'undo.capture',
  confirm: 'undo.confirm',
  notify: 'undo.notify',
  cancel: 'step.cancel',
  refund: 'step.refund',
  release: 'step.release',
}

const answers: Record<string, PlainKey> = {
  refund: 'answer.refund',
  processing: 'answer.processing',
  quarantine: 'answer.quarantine',
  not_set: 'answer.not_set',
  gate: 'answer.gate',
  answer: 'answer.answer',
}

/** What a saga waits for a provider to say. */
export const awaited = (what: string): string => t(answers[what] ?? 'answer.answer')
