//! Numbers, money and times as people read them. A `Moment` is laid out by its wall time; an instant without one is
//! shown in the place's zone. 24-hour clock always: a front desk never asks "morning or evening?".

import type { Moment, Money } from '../backend/types'
import { locale, t } from './index'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** `Intl` objects are dear to make and a list asks for thousands. */
const made = new Map<string, Intl.DateTimeFormat>()
function dates(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = locale() + JSON.stringify(options)
  let format = made.get(key)
  if (!format) {
    format = new Intl.DateTimeFormat(locale(), { hourCycle: 'h23', ...options })
    made.set(key, format)
  }
  return format
}

// ---- money -------------------------------------------------------------------------------------------

const currencies = new Map<string, Intl.NumberFormat>()
function moneyFormat(currency: string): Intl.NumberFormat {
  const key = locale() + currency
  let format = currencies.get(key)
  if (!format) {
    format = new Intl.NumberFormat(locale(), { style: 'currency', currency, currencyDisplay: 'narrowSymbol' })
    currencies.set(key, format)
  }
  return format
}
/** How many decimals a currency has. */
export const decimals = (currency: string): number => moneyFormat(currency).resolvedOptions().maximumFractionDigits ?? 2

export function money({ amount_minor, currency }: Money): string {
  return moneyFormat(currency)
    .format(amount_minor / 10 ** decimals(currency))
    .replace('-', '−')
}

/** As it is typed into a field. */
export const plainAmount = (minor: number, currency: string): string => (minor / 10 ** decimals(currency)).toFixed(decimals(currency))

/** What was typed, with a point or a comma; null where it is no amount of that currency. */
export function minorOf(text: string, currency: string): number | null {
  const found = /^(\d{1,9})(?:[.,](\d+))?$/.exec(text.trim())
  const rest = found?.[2] ?? ''
  if (!found || rest.length > decimals(currency)) return null
  return Number(found[1]! + rest.padEnd(decimals(currency), '0'))
}

// ---- wall time ---------------------------------------------------------------------------------------

/** The wall time as if it were UTC, so that no zone data of the webview has a say. */
function wall(moment: Moment): Date {
  return new Date(`${moment.wall}Z`)
}

export function clock(moment: Moment): string {
  return moment.wall.slice(11, 16)
}

export function clockSeconds(moment: Moment): string {
  return moment.wall.slice(11, 19)
}

export function range(starts: Moment, ends: Moment): string {
  return `${clock(starts)}–${clock(ends)}`
}

/** `2026-11-24` */
export function localDate(moment: Moment): string {
  return moment.wall.slice(0, 10)
}

/** `Tue 24 Nov`, with the year when it is not this one. */
export function shortDay(moment: Moment, thisYear?: number): string {
  return shortDate(localDate(moment), thisYear)
}

const shortDates = new Map<string, string>()
export function shortDate(date: string, thisYear = Number(date.slice(0, 4))): string {
  const year = Number(date.slice(0, 4)) === thisYear ? {} : { year: 'numeric' as const }
  const key = locale() + date + ('year' in year)
  let text = shortDates.get(key)
  if (text === undefined) {
    text = tidy(dates({ weekday: 'short', day: 'numeric', month: 'short', ...year, timeZone: 'UTC' }).format(new Date(`${date}T00:00:00Z`)))
    if (shortDates.size > 2000) shortDates.clear()
    shortDates.set(key, text)
  }
  return text
}

export function weekday(date: string): string {
  return dates({ weekday: 'short', timeZone: 'UTC' }).format(new Date(`${date}T00:00:00Z`))
}

export function dayMonth(date: string): string {
  return dates({ day: 'numeric', month: 'short', timeZone: 'UTC' }).format(new Date(`${date}T00:00:00Z`))
}

export function longDate(date: string): string {
  return tidy(dates({ weekday: 'long', day: 'numeric', month: 'long', timeZone: 'UTC' }).format(new Date(`${date}T00:00:00Z`)))
}

/** For tooltips: the full date, the offset and UTC. */
export function full(moment: Moment): string {
  const day = tidy(dates({ dateStyle: 'full', timeZone: 'UTC' }).format(wall(moment)))
  return `${day}, ${clockSeconds(moment)} ${moment.abbreviation} (${offset(moment.offset_minutes)}), ${moment.utc.slice(11, 19)} UTC`
}

export function offset(minutes: number): string {
  if (minutes === 0) return 'UTC'
  const size = Math.abs(minutes)
  const rest = size % 60 ? `:${String(size % 60).padStart(2, '0')}` : ''
  return `UTC${minutes < 0 ? '−' : '+'}${Math.floor(size / 60)}${rest}`
}

/** "Tue, 24 Nov" reads as two things; English on a desk needs no comma there. */
function tidy(text: string): string {
  return locale().startsWith('en') ? text.replace(/^(\p{L}+),/u, '$1') : text
}

// ---- instants ----------------------------------------------------------------------------------------

export function clockIn(utc: string | number, zone: string, seconds = false): string {
  return dates({ hour: '2-digit', minute: '2-digit', ...(seconds ? { second: '2-digit' } : {}), timeZone: zone }).format(new Date(utc))
}

/** Local date of an instant in a zone, `2026-11-24`. */
export function dateIn(utc: string | number, zone: string): string {
  const parts = dates({ timeZone: zone, year: 'numeric', month: '2-digit', day: '2-digit' }).formatToParts(new Date(utc))
  const part = (type: string) => parts.find((p) => p.type === type)?.value ?? ''
  return `${part('year')}-${part('month')}-${part('day')}`
}

export function addDays(date: string, days: number): string {
  return new Date(Date.parse(`${date}T00:00:00Z`) + days * DAY).toISOString().slice(0, 10)
}

/** `40 s`, `4 min`, `1 h 04 min`, `3 d`; never negative. */
export function duration(ms: number): string {
  const size = Math.max(0, ms)
  if (size < MINUTE) return `${Math.floor(size / 1000)} s`
  if (size < HOUR) return `${Math.floor(size / MINUTE)} min`
  if (size < DAY) {
    const minutes = Math.floor((size % HOUR) / MINUTE)
    return minutes ? `${Math.floor(size / HOUR)} h ${String(minutes).padStart(2, '0')} min` : `${Math.floor(size / HOUR)} h`
  }
  return t('time.days', { n: Math.floor(size / DAY) })
}

/** How long something took: `412 ms`, `1.24 s`, then as `duration`. */
export function took(ms: number): string {
  if (ms < 1) return '<1 ms'
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 10_000) return `${new Intl.NumberFormat(locale(), { maximumFractionDigits: 2 }).format(ms / 1000)} s`
  return duration(ms)
}

/** For a narrow column: `now`, `40 s`, `3 min`, `2 h`, `Mon`, `24 Nov`. */
export function ago(utc: string, now: number, zone: string): string {
  const age = now - Date.parse(utc)
  if (age < 10_000) return t('time.now')
  if (age < HOUR) return duration(age)
  if (age < DAY) return `${Math.floor(age / HOUR)} h`
  if (age < 6 * DAY) return dates({ weekday: 'short', timeZone: zone }).format(new Date(utc))
  const year = age < 300 * DAY ? {} : { year: 'numeric' as const }
  return dates({ day: 'numeric', month: 'short', ...year, timeZone: zone }).format(new Date(utc))
}

/** Left of a hold: `23 h 58 min`, `13 min`, and the last two minutes by the second, `1 min 07 s`. Never `13:29`, which is a time of day. */
export function countdown(until: string, now: number): string {
  const left = Math.max(0, Math.ceil((Date.parse(until) - now) / 1000))
  if (left < 60 || left >= 120) return duration(left * 1000)
  return `1 min ${String(left - 60).padStart(2, '0')} s`
}

/** Long ids keep their two ends; they are copied whole. */
export function shortId(id: string): string {
  return id.length > 16 ? `${id.slice(0, 7)}…${id.slice(-4)}` : id
}

export function initials(name: string): string {
  const words = name.split(/\s+/u).filter(Boolean)
  const first = words[0] ?? ''
  const last = words.length > 1 ? (words.at(-1) ?? '') : ''
  return [first, last].map((word) => [...word][0] ?? '').join('').toLocaleUpperCase()
}

/** A position of the log, in groups that no language's own mark can turn into a fraction: `4 118 231`. */
export function grouped(position: number): string {
  return String(position).replace(/\B(?=(\d{3})+$)/g, '\u00a0')
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB']
/** `1.1 GB` */
export function bytes(size: number): string {
  const step = Math.max(0, Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, size)) / 3)))
  const value = size / 1000 ** step
  return `${new Intl.NumberFormat(locale(), { maximumFractionDigits: step > 0 && value < 10 ? 1 : 0 }).format(value)} ${UNITS[step]}`
}

/** A rate that may be small: `0.4`, `312`, `11,400`. */
export function rate(perSecond: number): string {
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: perSecond < 10 ? 1 : 0 }).format(perSecond)
}

/** `0.0 s`, `38 s`, `2 h 11 min`: how far something is behind. */
export function behind(seconds: number): string {
  if (seconds >= 10) return duration(seconds * 1000)
  return `${new Intl.NumberFormat(locale(), { minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(Math.max(0, seconds))} s`
}

/** `4.1 M`: where the size is what matters. */
export function compact(n: number): string {
  return new Intl.NumberFormat(locale(), { notation: 'compact', maximumFractionDigits: 1 }).format(n).replace(/(\d)(\p{L})$/u, (_, digit: string, unit: string) => `${digit}\u00a0${unit.toUpperCase()}`)
}
