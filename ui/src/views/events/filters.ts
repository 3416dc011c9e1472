//! What the log is asked for, as the address holds it.

import type { EventFilter } from '../../backend/types'

export const everything: EventFilter = {
  types: [],
  stream: null,
  category: null,
  correlation_id: null,
  causation_id: null,
  actor: null,
  from: null,
  to: null,
  json_path: null,
}

type Single = Exclude<keyof EventFilter, 'types'>
const names: Record<Single, string> = {
  stream: 'stream',
  category: 'category',
  correlation_id: 'conversation',
  causation_id: 'cause',
  actor: 'by',
  from: 'from',
  to: 'to',
  json_path: 'payload',
}
const singles = Object.entries(names) as [Single, string][]

export function parse(query: URLSearchParams): EventFilter {
  const filter: EventFilter = { ...everything, types: query.get('type')?.split(',').filter(Boolean) ?? [] }
  for (const [name, key] of singles) filter[name] = query.get(key) || null
  return filter
}

/** Of the log, with the event that is looked at when there is one. */
export function address(filter: EventFilter, position: number | null): string {
  const query = new URLSearchParams()
  if (filter.types.length) query.set('type', filter.types.join(','))
  for (const [name, key] of singles) {
    const value = filter[name]
    if (value) query.set(key, value)
  }
  const text = query.toString()
  return `/events${position === null ? '' : `/${position}`}${text ? `?${text}` : ''}`
}

/** How many clauses narrow the log. */
export function narrowing(filter: EventFilter): number {
  return (filter.types.length ? 1 : 0) + singles.filter(([name]) => filter[name]).length
}
