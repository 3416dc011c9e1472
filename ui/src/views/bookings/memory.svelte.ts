//! Where one was in the list. Coming back from a booking finds the same rows at the same height.

import { getContext, setContext } from 'svelte'
import type { Desk } from '../../live/desk'
import { BookingFeed } from './feed.svelte'

export class ListMemory {
  readonly feed: BookingFeed
  /** The booking that J, K, Enter and Space are about. */
  cursor = $state<string | null>(null)
  peek = $state(false)
  top = 0
  address = '/bookings'

  constructor(desk: Desk) {
    this.feed = new BookingFeed(desk)
  }
}

const KEY = Symbol('list')
export const provideList = (memory: ListMemory): ListMemory => setContext(KEY, memory)
export const useList = (): ListMemory => getContext<ListMemory>(KEY)
