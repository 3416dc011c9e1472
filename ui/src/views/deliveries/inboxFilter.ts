//! What the inbox is asked for.

import type { InboxFilter, InboxResult, InboxVia } from '../../backend/types'
import { utcOf } from '../../lib/zoned'
import { instantOf, payloadOf, type Since } from './filters'

export interface CameFilter {
  since: Since | null
  until: string | null
  results: InboxResult[]
  via: InboxVia | null
  kinds: string[]
  booking: string | null
  /** What this decision for many had processed again. */
  decision: string | null
  payload: string | null
  search: string | null
}
export const wholeInbox: CameFilter = { since: null, until: null, results: [], via: null, kinds: [], booking: null, decision: null, payload: null, search: null }

export function inboxQuestion(filter: CameFilter, now: number, zone: string): InboxFilter {
  return {
    since: filter.since ? instantOf(filter.since, now, zone) : null,
    until: filter.until ? utcOf(filter.until, zone) : null,
    results: filter.results,
    via: filter.via,
    kinds: filter.kinds,
    booking_id: filter.booking,
    decision: filter.decision,
    payload: payloadOf(filter.payload),
    search: filter.search,
  }
}
