//! The timeline's order and what hangs on what.

import type { TimelineItem } from '../../backend/types'
import { tell, type Part, type Told } from './story'

export interface Entry {
  item: TimelineItem
  told: Told
  /** Hangs on the one it follows, which caused it. */
  hangs: boolean
}

export interface Day {
  date: string
  entries: Entry[]
}

/** An event this close to the event that caused it came with it, in one commit. */
const TOGETHER_MS = 1000
/** What comes later than this after its cause begins a paragraph of its own. */
const SOON_MS = 10 * 60_000

export function entries(items: TimelineItem[], me: string | null = null): Entry[] {
  const sorted = items.map((item, i) => ({ item, i })).sort((a, b) => Date.parse(a.item.at.utc) - Date.parse(b.item.at.utc) || a.i - b.i)
  let group = new Set<string>()
  return sorted.map(({ item }) => {
    const hangs = item.caused_by !== null && group.has(item.caused_by) && goesWith(item, items)
    if (!hangs) group = new Set()
    group.add(item.id)
    return { item, told: tell(item, me), hangs }
  })
}

function goesWith(item: TimelineItem, items: TimelineItem[]): boolean {
  if (item.kind === 'planned') return false
  const cause = items.find((other) => other.id === item.caused_by)
  if (!cause) return false
  const later = Math.abs(Date.parse(item.at.utc) - Date.parse(cause.at.utc))
  // What a try brought about is the news; the try is how it came.
  return item.kind === 'event' ? cause.kind === 'event' && later <= TOGETHER_MS : later <= SOON_MS
}

export function byDay(all: Entry[], newestFirst: boolean): Day[] {
  const days: Day[] = []
  for (const entry of newestFirst ? all.toReversed() : all) {
    const date = entry.item.at.wall.slice(0, 10)
    const day = days.at(-1)
    if (day?.date === date) day.entries.push(entry)
    else days.push({ date, entries: [entry] })
  }
  return days
}

export function counts(all: Entry[]): Record<Part, number> {
  const found: Record<Part, number> = { booking: 0, money: 0, saga: 0, messages: 0 }
  for (const entry of all) found[entry.told.part]++
  return found
}

/** From the first cause to the item itself. */
export function chain(id: string, items: TimelineItem[]): TimelineItem[] {
  const found: TimelineItem[] = []
  let next: string | null = id
  while (next !== null && found.length < 12) {
    const item = items.find((other) => other.id === next)
    if (!item || found.includes(item)) break
    found.unshift(item)
    next = item.caused_by
  }
  return found
}
