//! Times as sentences need them, and sentences that are made of parts.

import { t } from '../../i18n'
import { clockIn, dateIn, dayMonth, duration, shortDate } from '../../i18n/format'

/** `11:42:31` today, `24 Nov 11:42` before. */
export function stamp(utc: string, zone: string, today: string): string {
  const day = dateIn(utc, zone)
  return day === today ? clockIn(utc, zone, true) : `${dayMonth(day)} ${clockIn(utc, zone)}`
}

/** In a sentence after "since": `11:48:07`, `Sun 29 Nov, 10:35`. */
export function moment(utc: string, zone: string, now: number): string {
  const day = dateIn(utc, zone)
  return day === dateIn(now, zone) ? clockIn(utc, zone, true) : `${shortDate(day, Number(dateIn(now, zone).slice(0, 4)))}, ${clockIn(utc, zone)}`
}

/** In a sentence that says when: `at 11:48:07`, `on Sun 29 Nov, 10:35`. */
export function atMoment(utc: string, zone: string, now: number): string {
  const at = moment(utc, zone, now)
  return dateIn(utc, zone) === dateIn(now, zone) ? t('at.time', { time: at }) : t('at.day', { day: at })
}

/** `in 6 min`, `now`. */
export function until(utc: string, now: number, exact = false): string {
  const left = Date.parse(utc) - now
  return left < 1000 ? t('time.now') : t('in.time', { time: exact ? precise(left) : duration(left) })
}

/** `6 min 44 s`: where a minute is too coarse. */
export function precise(ms: number): string {
  const seconds = Math.floor(Math.max(0, ms) / 1000)
  return seconds >= 60 && seconds < 3600 && seconds % 60 ? `${Math.floor(seconds / 60)} min ${seconds % 60} s` : duration(ms)
}

export const capital = (text: string) => text.charAt(0).toLocaleUpperCase() + text.slice(1)

export interface Said {
  text: string
  person?: boolean
}

/** Parts of one sentence. */
export function sentence(parts: Said[]): Said[] {
  return parts.map((part, i) => ({ ...part, text: `${part.text}${i + 1 < parts.length ? ',' : '.'}` }))
}
