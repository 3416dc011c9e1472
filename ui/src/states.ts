//! The one place where word, icon and role of a state meet.

import type { BookingState, DeliveryState, LampState, PaymentState, ProjectionState, ProofState, RebuildState, SagaState, StepState } from './backend/types'
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
  paused: sign('state.delivery.scheduled', 'clock', 'idle'),
  held: sign('state.delivery.unclear', 'hand', 'person'),
  cancelled: sign('state.delivery.skipped', 'minus', 'idle'),
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
