//! Which of the window's questions a hint's topic makes stale: the only place that knows both vocabularies.

import type { Query } from '@tanstack/svelte-query'
import type { BookingPage, SagaFilter } from '../backend/types'

export const keys = {
  host: ['host'],
  session: ['session'],
  leaving: ['leaving'],
  names: ['people', 'names'],
  catalogue: ['catalogue'],
  booking: (id: string) => ['booking', id],
  freeTimes: (service: string, date: string, staff: string | null) => ['free_times', service, date, staff],
  customers: (search: string) => ['customers', search],
  customerHistory: (id: string) => ['customer_history', id],
  found: (search: string) => ['bookings', search],
  messages: ['messages'],
  events: ['events'],
  event: (position: number) => ['events', 'one', position],
  causes: (correlation: string) => ['events', 'causes', correlation],
  stateAsOf: (stream: string, version: number) => ['events', 'state', stream, version],
  eventCatalogue: ['event_catalogue'],
  projections: ['projections'],
  rebuilds: (projection: string | null) => ['projections', 'rebuilds', projection],
  projectionChanges: (projection: string | null, after: string | null) => ['projections', 'changes', projection, after],
  rebuild: (id: string) => ['projections', 'rebuild', id],
  diff: (id: string, kind: string, rows: number) => ['projections', 'diff', id, kind, rows],
  preview: (projection: string, from: string) => ['preview_replay', projection, from],
  sagas: ['sagas'],
  sagaList: (filter: SagaFilter) => ['sagas', 'list', filter],
  sagaFigures: (days: number) => ['sagas', 'figures', String(days)],
  saga: (id: string) => ['sagas', 'one', id],
  sagaPlan: (id: string, action: string, params: string) => ['saga_plan', id, action, params],
  batch: (id: string) => ['sagas', 'batch', id],
  ask: (id: string) => ['saga_ask', id],
  deliveries: ['deliveries'],
  deliveryCounts: ['deliveries', 'counts'],
  delivery: (id: string) => ['deliveries', 'one', id],
  redeliveries: ['deliveries', 'many'],
  recoveryPlan: (id: string, since: string) => ['recovery_plan', id, since],
  redeliveryPlan: (action: string, filter: string) => ['redelivery_plan', action, filter],
  ofBooking: (id: string) => ['deliveries', 'of_booking', id],
  endpoints: ['endpoints'],
  endpoint: (id: string) => ['endpoints', 'one', id],
  endpointHistory: (id: string, span: string) => ['endpoints', 'history', id, span],
  tried: (what: string) => ['tried', what],
  allowList: ['endpoints', 'allow_list'],
  noticeList: ['endpoints', 'notice_list'],
  deliveryRetention: ['endpoints', 'retention'],
  hookCatalogue: ['hook_catalogue'],
  inbox: ['inbox'],
  incomingSecrets: ['inbox', 'secrets'],
  inboxCounts: ['inbox', 'counts'],
  arrival: (id: number) => ['inbox', 'one', id],
  inboxOfBooking: (id: string) => ['inbox', 'of_booking', id],
  backups: ['backups'],
  proofs: ['proofs'],
  space: ['space'],
} as const

/** True when `query` shows something that `topic` says has changed. */
export function concerns(topic: string, query: Query): boolean {
  const [what, id] = query.queryKey
  if (topic === '*') return true
  if (topic.startsWith('booking:')) {
    // A page may have been opened by its reference, so the answer itself is asked whose it is.
    const wanted = topic.slice('booking:'.length)
    const page = query.state.data as BookingPage | undefined
    // A page that found nothing may be about to find this one.
    return what === 'booking' && (!page || id === wanted || page.row.booking_id === wanted)
  }
  switch (topic) {
    case 'bookings':
      return what === 'bookings' || what === 'free_times' || what === 'customer_history'
    case 'catalogue':
      return what === 'catalogue' || what === 'free_times'
    case 'status':
    case 'host':
      return what === 'host'
    // A delivery changes what its endpoint owes and how it is.
    case 'deliveries':
      return what === 'deliveries' || what === 'endpoints'
    case 'customers':
    case 'messages':
    case 'events':
    case 'projections':
    case 'sagas':
    case 'endpoints':
    case 'inbox':
    case 'backups':
    case 'proofs':
      return what === topic
    default:
      return false
  }
}
