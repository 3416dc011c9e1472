//! What endpoints say in plain words: why they are as they are, what happens next, and when they turn themselves off.

import type { Endpoint, EndpointAction, EndpointRow } from '../../backend/types'
import { number, t, type PlainKey } from '../../i18n'
import { duration } from '../../i18n/format'
import { badCode } from './logWords'
import { atMoment, capital, moment, until, type Said } from './times'

const DAY = 86_400_000

export function endpointsSay(rows: EndpointRow[]): Said[] {
  const works = rows.filter((row) => row.state === 'works').length
  const failing = rows.filter((row) => row.state === 'failing' || row.state === 'waiting').length
  const paused = rows.filter((row) => row.state === 'paused').length
  const off = rows.filter((row) => row.state === 'disabled').length
  const owed = rows.reduce((sum, row) => sum + row.owed, 0)
  const held = rows.reduce((sum, row) => sum + row.held, 0)
  if (rows.length === 0) return []
  const parts: Said[] = [{ text: works === rows.length ? t('endpoints.say.all', { n: rows.length }) : t('endpoints.say.works', { n: rows.length, works: number(works) }) }]
  if (failing) parts.push({ text: t('endpoints.say.failing', { n: failing }) })
  if (paused) parts.push({ text: t('endpoints.say.paused', { n: paused }) })
  if (off) parts.push({ text: t('endpoints.say.off', { n: off }) })
  if (owed) parts.push({ text: t('endpoints.say.owed', { n: owed }) })
  if (held) parts.push({ text: t('endpoints.say.held', { n: held }), person: true })
  return parts
}

/** The second line of a row: what is wrong, or what it is. */
export function endpointLine(row: EndpointRow, zone: string, now: number): { text: string; role: 'risk' | 'fail' | 'person' | null } {
  if (row.held) return { text: t('endpoint.line.held', { n: row.held }), role: 'person' }
  if (row.unclear) return { text: t('endpoint.line.unclear', { n: row.unclear }), role: 'person' }
  switch (row.state) {
    case 'failing':
      if (row.why === 'refuses_key') return { text: t('endpoint.line.refuses', { code: row.last_code ?? 401 }), role: 'risk' }
      if (row.last_code === null) return { text: row.failing_since ? t('endpoint.line.silent', { since: moment(row.failing_since, zone, now) }) : t('endpoint.line.silent_plain'), role: 'risk' }
      return { text: t('endpoint.line.fails', { code: row.last_code }), role: 'risk' }
    case 'waiting':
      return { text: t('endpoint.line.asked'), role: null }
    case 'paused':
      return { text: row.since ? t('endpoint.line.paused', { since: moment(row.since, zone, now) }) : t('endpoint.line.paused_plain'), role: null }
    case 'disabled':
      if (row.why === 'gone') return { text: row.since ? t('endpoint.line.gone', { at: atMoment(row.since, zone, now) }) : '410 Gone', role: null }
      if (row.why === 'days_of_failures') return { text: t('endpoint.line.days'), role: 'fail' }
      return { text: t('endpoint.line.by_person'), role: null }
    case 'works':
      if (row.gave_up) return { text: row.last_code !== null && badCode(row.last_code) ? t('endpoint.line.gave_up_code', { n: row.gave_up, code: row.last_code }) : t('endpoint.line.gave_up', { n: row.gave_up }), role: 'fail' }
      return { text: row.kind === 'email' ? t('endpoint.line.email') : row.host && row.host !== row.name ? row.host : t('endpoint.line.webhook'), role: null }
  }
}

export function endpointNext(row: EndpointRow, zone: string, now: number): string {
  switch (row.state) {
    case 'disabled':
      return t('endpoint.next.never')
    case 'paused':
      return t('endpoint.next.resume')
    case 'failing':
      if (row.why === 'refuses_key') return t('endpoint.next.key')
      return row.next_at ? t('endpoint.next.probe', { at: atMoment(row.next_at, zone, now) }) : ''
    default:
      if (row.sending) return t('endpoint.next.sending', { n: row.sending })
      return row.next_at && row.owed ? until(row.next_at, now) : ''
  }
}

export interface Story {
  /** Stands out. */
  lead: string
  rest: string
  /** What happens by itself later. */
  later: string
}

/** Why it is as it is, what happens next and when it turns itself off. */
export function story({ row, sending, consecutive_failures: failures, last_delivered_at: last }: Endpoint, zone: string, now: number): Story {
  const wait = row.owed ? t('story.wait', { n: row.owed }) : ''
  const since = (utc: string) => moment(utc, zone, now)
  const at = (utc: string) => atMoment(utc, zone, now)
  const join = (...parts: string[]) => parts.filter(Boolean).join(' ')
  switch (row.state) {
    case 'failing': {
      const lead = row.why === 'refuses_key' ? t('endpoint.story.refuses', { code: row.last_code ?? 401 }) : failed(row, Math.max(1, failures))
      return {
        lead: `${lead}${row.since ? ',' : '.'}`,
        rest: join(
          row.since ? t('endpoint.story.stopped', { at: at(row.since) }) : '',
          row.last_code === null && row.last_error ? t('endpoint.story.it_said', { said: ended(row.last_error) }) : '',
          wait,
          row.next_at ? capital(sending?.rate_per_s ? t('endpoint.story.probe_pace', { at: at(row.next_at), n: sending.rate_per_s }) : t('endpoint.story.probe', { at: at(row.next_at) })) : '',
        ),
        later: join(
          row.failing_since ? t('endpoint.story.since', { at: since(row.failing_since) }) : '',
          row.disabled_at ? t('endpoint.story.off', { at: at(row.disabled_at), left: duration(Math.max(0, Date.parse(row.disabled_at) - now)) }) : '',
        ),
      }
    }
    case 'waiting':
      return { lead: row.next_at ? t('endpoint.story.asked', { at: since(row.next_at) }) : t('endpoint.line.asked'), rest: wait, later: '' }
    case 'paused':
      return { lead: row.since ? t('endpoint.story.paused', { at: at(row.since) }) : t('endpoint.line.paused_plain'), rest: join(wait, t('endpoint.story.resume')), later: '' }
    case 'disabled':
      return {
        lead: row.why === 'gone' ? t('endpoint.story.gone') : row.why === 'days_of_failures' ? t('endpoint.story.days') : t('endpoint.story.by_person'),
        rest: t('endpoint.story.nothing_owed'),
        later: row.since ? t('endpoint.story.off_since', { at: since(row.since) }) : '',
      }
    case 'works':
      return {
        // A few failures do not stop it, and yet whoever looks must read of them.
        lead: failures > 0 ? `${failed(row, failures)}.` : t('endpoint.story.works'),
        rest: join(last ? t('endpoint.story.last', { at: at(last) }) : failures > 0 ? '' : t('endpoint.story.never'), row.owed ? t('endpoint.story.on_way', { n: row.owed }) : ''),
        later: join(row.gave_up ? t('endpoint.story.gave_up', { n: row.gave_up }) : '', row.unclear ? t('endpoint.story.unclear', { n: row.unclear }) : ''),
      }
  }
}

function failed({ last_code: code }: EndpointRow, n: number): string {
  return code === null ? t('endpoint.story.silent', { n }) : t('endpoint.story.answered', { n, code })
}

/** As a sentence: what a receiver or the system says seldom is one. */
const ended = (text: string) => (/[.!?]$/.test(text.trim()) ? text.trim() : `${text.trim()}.`)

/** It turns itself off within two days, if nobody does anything. */
export function offSoon(row: EndpointRow, now: number): boolean {
  return row.state === 'failing' && row.disabled_at !== null && Date.parse(row.disabled_at) - now < 2 * DAY
}

/** `at once, 5 s, 5 min, 30 min` */
export function schedule(seconds: number[]): string {
  return seconds.map((s) => (s === 0 ? t('sending.at_once') : duration(s * 1000))).join(', ')
}

/** As the database writes them. */
const changes: Record<string, PlainKey> = {
  created: 'change.created',
  changed: 'change.changed',
  paused: 'change.paused',
  resumed: 'change.resumed',
  tried_now: 'change.tried_now',
  tested: 'change.tested',
  warned: 'change.warned',
  kept_on: 'change.kept_on',
  disabled: 'change.disabled',
  enabled: 'change.enabled',
  deleted: 'change.deleted',
  held: 'change.held',
  held_sent: 'change.held_sent',
  held_newest_sent: 'change.held_newest_sent',
  held_cancelled: 'change.held_cancelled',
  secret_rotated: 'change.secret_rotated',
  secret_shown: 'change.secret_shown',
}
export const changeWord = (what: string): string => (changes[what] ? t(changes[what]) : what.replaceAll('_', ' '))

/** Why an endpoint did it by itself. What a person wrote is a sentence, never one of these. */
const causes: Record<string, PlainKey> = {
  failing: 'change.cause.failing',
  gone: 'change.cause.gone',
  days_of_failures: 'change.cause.days_of_failures',
  absence: 'change.cause.absence',
}
export const changeCause = (reason: string): string | null => (causes[reason] ? t(causes[reason]) : null)

export const doneWords: Record<EndpointAction, PlainKey> = {
  pause: 'endpoint.done.pause',
  resume: 'endpoint.done.resume',
  try_now: 'endpoint.done.try_now',
  keep_on: 'endpoint.done.keep_on',
  disable: 'endpoint.done.disable',
  enable: 'endpoint.done.enable',
  delete: 'endpoint.done.delete',
  send_held: 'endpoint.done.send_held',
  send_held_newest: 'endpoint.done.send_held',
  cancel_held: 'endpoint.done.cancel_held',
}
