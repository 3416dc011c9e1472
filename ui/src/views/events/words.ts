//! Short words for versions and facts, where there is room for one.

import type { PlainKey } from '../../i18n'

export const moments: Record<string, PlainKey> = {
  BookingCreated: 'moment.created',
  InventoryHeld: 'moment.held',
  PaymentRequested: 'moment.asked',
  PaymentActionRequired: 'moment.action',
  PaymentAuthorized: 'moment.authorised',
  PaymentFailed: 'moment.declined',
  PaymentReceived: 'moment.paid',
  ProviderFeeCharged: 'moment.fee',
  PaymentVoided: 'moment.voided',
  PaymentRefunded: 'moment.refunded',
  BookingConfirmed: 'moment.confirmed',
  NotificationSent: 'moment.told',
  BookingCancelled: 'moment.cancelled',
  BookingExpired: 'moment.expired',
  InventoryReleased: 'moment.released',
  CustomerRegistered: 'moment.registered',
}

export const factNames: Record<string, PlainKey> = {
  state: 'state_fact.state',
  payment: 'state_fact.payment',
  payment_mode: 'state_fact.payment_mode',
  starts: 'state_fact.starts',
  starts_at: 'state_fact.starts',
  ends: 'state_fact.ends',
  ends_at: 'state_fact.ends',
  hold: 'state_fact.hold',
  hold_expires: 'state_fact.hold',
  hold_expires_at: 'state_fact.hold',
  slot: 'state_fact.slot',
  price: 'state_fact.price',
  authorised: 'state_fact.authorised',
  captured: 'state_fact.captured',
  refunded: 'state_fact.refunded',
  service: 'state_fact.service',
  customer: 'state_fact.customer',
  resources: 'state_fact.resources',
  reference: 'state_fact.reference',
  name: 'state_fact.name',
  email: 'state_fact.email',
  phone: 'state_fact.phone',
  told: 'state_fact.told',
  reason: 'state_fact.reason',
}
