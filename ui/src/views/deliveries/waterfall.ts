//! Where the time of a try went, phase after phase on one track.

import type { TryTimings } from '../../backend/types'
import type { PlainKey } from '../../i18n'

export interface Phase {
  name: PlainKey
  ms: number
  /** Per cent of the whole. */
  left: number
  width: number
  /** What the eye must find. */
  longest: boolean
}

const PHASES: [key: Exclude<keyof TryTimings, 'total_ms'>, name: PlainKey][] = [
  ['dns_ms', 'try.dns'],
  ['connect_ms', 'try.connect'],
  ['tls_ms', 'try.tls'],
  ['first_byte_ms', 'try.first_byte'],
  ['body_ms', 'try.body'],
]

/** What did not happen has no line: a kept connection needs no look-up. What no phase tells is waiting. */
export function phases(timings: TryTimings): Phase[] {
  const made = PHASES.flatMap(([key, name]) => (timings[key] === null ? [] : [{ name, ms: timings[key]! }]))
  const told = made.reduce((sum, phase) => sum + phase.ms, 0)
  const rest = timings.total_ms - told
  // A try that ended before its first byte was waiting for it all the time.
  if (rest > Math.max(5, timings.total_ms / 50)) made.push({ name: timings.first_byte_ms === null ? 'try.waited' : 'try.rest', ms: rest })
  const whole = Math.max(1, told, timings.total_ms)
  const most = Math.max(...made.map((phase) => phase.ms))
  let at = 0
  return made.map((phase) => {
    const left = (at / whole) * 100
    at += phase.ms
    return { ...phase, left, width: (phase.ms / whole) * 100, longest: phase.ms === most && made.length > 1 }
  })
}
