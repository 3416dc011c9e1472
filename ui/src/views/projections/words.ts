//! Sentences about projections and rebuilds that more than one part of the page says.

import type { Projection, Rebuild, RebuildPhase, ReplayFrom, ReplaySpeed } from '../../backend/types'
import { t, type PlainKey } from '../../i18n'
import { duration, grouped, shortDate } from '../../i18n/format'

export const phases: RebuildPhase[] = ['prepare', 'read', 'catch_up', 'compare', 'swap']
export const phaseNames: Record<RebuildPhase, PlainKey> = {
  prepare: 'phase.prepare',
  read: 'phase.read',
  catch_up: 'phase.catch_up',
  compare: 'phase.compare',
  swap: 'phase.swap',
}
export const speeds: [ReplaySpeed, PlainKey][] = [
  ['gentle', 'speed.gentle'],
  ['normal', 'speed.normal'],
  ['all_cores', 'speed.all_cores'],
]

/** 0 to 100; whole only when everything is read. */
export function percent(rebuild: Rebuild): number {
  if (rebuild.state === 'waits_for_swap' || rebuild.state === 'done') return 100
  if (rebuild.events_total === 0) return 0
  return Math.min(rebuild.phase === 'read' || rebuild.phase === 'prepare' ? 99 : 100, Math.floor((rebuild.events_done / rebuild.events_total) * 100))
}

/** `2 min 10 s`: what is left is watched, so its seconds count. */
export function left(seconds: number): string {
  if (seconds < 60 || seconds >= 300) return duration(seconds * 1000)
  const rest = Math.round(seconds) % 60
  const minutes = Math.floor(Math.round(seconds) / 60)
  return rest ? `${minutes} min ${String(rest).padStart(2, '0')} s` : `${minutes} min`
}

export function fromWords(from: ReplayFrom): string {
  switch (from.from) {
    case 'start':
      return t('from.start')
    case 'position':
      return t('from.position', { position: grouped(from.position) })
    case 'time':
      return t('from.time', { time: `${shortDate(from.wall.slice(0, 10))} ${from.wall.slice(11, 16)}` })
    case 'stream':
      return t('from.stream', { stream: from.stream })
  }
}

export const going = (rebuild: Rebuild): boolean => ['running', 'paused', 'waits_for_swap'].includes(rebuild.state)

export function counts(rows: Projection[]) {
  const of = (state: Projection['state']) => rows.filter((row) => row.state === state).length
  return { upToDate: rows.filter((row) => row.state === 'up_to_date' || (row.state === 'rebuilding' && row.lag_events === 0)).length, parked: of('parked'), paused: of('paused'), behind: of('behind'), unknown: of('unknown') }
}
