//! What needs no question before it: asked at once, and told when it is done.

import type { SagaParams, SagaRow } from '../../backend/types'
import { t, type PlainKey } from '../../i18n'
import { explain } from '../../lib/explain'
import { newId } from '../../lib/ids'
import type { Desk } from '../../live/desk'
import type { IconName } from '../../ui/icons'

const acted: Record<string, [PlainKey, IconName]> = {
  retry: ['acted.retry', 'refresh-cw'],
  resume: ['acted.resume', 'play'],
  assign: ['acted.assign', 'user-round-check'],
  unassign: ['acted.unassign', 'user-round'],
  snooze: ['acted.snooze', 'clock'],
}

export async function act(desk: Desk, row: SagaRow, action: 'retry' | 'resume' | 'assign' | 'unassign' | 'snooze', params: SagaParams = {}): Promise<void> {
  try {
    await desk.call('command_saga', {
      command_id: newId(),
      saga_id: row.saga_id,
      action: action === 'unassign' ? 'assign' : action,
      version: row.version,
      plan_hash: null,
      params,
      reason: '',
    })
    const [word, icon] = acted[action]!
    desk.toasts.show(t(word), icon, 'idle')
  } catch (error) {
    desk.toasts.show(explain(error).message, 'circle-x', 'fail')
  }
  desk.live.changed('sagas', 'status', `booking:${row.booking.booking_id}`)
}

/** Nine in the morning after the next midnight, as this computer counts. */
export function tomorrow(now: number): string {
  const date = new Date(now)
  date.setDate(date.getDate() + 1)
  date.setHours(9, 0, 0, 0)
  return date.toISOString()
}
