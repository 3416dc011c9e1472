//! One line of a booking's history in words: what happened, said for somebody at a front desk, with the sign it
//! carries and the part of the story it belongs to.

import type { Money, TimelineItem } from '../../backend/types'
import { t, type PlainKey } from '../../i18n'
import { clockIn, dateIn, money, shortDate, shortId, took } from '../../i18n/format'
import { names } from '../../lib/names.svelte'
import { clause } from '../../lib/text'
import { stepNames, undoNames, type Role } from '../../states'
import type { IconName } from '../../ui/icons'
import { disputeReason, disputeStatus } from '../sagas/disputeWords'

export type Part = 'booking' | 'money' | 'saga' | 'messages'
export const parts: Part[] = ['booking', 'money', 'saga', 'messages']

export interface Told {
  part: Part
  icon: IconName
  role: Role
  title: string
  /** The second line: facts that help, quiet. */
  note: string
  /** At the right, in mono: the type as the log has it. */
  source: string
}

/** `me` is the login of whoever reads it. */
export function tell(item: TimelineItem, me: string | null = null): Told {
  switch (item.kind) {
    case 'event':
      return event(item, me)
    case 'saga_attempt':
      return attempt(item)
    case 'delivery_attempt':
      return delivery(item)
    case 'planned':
      return planned(item)
  }
}

// ---- events ------------------------------------------------------------------------------------------

type Tells = [part: Part, icon: IconName, role: Role, title: string, note?: string]

function event(item: TimelineItem, me: string | null): Told {
  const d = item.data
  const sum = (name: string) => (isMoney(d[name]) ? money(d[name]) : '')
  const told = ((): Tells => {
    switch (item.what) {
      case 'BookingCreated':
        return ['booking', 'calendar-plus', 'accent', t('story.created', { actor: who(item, me) }), text(d.service_name)]
      case 'InventoryHeld':
        return ['booking', 'timer', 'ok', t('story.held'), d.expires_at ? t('story.held.until', { time: at(d.expires_at, item) }) : t('story.held.forever')]
      case 'PaymentRequested':
        return d.mode === 'link'
          ? ['money', 'link', 'wait', t('story.link_made', { amount: sum('amount') }), id(d.checkout_session ?? d.payment_intent)]
          : ['money', 'credit-card', 'wait', t('story.payment_asked', { amount: sum('amount') }), id(d.payment_intent)]
      case 'PaymentActionRequired':
        return ['money', 'smartphone', 'wait', t('story.action_required'), id(d.payment_intent)]
      case 'PaymentAuthorized':
        return ['money', 'lock', 'ok', t('story.authorised', { amount: sum('amount_capturable') }), id(d.payment_intent)]
      case 'PaymentFailed':
        return ['money', 'circle-x', 'fail', t('story.declined'), join(text(d.message), text(d.decline_code ?? d.code))]
      case 'PaymentReceived':
        return ['money', 'circle-check', 'ok', t('story.received', { amount: sum('amount_received') }), join(id(d.payment_intent), id(d.charge_id))]
      case 'ProviderFeeCharged':
        return ['money', 'credit-card', 'idle', t('story.fee', { amount: sum('fee') }), id(d.balance_transaction)]
      case 'PaymentVoided':
        return ['money', 'undo-2', 'undo', t('story.voided'), join(id(d.payment_intent), text(d.reason))]
      case 'PaymentLinkExpired':
        return ['money', 'timer-off', 'idle', t('story.link_expired')]
      case 'RefundRequested':
        return ['money', 'undo-2', 'undo', t('story.refund_asked', { amount: sum('amount') }), quote(d.reason)]
      case 'PaymentRefunded':
        return ['money', 'undo-2', 'undo', t('story.refunded', { amount: sum('amount') }), id(d.provider_refund)]
      case 'RefundFailed':
        return ['money', 'circle-x', 'fail', t('story.refund_failed', { amount: sum('amount') }), text(d.reason)]
      case 'RemainderKept':
        return ['money', 'wallet', 'person', isMoney(d.amount) && d.amount.amount_minor > 0 ? t('story.kept', { amount: sum('amount') }) : t('story.kept_none'), quote(d.reason)]
      case 'HoldExtended':
        return ['booking', 'timer', 'wait', t(wasOver(d.before, item) ? 'story.held_again' : 'story.hold_extended'), t('story.held.until', { time: at(d.expires_at, item) })]
      case 'PaymentMethodCorrected':
        return ['money', 'credit-card', 'accent', t('story.payment_method_corrected'), text(d.payment_method)]
      case 'RefundReturned':
        return ['money', 'circle-x', 'fail', t('story.refund_returned', { amount: sum('amount') }), text(d.reason)]
      case 'PaymentDisputed':
        return ['money', 'shield-alert', 'person', t(d.inquiry ? 'story.inquiry' : 'story.disputed', { amount: sum('amount') }), join(disputeReason(d.reason), d.evidence_due ? t('dispute.until', { time: at(d.evidence_due, item) }) : '')]
      case 'DisputeFundsWithdrawn':
        return ['money', 'undo-2', 'fail', t('story.dispute_withdrawn', { amount: sum('amount') }), t('story.dispute_fee', { amount: sum('fee') })]
      case 'DisputeFundsReinstated':
        return ['money', 'credit-card', 'ok', t('story.dispute_reinstated', { amount: sum('amount') }), id(d.dispute_id)]
      case 'DisputeClosed':
        return ['money', 'shield-alert', d.outcome === 'lost' ? 'fail' : 'ok', t('story.dispute_closed', { outcome: disputeStatus(d.outcome) }), id(d.dispute_id)]
      case 'BookingConfirmed':
        return ['booking', 'calendar-check', 'ok', t('story.confirmed')]
      case 'NotificationSent':
        return ['messages', 'mail-check', 'ok', t('story.told', { what: template(d.template) }), tries(d.attempt)]
      case 'NotificationFailed':
        return ['messages', 'mail-x', 'fail', t('story.not_told', { what: template(d.template) }), text(d.error)]
      case 'CalendarSynced':
        return ['messages', 'calendar', 'ok', t('story.calendar'), join(text(d.provider), text(d.operation))]
      case 'BookingCancelled':
        return ['booking', 'ban', 'undo', t('story.cancelled', { why: cancelReason(d.reason_code) }), quote(d.reason)]
      case 'BookingExpired':
        return ['booking', 'timer-off', 'idle', t('story.expired')]
      case 'NoShowRecorded':
        return ['booking', 'user-round-x', 'risk', t('story.no_show', { actor: who(item, me) })]
      case 'NoShowWithdrawn':
        return ['booking', 'user-round-check', 'ok', t('story.came', { actor: who(item, me) })]
      case 'InventoryReleased':
        return ['booking', 'door-open', 'undo', t('story.released')]
      case 'InventoryHoldExpired':
        return ['booking', 'timer-off', 'idle', t('story.hold_expired')]
      case 'CustomerRegistered':
        return ['booking', 'user-plus', 'idle', t('story.customer')]
      default:
        return ['booking', 'radio', 'idle', spaced(item.what)]
    }
  })()
  return { ...line(told), source: `${item.what}${item.schema_version === null ? '' : ` v${item.schema_version}`}` }
}

// ---- tries ---------------------------------------------------------------------------------------------

/** What a try came to. Anything that is not known to have gone well is not shown as if it had. */
type Outcome = 'done' | 'skipped' | 'retry' | 'failed' | 'unknown' | 'running'

const outcomes: Record<string, Outcome> = {
  done: 'done',
  undone: 'done',
  not_needed: 'done',
  nothing_to_undo: 'done',
  captured_meanwhile: 'done',
  accepted: 'done',
  skipped: 'skipped',
  declined: 'failed',
  refused: 'failed',
  unauthorized: 'failed',
  busy: 'retry',
  later: 'retry',
  not_sent: 'retry',
  unknown: 'unknown',
  unclear: 'unknown',
}

export function outcome(data: Record<string, unknown>): Outcome {
  if (typeof data.result === 'string') return outcomes[data.result] ?? 'unknown'
  return data.error ? 'retry' : 'running'
}

const tryRoles: Record<Outcome, Role> = { done: 'ok', skipped: 'idle', retry: 'risk', failed: 'fail', unknown: 'risk', running: 'accent' }
const tryWords: Record<Outcome, PlainKey> = {
  done: 'story.try.done',
  skipped: 'state.step.not_needed',
  retry: 'story.try.retry',
  failed: 'story.try.failed',
  unknown: 'story.try.unknown',
  running: 'story.try.running',
}

function attempt(item: TimelineItem): Told {
  const [step = '', direction = 'forward'] = item.what.split('.')
  const undo = direction === 'undo'
  const came = outcome(item.data)
  const name = t((undo ? undoNames[step] : stepNames[step]) ?? 'step.other')
  return {
    part: 'saga',
    icon: came === 'done' ? (undo ? 'undo-2' : 'check') : came === 'failed' ? 'x' : came === 'running' ? 'loader' : 'triangle-alert',
    role: came === 'done' && undo ? 'undo' : tryRoles[came],
    title: t('story.try', { step: name, outcome: t(tryWords[came]) }),
    note: facts(item),
    source: item.what,
  }
}

function delivery(item: TimelineItem): Told {
  const came = outcome(item.data)
  const what = template(item.data.template)
  const title = {
    done: t('story.mail.done', { what }),
    skipped: t('story.mail.skipped', { what }),
    running: t('story.mail.running', { what }),
    retry: t('story.mail.retry', { what }),
    failed: t('story.mail.failed', { what }),
    unknown: t('story.mail.unknown', { what }),
  }[came]
  return {
    part: 'messages',
    icon: came === 'done' ? 'mail-check' : came === 'failed' ? 'mail-x' : came === 'running' || came === 'skipped' ? 'mail' : 'mail-warning',
    role: tryRoles[came],
    title,
    note: facts(item),
    source: `${item.what}${typeof item.data.attempt === 'number' ? ` ${t('story.try_n', { n: item.data.attempt })}` : ''}`,
  }
}

function planned(item: TimelineItem): Told {
  const [step = '', direction] = item.what.split('.')
  const source = item.what
  if (item.what === 'hold_expires' || item.what === 'InventoryHoldExpired') {
    return { part: 'booking', icon: 'timer-off', role: 'risk', title: t('story.plan.hold'), note: '', source }
  }
  if (direction) {
    const name = t((direction === 'undo' ? undoNames[step] : stepNames[step]) ?? 'step.other')
    return { part: 'saga', icon: 'clock', role: 'wait', title: t('story.plan.step', { step: name }), note: tries(item.data.attempt), source }
  }
  return { part: 'messages', icon: 'mail', role: 'risk', title: t('story.plan.mail', { what: template(item.data.template) }), note: tries(item.data.attempt), source }
}

function facts({ data }: TimelineItem): string {
  const ms = typeof data.duration_ms === 'number' ? t('story.took', { time: took(data.duration_ms) }) : ''
  return join(text(data.error), tries(data.attempt), ms, id(data.request_id))
}

// ---- small words -----------------------------------------------------------------------------------------

function line([part, icon, role, title, note = '']: Tells): Omit<Told, 'source'> {
  return { part, icon, role, title, note }
}

function who(item: TimelineItem, me: string | null): string {
  const login = item.on_behalf_of ?? item.actor
  return login === null ? t('story.somebody') : login === me ? t('story.you') : (names.of(login) ?? login)
}

const templates: Record<string, PlainKey> = {
  booking_confirmed: 'template.booking_confirmed',
  booking_cancelled: 'template.booking_cancelled',
  payment_link: 'template.payment_link',
}
export function template(name: unknown): string {
  return t(templates[String(name)] ?? 'template.other')
}

const reasons: Record<string, PlainKey> = {
  asked: 'reason.asked',
  hold_expired: 'reason.hold_expired',
  payment_failed: 'reason.payment_failed',
  not_told: 'reason.not_told',
}
function cancelReason(code: unknown): string {
  return t(reasons[String(code)] ?? 'reason.asked')
}

function tries(n: unknown): string {
  return typeof n === 'number' ? t('story.try_n', { n }) : ''
}

function at(utc: unknown, item: TimelineItem): string {
  if (typeof utc !== 'string' || Number.isNaN(Date.parse(utc))) return ''
  const day = dateIn(utc, item.at.zone)
  return day === item.at.wall.slice(0, 10) ? clockIn(utc, item.at.zone) : `${shortDate(day)} ${clockIn(utc, item.at.zone)}`
}

/** Whether this had ended when it was told. */
const wasOver = (utc: unknown, item: TimelineItem): boolean => typeof utc === 'string' && Date.parse(utc) < Date.parse(item.at.utc)

function isMoney(value: unknown): value is Money {
  return typeof value === 'object' && value !== null && 'amount_minor' in value && 'currency' in value
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '')
const id = (value: unknown): string => (typeof value === 'string' ? shortId(value) : '')
const quote = (value: unknown): string => (typeof value === 'string' && value ? `“${value}”` : '')
const join = (...all: string[]): string => all.map(clause).filter(Boolean).join(', ')
/** `CalendarSynced` reads as "Calendar synced". */
const spaced = (name: string): string => name.replace(/(?<=[a-z])([A-Z])/g, (c) => ` ${c.toLowerCase()}`)
