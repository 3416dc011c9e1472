//! Stripe's words about a dispute, in ours.

import { t, type PlainKey } from '../../i18n'

const reasons: Record<string, PlainKey> = {
  fraudulent: 'dispute.why.fraudulent',
  product_not_received: 'dispute.why.not_received',
  product_unacceptable: 'dispute.why.unacceptable',
  credit_not_processed: 'dispute.why.credit_not_processed',
  duplicate: 'dispute.why.duplicate',
  unrecognized: 'dispute.why.unrecognized',
  subscription_canceled: 'dispute.why.canceled',
  general: 'dispute.why.general',
}
const statuses: Record<string, PlainKey> = {
  needs_response: 'dispute.is.needs_response',
  under_review: 'dispute.is.under_review',
  warning_needs_response: 'dispute.is.warning_needs_response',
  warning_under_review: 'dispute.is.under_review',
  warning_closed: 'dispute.is.warning_closed',
  won: 'dispute.is.won',
  lost: 'dispute.is.lost',
  prevented: 'dispute.is.prevented',
}

const said = (words: Record<string, PlainKey>, word: unknown): string => {
  const key = words[String(word)]
  return key ? t(key) : String(word ?? '').replaceAll('_', ' ')
}
/** A reason or status that Stripe invents later shows as it is. */
export const disputeReason = (word: unknown): string => said(reasons, word)
export const disputeStatus = (word: unknown): string => said(statuses, word)
