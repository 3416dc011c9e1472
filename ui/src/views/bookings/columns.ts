//! The columns of the list. Widths are fixed so that nothing moves when a value changes.

import type { BookingSort } from '../../backend/types'
import type { PlainKey } from '../../i18n'

export interface Column {
  id: string
  word: PlainKey
  width: string
  sort?: BookingSort
  /** Goes when the window is narrower than 1200. */
  wide?: true
  right?: true
}

export const columns: Column[] = [
  { id: 'reference', word: 'column.reference', width: '92px', sort: 'reference' },
  { id: 'customer', word: 'column.customer', width: 'minmax(132px, 1.5fr)', sort: 'customer' },
  { id: 'service', word: 'column.service', width: 'minmax(104px, 1.05fr)' },
  { id: 'with', word: 'column.with', width: 'minmax(104px, 1fr)', wide: true },
  { id: 'when', word: 'column.when', width: '148px', sort: 'starts' },
  { id: 'state', word: 'column.state', width: '144px' },
  { id: 'payment', word: 'column.payment', width: '128px' },
  { id: 'price', word: 'column.price', width: '80px', sort: 'price', right: true },
  { id: 'saga', word: 'column.saga', width: '110px' },
  { id: 'changed', word: 'column.changed', width: '64px', sort: 'changed', wide: true, right: true },
]

export const grid = (narrow: boolean, oneDay: boolean): string =>
  columns
    .filter((column) => !(narrow && column.wide))
    .map((column) => (column.id === 'when' && oneDay ? '118px' : column.width))
    .join(' ')
