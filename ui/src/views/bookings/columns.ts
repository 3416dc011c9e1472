//! The columns of the list. Widths are fixed so that nothing moves when a value changes, and a column goes as a whole
//! when the list is too narrow for it: what is cut in the middle says nothing.

import type { BookingSort } from '../../backend/types'
import type { PlainKey } from '../../i18n'

export interface Column {
  id: 'reference' | 'customer' | 'service' | 'with' | 'when' | 'state' | 'payment' | 'price' | 'saga' | 'changed'
  word: PlainKey
  width: string
  sort?: BookingSort
  /** The list must be this wide for it. */
  from?: number
  right?: true
}

const columns: Column[] = [
  { id: 'reference', word: 'column.reference', width: '92px', sort: 'reference' },
  { id: 'customer', word: 'column.customer', width: 'minmax(128px, 1.5fr)', sort: 'customer' },
  { id: 'service', word: 'column.service', width: 'minmax(104px, 1.05fr)', from: 964 },
  { id: 'with', word: 'column.with', width: 'minmax(104px, 1fr)', from: 1132 },
  { id: 'when', word: 'column.when', width: '146px', sort: 'starts' },
  { id: 'state', word: 'column.state', width: '152px' },
  { id: 'payment', word: 'column.payment', width: '142px', from: 870 },
  { id: 'price', word: 'column.price', width: '80px', sort: 'price', right: true, from: 728 },
  { id: 'saga', word: 'column.saga', width: '110px' },
  { id: 'changed', word: 'column.changed', width: '64px', sort: 'changed', right: true, from: 1132 },
]

export const fitting = (width: number): Column[] => columns.filter((column) => width >= (column.from ?? 0))

export const template = (shown: Column[], oneDay: boolean): string =>
  shown.map((column) => (column.id === 'when' && oneDay ? '118px' : column.width)).join(' ')
