//! What the list of sagas is asked for, as the address holds it and as the desk understands it.

import type { PriceRange, SagaFilter, SagaTab } from '../../backend/types'
import type { PlainKey } from '../../i18n'
import { tabs } from './words'

/** In hours. */
export const ages: Record<string, PlainKey> = { '1': 'sagas.older.1h', '24': 'sagas.older.1d', '168': 'sagas.older.7d' }
export const definitions: Record<string, PlainKey> = { booking: 'figures.kind.booking', booking_free: 'figures.kind.booking_free', cancellation: 'figures.kind.cancellation' }

/** `EUR:5000:` is from €50.00 on. */
export function priceText({ currency, from_minor, to_minor }: PriceRange): string {
  return [currency, from_minor ?? '', to_minor ?? ''].join(':')
}

function priceOf(text: string | null): PriceRange | null {
  const found = /^([A-Z]{3}):(\d{0,12}):(\d{0,12})$/.exec(text ?? '')
  if (!found) return null
  const [, currency, from, to] = found as unknown as [string, string, string, string]
  return { currency, from_minor: from ? Number(from) : null, to_minor: to ? Number(to) : null }
}

export function filterOf(query: URLSearchParams, search: string): SagaFilter {
  const tab = (tabs.find((name) => name === query.get('tab')) ?? 'needs_person') as SagaTab
  const who = query.get('who')
  const older = query.get('older') ?? ''
  return {
    tab,
    group: tab === 'needs_person' ? query.get('group') : null,
    who: who === 'me' || who === 'nobody' ? who : null,
    search: search || null,
    definition: query.get('kind'),
    older_than_h: older in ages ? Number(older) : null,
    price: priceOf(query.get('price')),
    order: query.get('by') === 'price' ? 'price' : 'time',
  }
}

/** True where it shows less than its tab, or its group, holds. */
export const narrows = ({ who, search, definition, older_than_h, price }: SagaFilter): boolean => [who, search, definition, older_than_h, price].some((one) => one !== null)
