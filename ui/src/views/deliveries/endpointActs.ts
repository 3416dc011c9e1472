//! What can be done to an endpoint, and what is asked before it.

import type { Endpoint, EndpointAction, EndpointRow } from '../../backend/types'
import { number, t } from '../../i18n'
import { explain } from '../../lib/explain'
import type { Desk } from '../../live/desk'
import type { Line } from '../../ui/ReasonDialog.svelte'
import { doneWords } from './endpointWords'

/** Done at once: it can be taken back by pressing the other button. */
export const AT_ONCE: ReadonlySet<EndpointAction> = new Set<EndpointAction>(['resume', 'try_now', 'keep_on'])

/** What managers may do; the rest is for admins, as the database has it. */
const MANAGERS: ReadonlySet<EndpointAction> = new Set<EndpointAction>(['pause', 'resume', 'try_now', 'send_held', 'send_held_newest', 'cancel_held'])

/** Why the person may not do one thing or the other to an endpoint. */
export interface Refusals {
  /** Making, changing, turning on and off, deleting, secrets. */
  admin: string | null
  /** Keeping it going: pausing, trying, testing, deciding what is held. */
  manager: string | null
}
export const refusalOf = (refusals: Refusals, action: EndpointAction): string | null => (MANAGERS.has(action) ? refusals.manager : refusals.admin)

export async function changeEndpoint(desk: Desk, row: EndpointRow, action: EndpointAction, reason = '', recover_since: string | null = null): Promise<Endpoint> {
  try {
    const changed = await desk.call('change_endpoint', { destination_id: row.destination_id, version: row.version, action, recover_since, reason })
    desk.toasts.show(t(doneWords[action]), action === 'try_now' ? 'refresh-cw' : 'check', 'idle')
    return changed
  } finally {
    desk.live.changed('endpoints', 'deliveries', 'status')
  }
}

export async function atOnce(desk: Desk, row: EndpointRow, action: EndpointAction): Promise<void> {
  try {
    await changeEndpoint(desk, row, action)
  } catch (error) {
    desk.toasts.show(explain(error).message, 'circle-x', 'fail')
  }
}

export interface Asked {
  title: string
  hint: string
  lines: Line[]
  go: string
  keep: string
  note: string
  kind: 'primary' | 'danger' | 'decide'
  /** Must be typed, where a mistake would cost most. */
  typed?: string
}

/** What is said before it is done; only of what asks. */
export function question(row: EndpointRow, action: EndpointAction): Asked {
  const owed: Line = { icon: 'hourglass', what: row.owed ? t('ask.owed_waits', { n: row.owed }) : t('ask.nothing_owed') }
  switch (action) {
    case 'pause':
      return {
        title: t('ask.pause', { name: row.name }),
        hint: t('ask.pause.hint'),
        lines: [{ icon: 'pause', what: t('ask.pause.stops'), so: t('ask.pause.stops.so') }, owed],
        go: t('ask.pause.go'),
        keep: t('ask.pause.keep'),
        note: t('ask.pause.note'),
        kind: 'primary',
      }
    case 'disable':
      return {
        title: t('ask.disable', { name: row.name }),
        hint: t('ask.disable.hint'),
        lines: [
          { icon: 'power-off', what: t('ask.disable.off'), so: t('ask.disable.off.so') },
          { icon: 'ban', what: row.owed ? t('ask.disable.owed', { n: row.owed }) : t('ask.nothing_owed') },
        ],
        go: t('ask.disable.go'),
        keep: t('ask.disable.keep'),
        note: t('ask.disable.note'),
        kind: 'danger',
      }
    case 'delete':
      return {
        title: t('ask.delete', { name: row.name }),
        hint: t('ask.delete.hint'),
        lines: [
          { icon: 'trash', what: t('ask.delete.gone'), so: t('ask.delete.gone.so') },
          { icon: 'ban', what: row.owed ? t('ask.disable.owed', { n: row.owed }) : t('ask.nothing_owed') },
          { icon: 'history', what: t('ask.delete.log'), so: t('ask.delete.log.so') },
        ],
        go: t('ask.delete.go'),
        keep: t('ask.disable.keep'),
        note: t('ask.no_undo'),
        kind: 'danger',
        typed: row.name,
      }
    case 'send_held':
    case 'send_held_newest':
    case 'cancel_held':
      return {
        title: t(action === 'cancel_held' ? 'ask.held.cancel' : action === 'send_held' ? 'ask.held.all' : 'ask.held.newest', { n: row.held, name: row.name }),
        hint: t('ask.held.hint'),
        lines:
          action === 'cancel_held'
            ? [{ icon: 'ban', what: t('ask.held.cancel.so'), amount: number(row.held) }]
            : action === 'send_held'
              ? [{ icon: 'send', what: t('ask.held.all.so'), so: t('ask.held.pace'), amount: number(row.held) }]
              : [
                  { icon: 'send', what: t('ask.held.newest.so'), so: t('ask.held.pace') },
                  { icon: 'corner-up-right', what: t('ask.held.newest.out') },
                ],
        go: t(action === 'cancel_held' ? 'held.cancel' : action === 'send_held' ? 'held.all' : 'held.newest'),
        keep: t('ask.held.keep'),
        note: t('ask.no_undo'),
        kind: 'decide',
      }
    default:
      return { title: row.name, hint: '', lines: [], go: t('ask.pause.go'), keep: t('close'), note: '', kind: 'primary' }
  }
}
