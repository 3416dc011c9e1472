//! The saga's one line: which step, what it waits for and whose turn it is.

import type { SagaView } from '../../backend/types'
import { t } from '../../i18n'
import { clockIn, duration, took } from '../../i18n/format'
import { awaited, sagaStates, stepNames } from '../../states'

export function sagaSentence(saga: SagaView, zone: string, now: number): string {
  const at = saga.steps.findIndex((step) => ['running', 'waiting', 'unknown', 'failed', 'needs_person'].includes(step.state))
  const step = saga.steps[at]
  const state = t(sagaStates[saga.state].word)
  if (saga.state === 'done' || saga.state === 'undone' || saga.state === 'resolved' || saga.state === 'done_with_warnings') {
    const time = saga.finished_at ? took(Date.parse(saga.finished_at) - Date.parse(saga.started_at)) : null
    if (saga.state === 'undone' && saga.undo_reason) return t('saga.undone', { reason: saga.undo_reason })
    return time ? t('saga.over', { state, time }) : state
  }
  const name = step ? t('saga.step', { n: at + 1, all: saga.steps.length, step: t(stepNames[step.step] ?? 'step.other') }) : state
  return `${name}: ${waiting(saga, zone, now) || state}`
}

function waiting({ waits_for: w }: SagaView, zone: string, now: number): string {
  const at = (utc: string | null) => (utc === null ? '' : t('saga.at', { time: clockIn(utc, zone, true), left: duration(Date.parse(utc) - now) }))
  switch (w.waits_for) {
    case 'nothing':
      return ''
    case 'customer':
      return w.until ? t('saga.customer_until', { time: clockIn(w.until, zone) }) : t('saga.customer')
    case 'retry':
      return `${t('saga.retry', { n: w.attempt })} ${at(w.at)}`
    case 'delivery':
      return `${t('saga.delivery', { n: w.attempt })} ${at(w.at)}`
    case 'provider':
      return t('saga.provider', { what: awaited(w.what) })
    case 'worker':
      return t('saga.worker')
    case 'person':
      return t('saga.person')
  }
}
