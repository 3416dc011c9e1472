//! The figures of an endpoint over time as shapes and words.

import type { EndpointBar, EndpointSpan } from '../../backend/types'
import { t } from '../../i18n'
import { clockIn, dateIn, shortDate, took } from '../../i18n/format'

/** Of a bar with the gap behind it. */
export const STEP = 10
/** Lengths are counted between these; what is longer is one with the longest. */
export const SHORTEST_MS = 10
export const LONGEST_MS = 10_000

export interface Stacked {
  x: number
  ok: number
  bad: number
}

/** The most is as high as there is room. What there was of either is seen, however little it is. */
export function stacked(bars: EndpointBar[], height: number): Stacked[] {
  const most = Math.max(1, ...bars.map((bar) => bar.delivered + bar.failed))
  const high = (n: number) => (n === 0 ? 0 : Math.max(2, (n / most) * height))
  return bars.map((bar, i) => {
    const bad = Math.min(high(bar.failed), height)
    return { x: i * STEP + 1, ok: Math.min(high(bar.delivered), height - bad), bad }
  })
}

/** Each ten times as long is the same way up: 10 ms lies at the ground. Where nothing was measured it has a gap. */
export function line(values: (number | null)[], height: number): string {
  const y = (ms: number) => height - 2 - (Math.log(Math.max(ms, SHORTEST_MS) / SHORTEST_MS) / Math.log(LONGEST_MS / SHORTEST_MS)) * (height - 4)
  return values
    .map((ms, i) => {
      if (ms === null) return ''
      const begins = (values[i - 1] ?? null) === null
      // A figure alone between gaps is a dot: a line of no length with round ends.
      const dot = begins && (values[i + 1] ?? null) === null ? 'h0' : ''
      return `${begins ? 'M' : 'L'}${i * STEP + STEP / 2} ${y(ms).toFixed(1)}${dot}`
    })
    .join('')
}

/** What is told as the longest took longer than the length before it. */
export const within = (ms: number): string => (ms < LONGEST_MS ? took(ms) : t('history.long', { time: took(5000) }))

export function barTime(bar: EndpointBar, span: EndpointSpan, zone: string): string {
  return span === 'day' ? clockIn(bar.from, zone) : shortDate(dateIn(bar.from, zone))
}
