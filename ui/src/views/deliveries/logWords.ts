//! What deliveries and their tries say in plain words.

import type { DeliveryCounts, DeliveryRow, DeliveryTry, ErrorClass, Redelivery } from '../../backend/types'
import { number, t, type PlainKey } from '../../i18n'
import { clockIn, duration } from '../../i18n/format'
import { sentence, until, type Said } from './times'

const waits: Record<string, PlainKey> = {
  paused: 'waits.paused',
  failing: 'waits.failing',
  retry_after: 'waits.retry_after',
  held: 'waits.held',
  in_order: 'waits.in_order',
  disabled: 'waits.disabled',
}

export function waitsFor(name: string): string {
  return waits[name] ? t(waits[name]) : name
}

/** What comes next, for a narrow column. */
export function next(row: DeliveryRow, now: number): string {
  if (row.state === 'unclear' || row.state === 'held') return t('next.decide')
  if (row.waits_for && !['delivered', 'skipped', 'cancelled'].includes(row.state)) return waitsFor(row.waits_for)
  if (row.next_at && ['scheduled', 'retrying', 'paused'].includes(row.state)) return until(row.next_at, now)
  return ''
}

/** `3/10` while it goes on, `1` when it is over. */
export function tries(row: DeliveryRow): string {
  const open = ['retrying', 'gave_up', 'paused'].includes(row.state) && row.tries > 0
  return open && row.most_tries ? `${number(row.tries)}/${number(row.most_tries)}` : number(row.tries)
}

export function headline(row: DeliveryRow, now: number, zone: string): string {
  switch (row.state) {
    case 'retrying':
    case 'scheduled':
      if (row.waits_for) return t('delivery.waits', { why: waitsFor(row.waits_for) })
      return row.next_at ? t('delivery.next', { time: clockIn(row.next_at, zone, true), left: until(row.next_at, now, true) }) : ''
    case 'paused':
      return t('delivery.waits', { why: waitsFor(row.waits_for ?? 'paused') })
    case 'held':
      return t('delivery.held')
    case 'unclear':
      return t('delivery.unclear')
    case 'gave_up':
      return t(row.most_tries !== null && row.tries < row.most_tries ? 'delivery.no_more' : 'delivery.gave_up')
    case 'delivered':
      return row.total_ms === null ? '' : t('delivery.took', { ms: number(row.total_ms) })
    default:
      return ''
  }
}

export function codeOf(one: { code: number | null; error?: string | null }, webhook: boolean): string {
  if (one.code !== null) return String(one.code)
  return webhook && one.error ? t('code.none') : ''
}

export function badCode(code: number | null): boolean {
  return code === null || code >= 300
}

/** Why a try failed, as a list can be asked for it. */
export const errorClasses: readonly ErrorClass[] = ['name', 'connect', 'tls', 'timeout', 'broken', 'answer', 'blocked', 'too_large']

const classes: Record<string, PlainKey> = {
  no_such_name: 'class.no_such_name',
  dns: 'class.dns',
  connect: 'class.connect',
  tls: 'class.tls',
  certificate: 'class.certificate',
  timeout: 'class.timeout',
  closed: 'class.closed',
  protocol: 'class.protocol',
  blocked_address: 'class.blocked_address',
  redirect: 'class.redirect',
  too_large: 'class.too_large',
  interrupted: 'class.interrupted',
}

/** Why a try failed, in words; the code alone says it where there is one. */
export function said(one: Pick<DeliveryTry, 'error_class'>): string {
  const known = one.error_class ? classes[one.error_class] : undefined
  return known ? t(known) : ''
}

export function tryBy(one: DeliveryTry, name: (login: string) => string): string {
  const no = number(one.no)
  if (one.trigger === 'test') return t('try.test', { no })
  if (one.by === null) return one.trigger === 'replay' ? t('try.replay', { no }) : t('try.auto', { no })
  const by = name(one.by)
  return one.reason ? t('try.by_why', { no, by, reason: one.reason }) : t('try.by', { no, by })
}

/** The sentence at the head of the log. */
export function logSays(counts: DeliveryCounts): Said[] {
  const parts: Said[] = [{ text: t('log.say.delivered', { n: counts.delivered_today }) }]
  if (counts.retrying) parts.push({ text: t('log.say.retrying', { n: counts.retrying }) })
  if (counts.gave_up) parts.push({ text: t('log.say.gave_up', { n: counts.gave_up }) })
  if (counts.unclear) parts.push({ text: t('log.say.unclear', { n: counts.unclear }), person: true })
  if (counts.held) parts.push({ text: t('log.say.held', { n: counts.held }), person: true })
  if (parts.length === 1 && !counts.scheduled) parts.push({ text: t('log.say.nothing') })
  return sentence(parts)
}

export function progress(one: Redelivery): string {
  if (one.action === 'recover') return recovering(one)
  const left = one.count - one.done
  if (one.state === 'running') return left > 0 ? t('many.left', { n: left, time: duration((left / Math.max(1, one.per_second)) * 1000) }) : t('many.ending')
  if (one.state === 'stopped') return t('many.stopped', { n: left })
  if (one.state === 'cancelled') return t('many.cancelled', { n: left })
  return t('many.done')
}

/** A recovery finds what it owes as it goes: how much is left is known of the log, not of deliveries. */
function recovering({ state, looked }: Redelivery): string {
  if (state === 'cancelled') return t('recover.cancelled')
  if (state === 'done') return t('many.done')
  if (looked === null) return t('recover.waits')
  return t(state === 'stopped' ? 'recover.stopped' : 'recover.looked', { percent: number(Math.floor(looked * 100)) })
}

/** What many at once are about. */
export function manyTitle(one: Redelivery): string {
  if (one.action === 'recover') return t('recover.title', { n: one.count })
  if (one.action === 'reprocess') return t(one.ended_at ? 'process.many.was' : 'process.many.is', { n: one.ended_at ? one.done : one.count })
  if (one.ended_at) return t(one.action === 'cancel' ? 'many.cancelled_n' : 'many.sent', { n: one.done })
  return t(one.action === 'cancel' ? 'many.cancels' : 'many.sends', { n: one.count })
}
