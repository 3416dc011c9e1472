//! The sign of an event: which icon it has in the log and in the graph, and what colour its icon takes there.

import type { CauseNode } from '../../backend/types'
import type { Role } from '../../states'
import type { IconName } from '../../ui/icons'

type Kind = [icon: IconName, role: Role]

const events: Record<string, Kind> = {
  BookingCreated: ['calendar-plus', 'accent'],
  InventoryHeld: ['timer', 'accent'],
  PaymentRequested: ['credit-card', 'wait'],
  PaymentActionRequired: ['smartphone', 'wait'],
  PaymentAuthorized: ['lock', 'ok'],
  HoldExtended: ['timer', 'wait'],
  PaymentMethodCorrected: ['credit-card', 'accent'],
  PaymentFailed: ['circle-x', 'fail'],
  PaymentReceived: ['credit-card', 'ok'],
  ProviderFeeCharged: ['credit-card', 'idle'],
  PaymentVoided: ['undo-2', 'undo'],
  PaymentLinkExpired: ['timer-off', 'idle'],
  RefundRequested: ['undo-2', 'undo'],
  PaymentRefunded: ['undo-2', 'undo'],
  RefundFailed: ['circle-x', 'fail'],
  RemainderKept: ['wallet', 'person'],
  RefundReturned: ['circle-x', 'fail'],
  PaymentDisputed: ['shield-alert', 'person'],
  DisputeFundsWithdrawn: ['undo-2', 'fail'],
  DisputeFundsReinstated: ['credit-card', 'ok'],
  DisputeClosed: ['shield-alert', 'idle'],
  BookingConfirmed: ['calendar-check', 'ok'],
  BookingRescheduled: ['pencil-line', 'accent'],
  NotificationSent: ['mail-check', 'ok'],
  NotificationFailed: ['mail-x', 'fail'],
  CalendarSynced: ['calendar', 'ok'],
  BookingCancelled: ['ban', 'undo'],
  BookingExpired: ['timer-off', 'idle'],
  NoShowRecorded: ['user-round-x', 'risk'],
  NoShowWithdrawn: ['user-round-check', 'ok'],
  InventoryReleased: ['door-open', 'undo'],
  InventoryHoldExpired: ['timer-off', 'idle'],
  CustomerRegistered: ['user-plus', 'idle'],
  CustomerErased: ['eraser', 'idle'],
  SubjectForgotten: ['eraser', 'idle'],
}
const categories: Record<string, Kind> = {
  booking: ['notebook-text', 'accent'],
  customer: ['user-round', 'idle'],
  payment: ['credit-card', 'wait'],
  saga: ['workflow', 'accent'],
  inventory: ['timer', 'accent'],
}

export function eventIcon(name: string, category = ''): IconName {
  return (events[name] ?? categories[category] ?? (['radio', 'idle'] as Kind))[0]
}

const results: Record<string, Role> = {
  done: 'ok',
  accepted: 'ok',
  delivered: 'ok',
  later: 'risk',
  retrying: 'risk',
  unknown: 'risk',
  failed: 'fail',
  declined: 'fail',
  refused: 'fail',
  gave_up: 'fail',
  unclear: 'person',
}

export function nodeKind(node: CauseNode): Kind {
  const role = node.state ? (results[node.state] ?? 'idle') : 'idle'
  switch (node.kind) {
    case 'event':
      return events[node.what] ?? ['radio', 'idle']
    case 'command':
      return ['mouse-pointer-click', 'idle']
    case 'saga_attempt':
      return ['workflow', role]
    case 'signal':
      return ['radio', 'wait']
    case 'delivery':
      return ['send', role]
  }
}

/** `PaymentReceived` as words, where a type stands in a sentence. */
export function spaced(name: string): string {
  return name
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .replaceAll(/[._]/g, ' ')
    .toLowerCase()
}
