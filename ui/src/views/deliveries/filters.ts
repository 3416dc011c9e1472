//! What a list is asked for, as the address holds it and as the desk understands it.

import { dateIn } from '../../i18n/format'
import { parseMatch } from '../../lib/match'
import { utcOf } from '../../lib/zoned'

/** Of the place's clock: `today`, a length of time, or a wall time. */
export type Since = 'today' | '1h' | '24h' | '7d' | (string & {})
export const sinces = ['1h', 'today', '24h', '7d'] as const

type Lists<F> = { [K in keyof F]: F[K] extends unknown[] ? K : never }[keyof F]

const list = (query: URLSearchParams, key: string) => query.get(key)?.split(',').filter(Boolean) ?? []

export function parse<F extends object>(query: URLSearchParams, whole: F): F {
  const read = Object.entries(whole).map(([key, usual]) => [key, Array.isArray(usual) ? list(query, key) : query.get(key) || null])
  return Object.fromEntries(read) as F
}

export function text<F extends object>(filter: F): string {
  const query = new URLSearchParams()
  for (const [key, value] of Object.entries(filter)) {
    if (Array.isArray(value) ? value.length : value) query.set(key, Array.isArray(value) ? value.join(',') : String(value))
  }
  return query.toString()
}

export function address(base: string, filter: object): string {
  const query = text(filter)
  return query ? `${base}?${query}` : base
}

/** How many clauses narrow the list. */
export function narrowing<F extends object>(filter: F): number {
  return Object.values(filter).filter((value) => (Array.isArray(value) ? value.length > 0 : value !== null)).length
}

export function without<F extends object>(filter: F, key: Lists<F> | keyof F): F {
  return { ...filter, [key]: Array.isArray(filter[key as keyof F]) ? [] : null }
}

const LENGTHS: Record<string, number> = { '1h': 3600_000, '24h': 86_400_000, '7d': 7 * 86_400_000 }

/** A length of time ends at whole minutes: the question stays the same one while the clock ticks. */
export function instantOf(since: Since, now: number, zone: string): string {
  const length = LENGTHS[since]
  if (length !== undefined) return new Date(Math.floor(now / 60_000) * 60_000 - length).toISOString()
  return utcOf(since === 'today' ? `${dateIn(now, zone)}T00:00` : since, zone)
}

/** Null where the payload says nothing that the desk could ask for. */
export function payloadOf(payload: string | null): Record<string, unknown> | null {
  const found = parseMatch(payload ?? '', true)
  return 'ok' in found ? found.ok : null
}

/** Why the payload clause cannot be asked, or null. */
export function payloadWrong(payload: string | null): 'json' | 'object' | 'line' | null {
  const found = parseMatch(payload ?? '', true)
  return 'wrong' in found ? found.wrong : null
}
