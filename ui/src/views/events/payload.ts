//! A payload as lines: as it is stored, or as it is read with what reading it changed. Sealed fields become words.

import type { SealedField, SealState } from '../../backend/types'
import { lines, type Part } from '../../lib/json'

export interface Row {
  /** `+` came by reading, `-` is only in what is stored. */
  mark: '+' | '-' | ' '
  parts: (Part | Sealed)[]
}
export interface Sealed {
  kind: 'sealed'
  state: SealState
}

const MARK = '\u0002sealed:'

/** Puts a mark where a field is sealed, so that its bytes are never shown as if they said something. */
export function covered(value: unknown, sealed: SealedField[]): unknown {
  const hidden = sealed.filter((field) => field.state !== 'opened')
  if (hidden.length === 0) return value
  const copy = structuredClone(value)
  for (const field of hidden) {
    const path = field.path.split('.')
    const last = path.pop()!
    let at: unknown = copy
    for (const step of path) at = typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[step] : undefined
    if (typeof at === 'object' && at !== null && last in at) (at as Record<string, unknown>)[last] = MARK + field.state
  }
  return copy
}

export function shown(value: unknown, sealed: SealedField[]): Row[] {
  return lines(covered(value, sealed)).map((parts) => ({ mark: ' ', parts: parts.map(words) }))
}

/** Line by line: `stored` on the left, `read` on the right. */
export function difference(stored: unknown, read: unknown, sealed: SealedField[]): Row[] {
  const left = lines(covered(stored, sealed))
  const right = lines(covered(read, sealed))
  const text = (parts: Part[]) =>
    parts
      .map((part) => part.text)
      .join('')
      // A comma more, because another line follows now, is no difference.
      .replace(/,$/, '')
  const a = left.map(text)
  const b = right.map(text)
  // The longest common run, by the book: payloads are a few dozen lines.
  const best = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1))
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) best[i]![j] = a[i] === b[j] ? best[i + 1]![j + 1]! + 1 : Math.max(best[i + 1]![j]!, best[i]![j + 1]!)
  }
  const rows: Row[] = []
  let i = 0
  let j = 0
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      rows.push({ mark: ' ', parts: right[j]!.map(words) })
      i++
      j++
    } else if (i < a.length && (j === b.length || best[i + 1]![j]! >= best[i]![j + 1]!)) {
      rows.push({ mark: '-', parts: left[i++]!.map(words) })
    } else {
      rows.push({ mark: '+', parts: right[j++]!.map(words) })
    }
  }
  return rows
}

function words(part: Part): Part | Sealed {
  const state = /^"\\u0002sealed:(\w+)"$/.exec(part.text)?.[1]
  return state ? { kind: 'sealed', state: state as SealState } : part
}
