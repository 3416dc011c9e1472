//! How an endpoint is sent, as text in fields and as the desk keeps it.

import type { EndpointSending } from '../../backend/types'

export const usual: EndpointSending = {
  schedule_s: [0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400],
  timeout_ms: 15_000,
  max_in_flight: 8,
  rate_per_s: null,
  in_order: false,
  headers: {},
}

const UNITS: Record<string, number> = { s: 1, sec: 1, min: 60, m: 60, h: 3600, d: 86_400 }

/** `0, 5 s, 5 min, 2 h`. Null: it cannot be read. */
export function parseSchedule(text: string): number[] | null {
  const parts = text.split(/[,;]+/).map((part) => part.trim()).filter(Boolean)
  if (parts.length === 0) return null
  const found = parts.map((part) => {
    const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(part)
    const unit = match?.[2] ? UNITS[match[2].toLowerCase()] : 1
    return match && unit !== undefined ? Math.round(Number(match[1]) * unit) : null
  })
  return found.every((one) => one !== null) ? (found as number[]) : null
}

/** `2.5` or `2,5`, in milliseconds. Null: it cannot be read. */
export function parseSeconds(text: string): number | null {
  const match = /^\d+(?:[.,]\d+)?$/.exec(text.trim())
  const ms = match ? Math.round(Number(match[0].replace(',', '.')) * 1000) : 0
  return ms > 0 ? ms : null
}

export function printSchedule(seconds: number[]): string {
  return seconds
    .map((s) => {
      if (s === 0) return '0'
      if (s % 86_400 === 0) return `${s / 86_400} d`
      if (s % 3600 === 0) return `${s / 3600} h`
      if (s % 60 === 0) return `${s / 60} min`
      return `${s} s`
    })
    .join(', ')
}

/** `x-tenant: halcyon` line by line. Null: it cannot be read. */
export function parseHeaders(text: string): Record<string, string> | null {
  const found: Record<string, string> = {}
  for (const line of text.split('\n').map((each) => each.trim()).filter(Boolean)) {
    const match = /^([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*:\s*(.*)$/.exec(line)
    if (!match) return null
    found[match[1]!.toLowerCase()] = match[2]!
  }
  return found
}

export function printHeaders(headers: Record<string, string>): string {
  return Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}`)
    .join('\n')
}
