//! What the list shows, as the address holds it and as the desk is asked for it.

import type { BookingSort, BookingState, ListBookings, PaymentState } from '../../backend/types'
import { addDays } from '../../i18n/format'
import { bookingStates, paymentStates } from '../../states'

export const whens = ['from_today', 'today', 'tomorrow', 'week', 'past', 'any', 'range'] as const
export type When = (typeof whens)[number]

export interface Filters {
  search: string
  states: BookingState[]
  payments: PaymentState[]
  service: string | null
  resource: string | null
  when: When
  /** Only with `range`. */
  from: string
  to: string
  sort: BookingSort
  descending: boolean
}

/** A front desk looks forward: what is over has to be asked for. */
export const usual: Filters = {
  search: '',
  states: [],
  payments: [],
  service: null,
  resource: null,
  when: 'from_today',
  from: '',
  to: '',
  sort: 'starts',
  descending: false,
}

const sorts: BookingSort[] = ['starts', 'changed', 'customer', 'price', 'reference']

export function parse(query: URLSearchParams): Filters {
  const list = (name: string) => query.get(name)?.split(',').filter(Boolean) ?? []
  const when = query.get('when') as When
  const sort = query.get('sort') as BookingSort
  return {
    search: query.get('q') ?? '',
    states: list('state').filter((s): s is BookingState => s in bookingStates),
    payments: list('payment').filter((p): p is PaymentState => p in paymentStates),
    service: query.get('service'),
    resource: query.get('with'),
    when: whens.includes(when) ? when : usual.when,
    from: query.get('from') ?? '',
    to: query.get('to') ?? '',
    sort: sorts.includes(sort) ? sort : usual.sort,
    descending: query.get('desc') === '1',
  }
}

export function address(filters: Filters): string {
  const query = new URLSearchParams()
  if (filters.search) query.set('q', filters.search)
  if (filters.states.length) query.set('state', filters.states.join(','))
  if (filters.payments.length) query.set('payment', filters.payments.join(','))
  if (filters.service) query.set('service', filters.service)
  if (filters.resource) query.set('with', filters.resource)
  if (filters.when !== usual.when) query.set('when', filters.when)
  if (filters.when === 'range') {
    if (filters.from) query.set('from', filters.from)
    if (filters.to) query.set('to', filters.to)
  }
  if (filters.sort !== usual.sort) query.set('sort', filters.sort)
  if (filters.descending) query.set('desc', '1')
  const text = query.toString()
  return text ? `/bookings?${text}` : '/bookings'
}

/** How many clauses narrow the list, the usual "from today on" not counted. */
export function narrowing(f: Filters): number {
  return [f.search, f.states.length, f.payments.length, f.service, f.resource, f.when !== usual.when && f.when !== 'any'].filter(Boolean).length
}

export function days(f: Filters, today: string): { from: string | null; to: string | null } {
  switch (f.when) {
    case 'from_today':
      return { from: today, to: null }
    case 'today':
      return { from: today, to: today }
    case 'tomorrow':
      return { from: addDays(today, 1), to: addDays(today, 1) }
    case 'week':
      return { from: today, to: addDays(today, 6) }
    case 'past':
      return { from: null, to: addDays(today, -1) }
    case 'any':
      return { from: null, to: null }
    case 'range':
      return { from: f.from || null, to: f.to || null }
  }
}

export type Question = Omit<ListBookings, 'after' | 'limit'>

export function question(f: Filters, today: string): Question {
  return {
    search: f.search.trim() || null,
    states: f.states,
    payments: f.payments,
    service_id: f.service,
    resource_id: f.resource,
    ...days(f, today),
    sort: f.sort,
    descending: f.descending,
  }
}
