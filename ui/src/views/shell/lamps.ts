//! What the status bar says about each of the things the desk leans on.

import type { EndpointTrouble, Lamp, Session, Status } from '../../backend/types'
import { t } from '../../i18n'
import { duration } from '../../i18n/format'
import { lampStates, type Role } from '../../states'
import type { IconName } from '../../ui/icons'
import { endpointPath } from '../../lib/router.svelte'
import { atMoment, moment } from '../deliveries/times'

export interface Told {
  id: string
  icon: IconName
  text: string
  role: Role | null
  problem: string | null
  hint: string | null
  checkedAt: string | null
  /** Where it can be looked at. */
  places?: { name: string; path: string }[]
}

export function lamps(status: Status | null, session: Session, stale: boolean, now: number): Told[] {
  if (!status) return []
  return [
    database(status, session, stale),
    work(status),
    lag(status),
    service('stripe', 'credit-card', status.stripe, now),
    service('mail', 'mail', status.mail, now),
    ...endpoints(status, session, now),
  ]
}

function database(status: Status, session: Session, stale: boolean): Told {
  const lamp = status.database
  const name = session.profile === 'server' ? t('status.shared') : t('status.own')
  const base = { id: 'database', problem: lamp.problem, hint: lamp.hint, checkedAt: lamp.checked_at }
  if (stale || lamp.state === 'down') {
    return { ...base, icon: 'unplug', role: 'risk', text: t('status.database.silent', { name }), problem: lamp.problem ?? t('stale.no_answer') }
  }
  const text = lamp.latency_ms === null ? name : t('status.database', { name, ms: lamp.latency_ms })
  return { ...base, icon: 'database', role: roleOf(lamp), text }
}

function work(status: Status): Told {
  const none = status.workers === 0
  return {
    id: 'work',
    icon: none ? 'pause' : 'cpu',
    role: none ? 'risk' : null,
    text: none
      ? t('status.work.none')
      : status.works_here
        ? status.workers === 1
          ? t('status.work.here')
          : t('status.work.here_and', { n: status.workers - 1 })
        : t('status.work', { n: status.workers }),
    problem: none ? t('status.work.none.problem') : null,
    hint: none ? t('status.work.none.hint') : null,
    checkedAt: status.now.utc,
  }
}

/** Behind by less than two seconds is how reading works and nothing to tell. */
const SLOW_SECONDS = 2

function lag(status: Status): Told {
  const parked = status.projections.find((p) => p.parked)
  const behind = status.projections.toSorted((a, b) => b.lag_seconds - a.lag_seconds)[0]
  if (parked) {
    return {
      id: 'lag',
      icon: 'hand',
      role: 'person',
      text: t('status.lag.parked'),
      problem: parked.parked,
      hint: t('status.lag.parked.hint', { name: parked.name }),
      checkedAt: status.now.utc,
    }
  }
  if (behind && behind.lag_seconds >= SLOW_SECONDS) {
    return {
      id: 'lag',
      icon: 'triangle-alert',
      role: 'risk',
      text: t('status.lag.behind', { time: duration(behind.lag_seconds * 1000) }),
      problem: t('status.lag.behind.problem', { n: behind.lag_events }),
      hint: status.lag_cause,
      checkedAt: status.now.utc,
    }
  }
  return { id: 'lag', icon: 'layers', role: null, text: t('status.lag.none'), problem: null, hint: null, checkedAt: status.now.utc }
}

function service(id: 'stripe' | 'mail', icon: IconName, lamp: Lamp, now: number): Told {
  const name = t(id === 'stripe' ? 'status.stripe' : 'status.mail')
  const age = lamp.checked_at === null ? null : duration(now - Date.parse(lamp.checked_at))
  const text =
    lamp.state === 'works'
      ? age === null
        ? t('status.works', { name })
        : t('status.checked', { name, age })
      : `${name}: ${t(lampStates[lamp.state].word)}`
  return {
    id,
    icon: lamp.state === 'works' || lamp.state === 'not_set' ? icon : lampStates[lamp.state].icon,
    role: roleOf(lamp),
    text,
    problem: lamp.problem,
    hint: lamp.hint,
    checkedAt: lamp.checked_at,
  }
}

/** Endpoints that turned themselves off, or will: only while there is one. */
function endpoints(status: Status, session: Session, now: number): Told[] {
  const all = status.endpoints_in_trouble
  if (all.length === 0) return []
  const off = all.filter((one) => one.off !== null)
  return [
    {
      id: 'endpoints',
      icon: off.length ? 'hand' : 'triangle-alert',
      role: off.length ? 'person' : 'risk',
      text: off.length ? t('trouble.off', { n: off.length }) : t('trouble.failing', { n: all.length }),
      problem: all.map((one) => troubleSays(one, session.zone, now)).join(' '),
      hint: null,
      checkedAt: status.now.utc,
      places: all.map((one) => ({ name: one.name, path: endpointPath(one.destination_id) })),
    },
  ]
}

export function troubleSays(one: EndpointTrouble, zone: string, now: number): string {
  if (one.off === 'gone') return t('trouble.told.gone', { name: one.name })
  if (one.off !== null || one.since === null || one.off_at === null) return t('trouble.told.off', { name: one.name })
  return t('trouble.told.failing', { name: one.name, since: moment(one.since, zone, now), at: atMoment(one.off_at, zone, now) })
}

/** What works has no colour: calm is the resting state. */
function roleOf(lamp: Lamp): Role | null {
  return lamp.state === 'works' || lamp.state === 'not_set' ? null : lampStates[lamp.state].role
}
