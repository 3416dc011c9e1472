import { afterEach, expect, test } from 'vitest'
import { prefs } from '../lib/prefs.svelte'
import { de } from './de'
import { en } from './en'
import { ago, clock, countdown, dateIn, duration, full, initials, longDate, minorOf, money, offset, range, shortDate, shortId, took } from './format'
import { t, type Key, type Plural } from './index'
import { moment } from '../backend/fixtures'

afterEach(() => {
  prefs.language = 'en'
})

test('both languages have the same texts with the same values to fill in', () => {
  const names = (text: string | Plural) =>
    [...new Set([...(typeof text === 'string' ? text : text.one + text.other).matchAll(/\{(\w+)\}/g)].map((m) => m[1]))].sort()
  expect(Object.keys(de).sort()).toEqual(Object.keys(en).sort())
  for (const key of Object.keys(en) as Key[]) expect([key, names(de[key])]).toEqual([key, names(en[key])])
})

test('nothing is left untranslated by accident', () => {
  const same = (Object.keys(en) as Key[]).filter((key) => JSON.stringify(en[key]) === JSON.stringify(de[key]))
  const meant = /^(app|version|about\.app|about\.server|about\.schema|status\.(stripe|mail|database)|status\.database|foot\.live|start\.name\.example|fact\.minutes|detail\.position|plan\.ends\.so|story\.(took|try)|saga\.(at|over|crumb|tab\.signals)|nav\.sagas|sagas\.list|provider\.(stripe|email)|says\.in|events\.(position|export)|event\.app|schema|as_of\.(slider|nothing)|state_fact\.name|chosen\.generation|speed\.normal|db\.in|percent|ms|in\.time|log\.code|events\.live|delivery\.took|code\.class\.(ok|redirect|client|server)|endpoints\.p95|delivery\.gave|try\.tls|many\.of|clocks\.signed|endpoint\.only_if\.hint|endpoint\.shape\.(slack|discord|teams))$/
  expect(same.filter((key) => !meant.test(key))).toEqual([])
})

test('German says Sie to whoever reads it, on every page', () => {
  const familiar = /\b(du|dich|dir|dein\w*)\b|(^|[.:,] |oder )(Wähl|Leg|Nimm|Setz|Frag|Schreib|Mach|Gib|Drück|Tipp|send|tipp) /
  const texts = Object.values(de).flatMap((text: string | Plural) => (typeof text === 'string' ? [text] : [text.one, text.other]))
  expect(texts.filter((text) => familiar.test(text))).toEqual([])
})

test('counts choose their form and numbers follow the language', () => {
  expect(t('cancel.more', { n: 1 })).toBe('1 more character')
  expect(t('bookings.total', { n: 18412 })).toBe('18,412 in all.')
  prefs.language = 'de'
  expect(t('bookings.total', { n: 18412 })).toBe('18.412 insgesamt.')
})

test('money has its own decimals and a real minus', () => {
  expect(money({ amount_minor: 8000, currency: 'EUR' })).toBe('€80.00')
  expect(money({ amount_minor: 18000, currency: 'JPY' })).toBe('¥18,000')
  expect(money({ amount_minor: -145, currency: 'EUR' })).toBe('−€1.45')
  expect(money({ amount_minor: 12345, currency: 'KWD' })).toMatch(/12\.345$/)
  prefs.language = 'de'
  expect(money({ amount_minor: 128000, currency: 'EUR' })).toMatch(/^1\.280,00\s€$/)
})

test('a sum is typed with a point or a comma, and with no more decimals than its currency has', () => {
  const typed = (text: string, currency = 'EUR') => minorOf(text, currency)
  expect([typed('45'), typed(' 45.5 '), typed('45,05'), typed('0')]).toEqual([4500, 4550, 4505, 0])
  expect([typed('18000', 'JPY'), typed('1.234', 'KWD')]).toEqual([18000, 1234])
  expect(['', '-1', '1.234', '1,000.00', '12 €', '1e3', '.5'].map((text) => typed(text))).toEqual(Array(7).fill(null))
  expect(typed('1.5', 'JPY')).toBeNull()
})

test('a moment is laid out by the wall of the place, not by this computer', () => {
  const kolkata = { utc: '2026-11-24T20:00:00Z', wall: '2026-11-25T01:30:00', zone: 'Asia/Kolkata', abbreviation: 'IST', offset_minutes: 330 }
  expect(clock(kolkata)).toBe('01:30')
  expect(range(moment('2026-11-24T11:00:00Z'), moment('2026-11-24T12:00:00Z'))).toBe('11:00–12:00')
  expect(full(kolkata)).toBe('Wednesday 25 November 2026, 01:30:00 IST (UTC+5:30), 20:00:00 UTC')
  expect(offset(-180)).toBe('UTC−3')
  expect(dateIn('2026-11-24T23:30:00Z', 'Europe/Berlin')).toBe('2026-11-25')
})

test('dates read as people say them', () => {
  expect(shortDate('2026-11-24')).toBe('Tue 24 Nov')
  expect(shortDate('2025-11-24', 2026)).toMatch(/^Mon 24 Nov 2025$/)
  expect(longDate('2026-11-24')).toBe('Tuesday 24 November')
  prefs.language = 'de'
  expect(shortDate('2026-11-24')).toMatch(/^Di\.?, 24\. Nov/)
})

test('lengths of time', () => {
  expect(duration(40_000)).toBe('40 s')
  expect(duration(64 * 60_000)).toBe('1 h 04 min')
  expect(duration(-5)).toBe('0 s')
  expect(took(412)).toBe('412 ms')
  expect(took(1240)).toBe('1.24 s')
  const now = Date.parse('2026-11-24T11:42:00Z')
  expect(ago('2026-11-24T11:41:55Z', now, 'Europe/Lisbon')).toBe('now')
  expect(ago('2026-11-24T09:30:00Z', now, 'Europe/Lisbon')).toBe('2 h')
  expect(ago('2026-11-22T09:30:00Z', now, 'Europe/Lisbon')).toBe('Sun')
  expect(countdown('2026-11-24T11:46:12Z', now)).toBe('4 min')
  expect(countdown('2026-11-24T11:43:07Z', now)).toBe('1 min 07 s')
  expect(countdown('2026-11-24T11:42:59Z', now)).toBe('59 s')
  expect(countdown('2026-11-24T11:00:00Z', now)).toBe('0 s')
})

test('ids keep both ends, names give two letters', () => {
  expect(shortId('pi_3QK8vR2eZvKYlo2C1d2Lw')).toBe('pi_3QK8…d2Lw')
  expect(initials('Inês Carvalho-Lindqvist')).toBe('IC')
  expect(initials('نور الخطيب')).toHaveLength(2)
})

test('German says days as what stands before them wants', () => {
  prefs.language = 'de'
  const fortnight = duration(14 * 86_400_000)
  expect(fortnight).toBe('14 Tage')
  expect(t('sagas.group.since', { first: fortnight, last: duration(86_400_000) })).toBe('zuerst vor 14 Tagen, zuletzt vor 1 Tag')
  expect(t('sagas.parked_for', { time: fortnight })).toBe('geparkt seit 14 Tagen')
  expect(t('backups.sentence', { age: fortnight, proved: fortnight })).toContain('ist 14 Tage alt; zur Probe eingespielt vor 14 Tagen')
})
