//! What arrivals say in plain words, and how they come in.

import type { Arrival, InboxCounts, InboxSource, InboxStep } from '../../backend/types'
import { number, t, type PlainKey } from '../../i18n'
import { duration } from '../../i18n/format'
import { inboxResults, type Sign } from '../../states'
import type { IconName } from '../../ui/icons'
import { precise, sentence, type Said } from './times'

export function inboxSays(counts: InboxCounts): Said[] {
  if (counts.today === 0 && counts.quarantined === 0 && counts.waiting === 0) return [{ text: t('inbox.say.none') }]
  const parts: Said[] = [{ text: t('inbox.say.today', { n: counts.today, done: number(counts.done_today) }) }]
  if (counts.duplicates_today) parts.push({ text: t('inbox.say.duplicates', { n: counts.duplicates_today }) })
  if (counts.refused_today) parts.push({ text: t('inbox.say.refused', { n: counts.refused_today }) })
  if (counts.waiting) parts.push({ text: t('inbox.say.waiting', { n: counts.waiting }) })
  if (counts.quarantined) parts.push({ text: t('inbox.say.quarantined', { n: counts.quarantined }), person: true })
  return sentence(parts)
}

/** How somebody's clock is wrong, when it is: by more than half of what is allowed. */
export function wrongClock(arrival: Arrival): { receiver: string; seconds: number } | null {
  const { skew_s: skew, receiver, tolerance_s: allowed } = arrival
  return skew !== null && Math.abs(skew) > allowed / 2 ? { receiver: receiver ?? t('inbox.this_computer'), seconds: skew } : null
}

export function arrivalTitle(arrival: Arrival): string {
  const { row, signed_at: signed, tolerance_s: allowed } = arrival
  const late = signed === null || arrival.skew_s === null ? null : Date.parse(row.received_at) - Date.parse(signed)
  switch (row.check) {
    case 'too_old':
      return late === null ? t('arrival.too_old') : t('arrival.too_old_by', { time: precise(late - allowed * 1000) })
    case 'from_the_future':
      return late === null ? t('arrival.future') : t('arrival.future_by', { time: precise(-late) })
    case 'forged':
      return t('arrival.forged')
    case 'malformed':
      return t('arrival.malformed')
    default:
      return row.kind ?? row.external_id ?? row.source
  }
}

export function arrivalSays(arrival: Arrival): string {
  switch (arrival.row.result) {
    case 'done':
      return t('arrival.says.done')
    case 'nothing_new':
      return t('arrival.says.nothing_new')
    case 'not_ours':
      return t('arrival.says.not_ours')
    case 'kept':
      return t('arrival.says.kept')
    case 'duplicate':
      return t('arrival.says.duplicate')
    case 'waiting':
      return t('arrival.says.waiting')
    case 'quarantined':
      return t('arrival.says.quarantined')
    case 'not_taken':
      return arrival.steps.some((step) => step.what === 'came_by_poll' || step.what === 'came_again') ? t('arrival.says.not_missing') : t('arrival.says.not_taken')
  }
}

const steps: Record<string, [PlainKey, IconName]> = {
  refused: ['step_in.refused', 'webhook'],
  kept: ['step_in.kept', 'inbox'],
  came_again: ['step_in.came_again', 'copy'],
  came_by_poll: ['step_in.came_by_poll', 'refresh-cw'],
  signalled: ['step_in.signalled', 'radio'],
  quarantined: ['step_in.quarantined', 'hand'],
  reprocessed: ['step_in.reprocessed', 'refresh-cw'],
}
export function stepSays(step: InboxStep): { text: string; icon: IconName } {
  if (step.what === 'event') return { text: step.name ?? t('event.label'), icon: 'list-tree' }
  // What processing it again came to is a result like the first.
  const result = (inboxResults as Partial<Record<string, Sign>>)[step.what]
  if (result && !steps[step.what]) return { text: t(result.word), icon: result.icon }
  const known = steps[step.what]
  if (!known) return { text: step.what.replaceAll('_', ' '), icon: 'info' }
  if (step.what === 'refused' && step.text) return { text: t('step_in.refused_code', { code: step.text }), icon: known[1] }
  return { text: t(known[0]), icon: known[1] }
}

/** How what comes in comes in, cell by cell. */
export function pollSays(source: InboxSource, now: number): { value: string; note: string; role: 'ok' | 'risk' | 'idle' } {
  if (!source.polls) return { value: t('poll.off'), note: t('poll.off.so'), role: 'idle' }
  if (source.poll_problem) return { value: t('poll.fails'), note: source.poll_problem, role: 'risk' }
  if (!source.poll_at) return { value: t('poll.never'), note: t('poll.never.so'), role: 'idle' }
  const every = source.poll_every_s === null ? '' : t('poll.every', { time: duration(source.poll_every_s * 1000) })
  const waits = source.payments_awaited ? t('poll.awaited', { n: source.payments_awaited }) : ''
  return { value: t('poll.ago', { time: duration(now - Date.parse(source.poll_at)) }), note: [every, waits].filter(Boolean).join(', '), role: 'ok' }
}
