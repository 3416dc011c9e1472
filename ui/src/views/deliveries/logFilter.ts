//! What the log of deliveries is asked for.

import type { CodeClass, DeliveryFilter, DeliveryState, ErrorClass } from '../../backend/types'
import { utcOf } from '../../lib/zoned'
import { instantOf, payloadOf, type Since } from './filters'

export interface LogFilter {
  since: Since | null
  until: string | null
  states: DeliveryState[]
  to: string[]
  events: string[]
  codes: CodeClass[]
  errors: ErrorClass[]
  booking: string | null
  event: string | null
  payload: string | null
  search: string | null
}
export const wholeLog: LogFilter = { since: null, until: null, states: [], to: [], events: [], codes: [], errors: [], booking: null, event: null, payload: null, search: null }

export function logQuestion(filter: LogFilter, now: number, zone: string): DeliveryFilter {
  return {
    since: filter.since ? instantOf(filter.since, now, zone) : null,
    until: filter.until ? utcOf(filter.until, zone) : null,
    states: filter.states,
    destination_ids: filter.to,
    events: filter.events,
    codes: filter.codes,
    errors: filter.errors,
    booking_id: filter.booking,
    event_id: filter.event,
    payload: payloadOf(filter.payload),
    search: filter.search,
  }
}
