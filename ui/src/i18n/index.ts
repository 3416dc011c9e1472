//! Every text of the window comes from here. The English catalogue is the type: another language that misses a
//! text, or a call that misses a value, does not compile.

import { prefs, type Language } from '../lib/prefs.svelte'
import { de } from './de'
import { en } from './en'

export interface Plural {
  one: string
  other: string
}
type Entries = typeof en
export type Key = keyof Entries
export type Catalogue = { [K in Key]: Entries[K] extends string ? string : Plural }

type Names<S> = S extends `${string}{${infer Name}}${infer Rest}` ? Name | Names<Rest> : never
type NamesOf<E> = E extends string ? Names<E> : E extends { other: infer Other } ? Names<Other> | 'n' : never
type Values<K extends Key> = Record<NamesOf<Entries[K]>, string | number>
type Args<K extends Key> = [NamesOf<Entries[K]>] extends [never] ? [] : [values: Values<K>]
/** Keys whose text needs no values: what tables of states and steps may hold. */
export type PlainKey = { [K in Key]: [NamesOf<Entries[K]>] extends [never] ? K : never }[Key]

const catalogues: Record<Language, Catalogue> = { en, de }
/** Names of locales, tried out: a webview may not know one, and `Intl` throws for what it does not know. */
const locales: Record<Language, string> = { en: known('en-GB'), de: known('de-DE') }

function known(locale: string): string {
  try {
    return Intl.DateTimeFormat.supportedLocalesOf([locale])[0] ?? 'en'
  } catch {
    return 'en'
  }
}

export function locale(): string {
  return locales[prefs.language] ?? locales.en
}

export function t<K extends Key>(key: K, ...args: Args<K>): string {
  const values = (args[0] ?? {}) as Record<string, string | number>
  const entry: string | Plural = (catalogues[prefs.language] ?? en)[key]
  const text = typeof entry === 'string' ? entry : entry[plural(Number(values.n))]
  const said = text.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = values[name]
    return typeof value === 'number' ? number(value) : (value ?? '')
  })
  return prefs.language === 'de' ? dative(said) : said
}

/** A time is made without knowing what it is put after: „vor 14 Tagen“, but „14 Tage alt“. */
function dative(said: string): string {
  return said.replace(/\b(vor|seit|in|nach) (\d+) Tage\b/gi, '$1 $2 Tagen')
}

/** `Intl` objects are dear to make, and a list asks for thousands of numbers. */
const rules = new Map<string, Intl.PluralRules>()
const numbers = new Map<string, Intl.NumberFormat>()

function plural(n: number): 'one' | 'other' {
  const name = locale()
  const rule = rules.get(name) ?? new Intl.PluralRules(name)
  rules.set(name, rule)
  return rule.select(n) === 'one' ? 'one' : 'other'
}

export function number(n: number): string {
  const name = locale()
  const format = numbers.get(name) ?? new Intl.NumberFormat(name)
  numbers.set(name, format)
  return format.format(n)
}
