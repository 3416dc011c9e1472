//! Where the bars of a saga go. Time that nothing begins or ends in is folded once it is long, because a hold of
//! twelve milliseconds and a customer who pays after twenty minutes stand on the same line.

import type { SagaStep } from '../../backend/types'

/** A stretch without beginning or end that is longer than this is folded. */
const FOLD_MS = 20_000
/** What a folded stretch takes up, as a share of the whole. */
const FOLD_SHARE = 0.07

export interface Fold {
  x: number
  width: number
  ms: number
}

export interface Scale {
  /** Where an instant stands, from 0 to 1. */
  at: (time: number) => number
  folds: Fold[]
  from: number
  to: number
}

export function scale(instants: number[]): Scale {
  const marks = [...new Set(instants)].sort((a, b) => a - b)
  const from = marks[0] ?? 0
  const to = Math.max(marks.at(-1) ?? 0, from + 1)
  const gaps = marks.slice(1).map((mark, i) => mark - marks[i]!)
  const folded = gaps.filter((gap) => gap > FOLD_MS).length
  const open = gaps.reduce((sum, gap) => sum + (gap > FOLD_MS ? 0 : gap), 0)
  // With nothing left open the folds share the whole width among them.
  const share = open === 0 && folded > 0 ? 1 / folded : Math.min(FOLD_SHARE, 0.5 / Math.max(1, folded))
  const rest = 1 - folded * share

  const places = [0]
  const folds: Fold[] = []
  gaps.forEach((gap, i) => {
    const width = gap > FOLD_MS ? share : open === 0 ? 0 : (gap / open) * rest
    if (gap > FOLD_MS) folds.push({ x: places[i]!, width, ms: gap })
    places.push(places[i]! + width)
  })

  const at = (time: number): number => {
    if (time <= from) return 0
    if (time >= to) return places.at(-1) ?? 1
    const i = marks.findLastIndex((mark) => mark <= time)
    const gap = gaps[i] ?? 1
    return places[i]! + ((time - marks[i]!) / gap) * (places[i + 1]! - places[i]!)
  }
  return { at, folds, from, to }
}

/** Every instant that the lanes of a saga show. */
export function instants(steps: SagaStep[], now: number, running: boolean): number[] {
  const all = steps
    .flatMap((step) => [step.started_at, step.ended_at, step.undo_started_at, step.undo_ended_at])
    .filter((time): time is string => time !== null)
    .map((time) => Date.parse(time))
  if (running && all.length > 0) all.push(now)
  return all
}
