import type { Redelivery } from '../../backend/types'
import { explain } from '../../lib/explain'
import type { Desk } from '../../live/desk'

export type Change = 'stop' | 'go_on' | 'cancel'

/** Stops, goes on or ends what is being sent again. What has left has left. */
export async function changeMany(desk: Desk, one: Redelivery, change: Change): Promise<void> {
  try {
    await desk.call('change_redelivery', { bulk_id: one.bulk_id, change })
  } catch (error) {
    desk.toasts.show(explain(error).message, 'circle-x', 'fail')
  }
  desk.live.changed('deliveries')
}
