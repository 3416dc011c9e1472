//! The console's words for what the engine says in data.

import type { Moment, Money, PlannedOp, SagaAttempt, SagaPage, SagaRow, SagaTab } from '../../backend/types'
import { t, type PlainKey } from '../../i18n'
import { clock, money, shortDay } from '../../i18n/format'
import { stepNames, undoNames, type Role } from '../../states'
import type { IconName } from '../../ui/icons'

export const tabs: SagaTab[] = ['needs_person', 'snoozed', 'at_risk', 'waiting_for_customer', 'waiting_for_provider', 'running', 'done']
export const tabWord = (tab: SagaTab): string => t(`sagas.tab.${tab}`)

const parks: Record<string, PlainKey> = {
  guard_money: 'park.guard_money',
  guard_blast: 'park.guard_blast',
  guard_late: 'park.guard_late',
  not_told: 'park.not_told',
  declined: 'park.declined',
  refund_failed: 'park.refund_failed',
  refund_returned: 'park.refund_returned',
  money_came: 'park.money_came',
  refund_refused: 'park.refund_refused',
  void_refused: 'park.void_refused',
  adopted: 'park.adopted',
  exhausted: 'park.exhausted',
  contradiction: 'park.contradiction',
  forged: 'park.forged',
  key_reused: 'park.key_reused',
  rule: 'park.rule',
  money_here: 'park.money_here',
  poison: 'park.poison',
  plan: 'park.plan',
  no_booking: 'park.no_booking',
  not_authorised: 'park.not_authorised',
  reopened: 'park.reopened',
}
export const parkWord = (code: string): string => t(parks[code] ?? 'park.other')

const causes: Record<string, PlainKey> = {
  refused: 'cause.refused',
  later: 'cause.later',
  not_sent: 'cause.not_sent',
  unknown: 'cause.unknown',
  declined: 'cause.declined',
  busy: 'cause.busy',
  unauthorized: 'cause.unauthorized',
  unclear: 'cause.unclear',
}
/** Groups are named by an error's class, or by what parked their sagas. */
export const causeWord = (cause: string): string => (causes[cause] ? t(causes[cause]) : parkWord(cause))

const providers: Record<string, PlainKey> = { stripe: 'provider.stripe', email: 'provider.email' }
export const providerWord = (name: string): string => (providers[name] ? t(providers[name]) : name)

export function stepWord(step: string | null, undoing = false): string {
  const names = undoing ? undoNames : stepNames
  return t(names[step ?? ''] ?? 'step.other')
}

/** What is true about the money and the customer: the sentence that a decision begins with. */
export function lead(row: SagaRow): string {
  const sum = money(row.kept)
  if (row.kept.amount_minor > 0) {
    if (row.undoing) return t('lead.taken_undoing', { money: sum })
    return row.step === 'notify' ? t('lead.taken_told', { money: sum }) : t('lead.taken', { money: sum })
  }
  return row.captured.amount_minor > 0 || row.step === null ? t('lead.settled') : t('lead.free')
}

/** "Why is this stuck?", from data alone; null when nothing is. */
export function why(page: SagaPage, ago: (utc: string) => string, name: (login: string) => string): string | null {
  const { row } = page
  if (page.paused) return t('why.paused', { by: name(page.paused.by), ago: ago(page.paused.at) })
  if (row.parked) return parkedBecause(row)
  if (row.step === null) return null
  if (page.gate) return t('why.gate', { provider: providerWord(page.gate.provider), reason: page.gate.reason ?? '' })
  if (page.workers === 0) return t('why.worker')
  if (!page.supported) return t('why.unsupported', { definition: page.saga.definition })
  if (page.offers.some((offer) => offer.action === 'release_lease' && offer.refused === null)) return t('why.lease')
  return null
}

function parkedBecause(row: SagaRow): string {
  const { code, reason } = row.parked!
  const noted = t('why.noted', { reason })
  switch (code) {
    case 'guard_money':
      return t('why.guard_money', { money: money(row.kept) })
    case 'guard_blast':
      return t('why.guard_blast')
    case 'guard_late':
      return t('why.guard_late')
    case 'not_told':
      return t('why.not_told')
    case 'refund_failed':
      return t('why.refund_failed')
    case 'refund_returned':
      return `${t('why.refund_returned')} ${noted}`
    case 'money_came':
      return t('why.money_came')
    case 'refund_refused':
      return `${t('why.refund_refused')} ${noted}`
    case 'void_refused':
      return `${t('why.void_refused')} ${noted}`
    case 'exhausted':
      return `${t('why.exhausted')} ${noted}`
    case 'contradiction':
      return t('why.contradiction')
    case 'money_here':
      return t('why.money_here')
    case 'poison':
      return t('why.poison')
    case 'declined':
      return `${t('why.declined')} ${noted}`
    case 'adopted':
      return t('why.adopted')
    case 'reopened':
      return `${t('why.reopened')} ${noted}`
    default:
      return `${t('why.other')} ${noted}`
  }
}

/** A moment that may be on another day. */
const when = (at: Moment): string => `${shortDay(at)} ${clock(at)} ${at.abbreviation}`

export interface OpLine {
  icon: IconName
  what: string
  so?: string
  amount: Money | null
  quiet: boolean
}

export function opLine(op: PlannedOp): OpLine {
  const sum = op.amount ? money(op.amount) : ''
  const line = (icon: IconName, what: string, so?: string): OpLine => ({ icon, what, so, amount: op.op === 'refund' || op.op === 'record_refund' ? op.amount : null, quiet: false })
  switch (op.op) {
    case 'cancel_booking':
      return line('ban', t('op.cancel_booking'), t('op.cancel_booking.so'))
    case 'keep_fee':
      return { ...line('wallet', t('op.keep_fee', { money: sum }), t('op.keep_fee.so', { percent: op.percent ?? 0 })), amount: null }
    case 'tell_cancelled':
      return line('mail', t('op.tell_cancelled'), t('op.tell_cancelled.so'))
    case 'correct':
      return line('mail', t('op.correct'))
    case 'refund':
      return line('undo-2', t('op.refund', { money: sum }), t('op.refund.so'))
    case 'keep_part':
      return line('wallet', t('op.keep_part', { money: sum }), t('op.keep_part.so'))
    case 'void':
      return line('undo-2', t('op.void'), t('op.void.so'))
    case 'look_first':
      return line('search', t('op.look_first'))
    case 'release':
      return line('calendar-check', t('op.release', { n: op.count ?? 1 }))
    case 'send_again':
      return line('mail', t('op.send_again'))
    case 'try_again':
      return line('refresh-cw', t('op.try_again'), t('op.try_again.so'))
    case 'told_by_hand':
      return line('phone', t('op.told_by_hand'))
    case 'done':
      return line('circle-check', t('op.done'))
    case 'not_done':
      return line('circle-x', t('op.not_done'))
    case 'record_refund':
      return line('undo-2', t('op.record_refund', { money: sum }))
    case 'end':
      return line('file-check', t('op.end'))
    case 'keep_money':
      return line('wallet', op.amount ? t('op.keep_money', { money: sum }) : t('op.keep_money_none'))
    case 'books_stay':
      return line('notebook-text', t('op.books_stay'), t('op.books_stay.so'))
    case 'booking_stands':
      return line('calendar-check', t('op.booking_stands'))
    case 'booking_cancelled':
      return line('ban', t('op.booking_cancelled'))
    case 'no_booking':
      return line('calendar-x', t('op.no_booking'))
    case 'slot_stays':
      return line('lock', t('op.slot_stays'))
    case 'slot_free':
      return line('calendar-check', t('op.slot_free'))
    case 'park':
      return line('hand', t('op.park'))
    case 'clock_hold':
      return line('clock', t('op.clock_hold', { time: op.at ? when(op.at) : '' }), t('op.clock_hold.so'))
    case 'clock_authorisation':
      return line('clock', t('op.clock_authorisation', { time: op.at ? when(op.at) : '' }))
    case 'pause':
      return line('pause', t('op.pause'), t('op.pause.so'))
    case 'correct_email':
      return line('pencil-line', t('op.correct_email'), t('op.correct_email.so'))
    case 'correct_payment_method':
      return line('credit-card', t('op.correct_payment_method'))
    case 'ask_anew':
      return line('refresh-cw', t('op.ask_anew'), t('op.ask_anew.so'))
    case 'disputed':
    case 'dispute_lost':
      return { ...line('shield-alert', t(op.op === 'disputed' ? 'op.disputed' : 'op.dispute_lost', { money: sum }), `${t('op.disputed.so')} ${op.object ?? ''}`), amount: null }
    case 'passed':
      return { ...line('check', t('op.passed', { step: stepWord(op.step, true) })), quiet: true }
    case 'undo_open':
      return line('triangle-alert', t('op.undo_open', { step: stepWord(op.step, true) }), t('op.undo_open.so'))
    case 'contradicts':
      return line('triangle-alert', t('op.contradicts'))
    case 'migrate':
      return line('git-compare-arrows', t('op.migrate', { from: op.from ?? 0, to: op.to ?? 0 }), t('op.migrate.so', { step: stepWord(op.step) }))
    case 'gains_step':
      return line('plus', t('op.gains_step', { step: stepWord(op.step) }))
    case 'loses_step':
      return line('minus', t('op.loses_step', { step: stepWord(op.step) }))
    case 'extend':
      return line('timer', op.at ? t('op.extend.until', { time: when(op.at) }) : t('op.extend'))
    case 'hold_again':
      return line('timer', op.at ? t('op.hold_again.until', { time: when(op.at) }) : t('op.hold_again'), op.since ? t('op.hold_again.so', { time: when(op.since) }) : undefined)
    case 'slot_taken':
      return line('calendar-x', op.object ? t('op.slot_taken', { reference: op.object }) : t('op.slot_blocked'))
    default:
      return { icon: 'minus', what: t('op.nothing', { step: stepWord(op.step, true) }), amount: null, quiet: true }
  }
}

interface Result {
  word: PlainKey
  icon: IconName
  role: Role
}
const results: Record<string, Result> = {
  adopted: { word: 'result.adopted', icon: 'notebook-text', role: 'ok' },
  done: { word: 'result.done', icon: 'circle-check', role: 'ok' },
  undone: { word: 'result.undone', icon: 'undo-2', role: 'undo' },
  not_needed: { word: 'result.not_needed', icon: 'minus', role: 'idle' },
  nothing_to_undo: { word: 'result.nothing_to_undo', icon: 'minus', role: 'idle' },
  captured_meanwhile: { word: 'result.captured_meanwhile', icon: 'triangle-alert', role: 'risk' },
  returned: { word: 'result.returned', icon: 'circle-x', role: 'fail' },
  unknown: { word: 'result.unknown', icon: 'circle-question-mark', role: 'risk' },
  failed: { word: 'result.failed', icon: 'circle-x', role: 'fail' },
  refused: { word: 'result.refused', icon: 'circle-x', role: 'fail' },
  declined: { word: 'result.declined', icon: 'circle-x', role: 'fail' },
  busy: { word: 'result.busy', icon: 'clock', role: 'risk' },
  not_sent: { word: 'result.not_sent', icon: 'unplug', role: 'risk' },
  unauthorized: { word: 'result.unauthorized', icon: 'key-round', role: 'risk' },
  accepted: { word: 'result.accepted', icon: 'circle-check', role: 'ok' },
  later: { word: 'result.later', icon: 'clock', role: 'risk' },
  unclear: { word: 'result.unclear', icon: 'hand', role: 'person' },
  skipped: { word: 'result.skipped', icon: 'minus', role: 'idle' },
  undo_asked: { word: 'result.undo_asked', icon: 'user-round', role: 'idle' },
  part_decided: { word: 'result.part_decided', icon: 'user-round', role: 'idle' },
  retry_asked: { word: 'result.retry_asked', icon: 'user-round', role: 'idle' },
  corrected: { word: 'result.corrected', icon: 'pencil-line', role: 'idle' },
  told_by_hand: { word: 'result.told_by_hand', icon: 'phone', role: 'idle' },
  resolved: { word: 'result.resolved', icon: 'file-check', role: 'idle' },
}
/** Null: still under way, or a word of a newer engine. */
export const resultSign = (result: string | null): Result | null => results[result ?? ''] ?? null

const outcomes: Record<string, PlainKey> = {
  intended: 'outcome.intended',
  unknown: 'outcome.unknown',
  confirmed: 'outcome.confirmed',
  rejected: 'outcome.rejected',
  not_executed: 'outcome.not_executed',
}
export const outcomeWord = (outcome: string): string => (outcomes[outcome] ? t(outcomes[outcome]) : outcome)

/** What a try leaves known and not known. */
export function known(attempt: SagaAttempt): [we: string, not: string] {
  switch (attempt.result) {
    case 'unknown':
    case 'unclear':
      return [t('know.unknown'), t('not_known.unknown')]
    case 'refused':
      return [t('know.refused'), t('not_known.none')]
    case 'declined':
      return [t('know.declined'), t('not_known.none')]
    case 'not_sent':
    case 'busy':
    case 'unauthorized':
      return [t('know.not_sent'), t('not_known.none')]
    case 'done':
    case 'undone':
    case 'accepted':
      return [t('know.done'), t('not_known.none')]
    default:
      return [t('know.other'), t('not_known.none')]
  }
}

const asked: Record<string, PlainKey> = {
  retry: 'act.retry',
  compensate: 'act.compensate',
  undo_from: 'act.undo_from',
  refund_part: 'act.refund_part',
  skip: 'act.skip',
  resolve_step: 'act.resolve_step',
  resolve: 'act.resolve',
  reopen: 'act.reopen',
  pause: 'act.pause',
  resume: 'act.resume',
  extend_hold: 'act.extend_hold',
  assign: 'act.assign',
  snooze: 'act.snooze',
  note: 'act.note',
  release_lease: 'act.release_lease',
  cancel: 'act.cancel',
  correct: 'act.correct',
  migrate: 'act.migrate',
  // About a case at Stripe.
  adopt: 'orphan.adopt',
  give_back: 'orphan.give_back',
}
export const actionWord = (action: string): string => (asked[action] ? t(asked[action]) : action)
/** The same where nothing opens. */
export const actionName = (action: string): string => actionWord(action).replace('…', '')

/** Sums of several currencies, side by side and never added. */
export const sums = (all: Money[]): string => all.map(money).join(', ')
