//! Which of somebody's bookings are meant, when a name is all that is said.

import type { BookingRow } from '../../backend/types'
import { addDays } from '../../i18n/format'
import type { Desk } from '../../live/desk'
import { question, usual } from '../bookings/filters'

/** Who calls mostly asks about what comes next: from today on the nearest first, then what was, the latest first. */
export async function nearest(desk: Desk, search: string, today: string, limit: number): Promise<BookingRow[]> {
  const asked = { ...question({ ...usual, search }, today), after: null }
  const coming = (await desk.call('list_bookings', { ...asked, limit })).rows
  if (coming.length === limit) return coming
  const past = await desk.call('list_bookings', { ...asked, from: null, to: addDays(today, -1), descending: true, limit: limit - coming.length })
  return [...coming, ...past.rows]
}
