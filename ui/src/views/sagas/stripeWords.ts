//! Stripe's own words in ours. A word that is not known is shown as Stripe writes it.

import { t, type PlainKey } from '../../i18n'

const objects: Record<string, PlainKey> = {
  succeeded: 'stripe.is.succeeded',
  requires_capture: 'stripe.is.requires_capture',
  requires_payment_method: 'stripe.is.requires_payment_method',
  requires_action: 'stripe.is.requires_action',
  processing: 'stripe.is.processing',
  canceled: 'stripe.is.canceled',
  failed: 'stripe.is.failed',
  pending: 'stripe.is.pending',
  open: 'stripe.is.open',
  complete: 'stripe.is.complete',
  expired: 'stripe.is.expired',
}
export const objectWord = (status: string): string => (objects[status] ? t(objects[status]) : status.replaceAll('_', ' '))

const found: Record<string, PlainKey> = { happened: 'stripe.found.happened', overtaken: 'stripe.found.overtaken', absent: 'stripe.found.absent' }
export const foundWord = (word: string): string => (found[word] ? t(found[word]) : word)

const operations: Record<string, PlainKey> = {
  create_intent: 'stripe.op.create_intent',
  create_checkout: 'stripe.op.create_checkout',
  expire_checkout: 'stripe.op.expire_checkout',
  capture: 'stripe.op.capture',
  cancel_intent: 'stripe.op.cancel_intent',
  refund: 'stripe.op.refund',
}
export const operationWord = (name: string): string => (operations[name] ? t(operations[name]) : name.replaceAll('_', ' '))
