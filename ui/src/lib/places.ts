//! Time zones and currencies to choose from, named in the person's language.

import { locale } from '../i18n'
import { clockIn } from '../i18n/format'
import type { Choice } from '../ui/Picker.svelte'

/** The computer's own zone, when the webview tells one that it knows itself. */
export function guessZone(): string {
  const zone = new Intl.DateTimeFormat('en').resolvedOptions().timeZone
  return zone?.includes('/') ? zone : 'Europe/London'
}

export function zones(now: number): Choice[] {
  const all = new Set(Intl.supportedValuesOf('timeZone').filter((zone) => zone.includes('/') && !zone.startsWith('Etc/')))
  all.add(guessZone())
  return [...all].sort().map((value) => ({ value, label: value.replaceAll('_', ' '), note: clockIn(now, value) }))
}

const CURRENCIES = ['EUR', 'USD', 'GBP', 'CHF', 'AUD', 'BRL', 'CAD', 'CZK', 'DKK', 'HUF', 'JPY', 'MXN', 'NOK', 'NZD', 'PLN', 'RON', 'SEK', 'SGD', 'ZAR']

export function currencies(): Choice[] {
  const names = new Intl.DisplayNames([locale()], { type: 'currency' })
  return CURRENCIES.map((value) => ({ value, label: names.of(value) ?? value, note: value }))
}
