//! From a delivery or an arrival to what it is about.

import { explain } from '../../lib/explain'
import { bookingPath, sagaPath } from '../../lib/router.svelte'
import type { Desk } from '../../live/desk'
import { t } from '../../i18n'

/** The saga of a booking: which one it is, only the booking's page knows. */
export async function goToSaga(desk: Desk, reference: string | null): Promise<void> {
  if (!reference) return desk.toasts.show(t('go.no_booking'), 'info', 'idle')
  try {
    const page = await desk.call('get_booking', { booking: reference })
    if (page.saga) desk.router.go(sagaPath(page.saga.saga_id))
    else desk.toasts.show(t('go.no_saga'), 'info', 'idle')
  } catch (error) {
    desk.toasts.show(explain(error).message, 'circle-x', 'fail')
  }
}

export function goToBooking(desk: Desk, reference: string | null): void {
  if (reference) desk.router.go(bookingPath(reference))
  else desk.toasts.show(t('go.no_booking'), 'info', 'idle')
}
