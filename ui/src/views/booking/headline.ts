//! The sentence at the head of a booking: state, money, what is missing and when next. Built from facts alone, so
//! that every combination can be tested, and never more certain than the facts are.

import type { BookingPage, MessageView, Money } from '../../backend/types'
import { t } from '../../i18n'
import { clockIn, dateIn, duration, money, shortDate } from '../../i18n/format'
import { sentence } from '../../lib/text'
import { awaited, stepNames } from '../../states'

export interface Headline {
  sentence: string
  /** The cause, the reason somebody gave, how soon the visit is. */
  detail: string | null
}

export function headline(page: BookingPage, now: number): Headline {
  const first = [standing(page, now), moneyWords(page)].filter(Boolean).join(', ')
  const parts = [sentence(first), unknownMoney(page, now), missing(page, now)]
  return { sentence: parts.filter(Boolean).join(' '), detail: details(page, now).join(' ') || null }
}

const over = (page: BookingPage): boolean => page.row.state === 'cancelled' || page.row.state === 'expired'
/** Only a person can go on with it. */
export const decides = ({ saga }: BookingPage): boolean => saga?.state === 'needs_person' || saga?.waits_for.waits_for === 'person'
const doubtful = (page: BookingPage): boolean => page.money.unknown || page.row.payment === 'unknown'

// ---- state -------------------------------------------------------------------------------------------

function standing(page: BookingPage, now: number): string {
  const { state, hold_expires_at, payment } = page.row
  const until = hold_expires_at && Date.parse(hold_expires_at) > now ? when(hold_expires_at, page, now) : null
  switch (state) {
    case 'held':
      return until ? t('says.held_until', { time: until }) : t('says.held')
    case 'awaiting_payment':
      return until ? t('says.awaiting_until', { time: until }) : t('says.awaiting')
    case 'confirmed':
      return t(page.no_show ? 'says.missed' : 'says.confirmed')
    case 'expired':
      return t('says.expired')
    case 'cancelled':
      switch (page.cancelled?.reason_code) {
        case 'hold_expired':
          return t('says.cancelled.hold_expired')
        case 'payment_failed':
          // The money says it better when it knows why.
          return payment === 'declined' ? t('says.cancelled') : t('says.cancelled.payment_failed')
        case 'not_told':
          return t('says.cancelled.not_told')
        default:
          return t('says.cancelled')
      }
  }
}

// ---- money -------------------------------------------------------------------------------------------

function moneyWords(page: BookingPage): string {
  const { captured, refunded, authorised, kept } = page.money
  const price = money(page.row.price)
  if (doubtful(page)) return ''
  if (over(page) && captured.amount_minor === 0 && nothingMoved(page)) return t('says.money.none')
  switch (page.row.payment) {
    case 'not_asked':
      return t('says.money.not_asked')
    case 'requested':
      return t('says.money.requested', { price })
    case 'link_sent':
      // A saved card is asked first: a link means that it did not go through.
      return t(page.row.payment_mode === 'card_on_file' ? 'says.money.link_instead' : 'says.money.link_sent', { price })
    case 'action_required':
      return t('says.money.action_required')
    case 'authorised':
      return t('says.money.authorised', { amount: money(authorised.amount_minor ? authorised : page.row.price) })
    case 'paid':
      return t('says.money.paid', { amount: money(captured) })
    case 'at_venue':
      return t('says.money.at_venue', { price })
    case 'declined':
      return t('says.money.declined')
    case 'voided':
      return t('says.money.voided')
    case 'refund_pending':
      return t('says.money.refund_pending', { amount: money(less(captured, refunded)) })
    case 'part_refunded':
      return t('says.money.part_refunded', { amount: money(refunded), paid: money(captured) })
    case 'refunded':
      return t('says.money.refunded', { amount: money(refunded) })
    case 'refund_failed':
      return t('says.money.refund_failed', { amount: money(less(captured, refunded)), kept: money(kept) })
    case 'disputed':
      return t('says.money.disputed', { amount: money(captured) })
    case 'dispute_lost':
      return t('says.money.dispute_lost', { amount: money(captured) })
    case 'unknown':
      return ''
  }
}

/** A booking that is over and of which no payment came further than being asked for. */
function nothingMoved(page: BookingPage): boolean {
  return ['not_asked', 'requested', 'link_sent', 'action_required', 'at_venue'].includes(page.row.payment)
}

function unknownMoney(page: BookingPage, now: number): string {
  if (!doubtful(page)) return ''
  const amount = money(page.row.price)
  const going = over(page) && page.money.captured.amount_minor > 0
  const says = going ? t('says.unknown.refund') : t('says.unknown', { amount })
  const waits = page.saga?.waits_for
  if (waits?.waits_for === 'retry') return `${says} ${t('says.unknown.next', { time: inTime(waits.at, now) })}`
  return says
}

// ---- what is missing, and when next --------------------------------------------------------------------

function missing(page: BookingPage, now: number): string {
  const saga = page.saga
  const waits = saga?.waits_for
  // Why stands in the line below, once.
  if (decides(page)) return [page.message?.state === 'gave_up' ? t('says.told.gave_up') : '', t('says.person')].filter(Boolean).join(' ')
  if (saga?.state === 'paused') return t('says.paused')
  if (saga?.state === 'undoing') {
    return waits?.waits_for === 'retry' ? t('says.undoing.retry', { time: inTime(waits.at, now) }) : t('says.undoing')
  }
  // Doubt about the money has said when the next look is.
  if (waits?.waits_for === 'retry' && !doubtful(page)) {
    return t('says.retry', { step: stepAtWork(page), time: inTime(waits.at, now) })
  }
  if (waits?.waits_for === 'worker') return t('says.worker')
  if (waits?.waits_for === 'provider') return t('says.provider', { what: awaited(waits.what) })
  if (waits?.waits_for === 'customer' && page.row.payment === 'declined') return t('says.customer_again')
  return page.row.state === 'confirmed' || over(page) ? told(page.message, now) : ''
}

function stepAtWork(page: BookingPage): string {
  const at = page.saga?.steps.find((step) => !['done', 'not_needed', 'not_begun', 'undone'].includes(step.state))
  return t(stepNames[at?.step ?? ''] ?? 'step.other')
}

function told(message: MessageView | null, now: number): string {
  switch (message?.state) {
    case undefined:
      return ''
    case 'delivered':
      return t('says.told')
    case 'scheduled':
    case 'sending':
      return t('says.told.sending')
    case 'paused':
      return t('says.told.paused')
    case 'retrying':
      return message.next_try_at ? t('says.told.retrying', { time: inTime(message.next_try_at, now) }) : t('says.told.retrying_soon')
    case 'gave_up':
      return t('says.told.gave_up')
    case 'unclear':
      return t('says.told.unclear')
    case 'held':
      return t('says.told.held')
    case 'skipped':
      return t('says.told.skipped')
    case 'cancelled':
      return t('says.told.cancelled')
  }
}

// ---- the line below --------------------------------------------------------------------------------------

function details(page: BookingPage, now: number): string[] {
  const waits = page.saga?.waits_for
  const parts: string[] = []
  if (page.cancelled?.reason) parts.push(`“${page.cancelled.reason}”`)
  const retries = waits?.waits_for === 'retry' || waits?.waits_for === 'delivery' || page.message?.state === 'retrying'
  const cause = waits && 'cause' in waits && waits.cause ? waits.cause : (page.message?.problem ?? null)
  if (waits?.waits_for === 'person') parts.push(sentence(waits.reason))
  else if (cause && (retries || page.message?.state === 'gave_up' || page.message?.state === 'unclear')) parts.push(sentence(cause))
  if (retries) parts.push(t('says.nothing_needed'))
  if (!over(page)) {
    const left = Date.parse(page.row.starts.utc) - now
    if (left > 0 && left < 86_400_000) parts.push(t('says.visit_in', { time: duration(left) }))
    else if (now >= Date.parse(page.row.starts.utc) && now < Date.parse(page.row.ends.utc)) parts.push(t('says.visit_now'))
  }
  return parts
}

// ---- words -----------------------------------------------------------------------------------------------

function less(a: Money, b: Money): Money {
  return { ...a, amount_minor: a.amount_minor - b.amount_minor }
}

/** `12:04`, with the day when it is not today's. */
function when(utc: string, page: BookingPage, now: number): string {
  const zone = page.row.starts.zone
  const day = dateIn(utc, zone)
  return day === dateIn(now, zone) ? clockIn(utc, zone) : `${shortDate(day)} ${clockIn(utc, zone)}`
}

function inTime(utc: string, now: number): string {
  const left = Date.parse(utc) - now
  return left < 1000 ? t('says.any_moment') : t('says.in', { time: duration(left) })
}
