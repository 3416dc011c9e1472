//! The bookings behind a list of any length, read in keyset pages.
//!
//! A page is known by the key it starts after, so a row that comes or goes shifts nothing in the pages behind it until
//! they are asked for again. On a change only the pages in sight are read anew; the others are marked and wait until
//! somebody scrolls to them. The scroll bar shows all that match, so a jump reads the pages between, in big bites.

import type { BookingList, BookingRow } from '../../backend/types'
import type { Desk } from '../../live/desk'
import type { Question } from './filters'

const PAGE = 200
const BIG_PAGE = 1000
/** Rows to have ready beyond the last one in sight. */
const AHEAD = 60

interface Page {
  after: string | null
  limit: number
  rows: BookingRow[]
  next: string | null
  dirty: boolean
}

export class BookingFeed {
  total = $state(0)
  matched = $state(0)
  /** Rows are on screen that answer an older question. */
  pending = $state(true)
  error = $state.raw<unknown>(null)
  /** Grows with every answer: what to depend on. */
  version = $state(0)

  #desk: Desk
  #pages: Page[] = []
  #question: Question | null = null
  #key = ''
  #round = 0
  #changes = 0
  #first = 0
  #last = 0
  #pumping = false
  /** The row that must stay where it is on the screen, and who moves the page when it does not. */
  anchor: () => string | null = () => null
  onshift: (rows: number) => void = () => {}
  onanswer: () => void = () => {}

  constructor(desk: Desk) {
    this.#desk = desk
  }

  /** Listens for changes until the returned function is called. */
  start(): () => void {
    return this.#desk.live.onChange((topic) => {
      if (topic === 'bookings' || topic === '*' || topic.startsWith('booking:')) this.refresh()
    })
  }

  ask(question: Question): void {
    const key = JSON.stringify(question)
    if (key === this.#key) return
    this.#key = key
    this.#question = question
    this.#round++
    this.pending = true
    this.error = null
    void this.#pump()
  }

  refresh(): void {
    this.#changes++
    for (const page of this.#pages) page.dirty = true
    void this.#pump()
  }

  /** Rows `first` to `last` are in sight. */
  need(first: number, last: number): void {
    this.#first = first
    this.#last = last
    void this.#pump()
  }

  get loaded(): number {
    return this.#pages.reduce((sum, page) => sum + page.rows.length, 0)
  }

  at(index: number): BookingRow | undefined {
    let rest = index
    for (const page of this.#pages) {
      if (rest < page.rows.length) return page.rows[rest]
      rest -= page.rows.length
    }
    return undefined
  }

  indexOf(bookingId: string): number {
    let before = 0
    for (const page of this.#pages) {
      const found = page.rows.findIndex((row) => row.booking_id === bookingId)
      if (found >= 0) return before + found
      before += page.rows.length
    }
    return -1
  }

  // ---- reading -----------------------------------------------------------------------------------------

  async #pump(): Promise<void> {
    if (this.#pumping || !this.#question) return
    this.#pumping = true
    try {
      for (;;) {
        const round = this.#round
        const work = this.#nextWork()
        if (!work) break
        const changes = this.#changes
        const reply = await this.#desk.call('list_bookings', { ...this.#question, after: work.after, limit: work.limit })
        // The question changed meanwhile: this answer is nobody's.
        if (round !== this.#round) continue
        this.#take(work, reply, changes !== this.#changes)
      }
      this.error = null
    } catch (error) {
      this.error = error
    } finally {
      this.#pumping = false
    }
  }

  #nextWork(): { index: number; after: string | null; limit: number } | null {
    if (this.pending) return { index: 0, after: null, limit: PAGE }
    let start = 0
    for (const [index, page] of this.#pages.entries()) {
      const end = start + page.rows.length
      const seen = start <= this.#last && end >= this.#first
      if (page.dirty && (seen || (start === 0 && end === 0))) return { index, after: page.after, limit: page.limit }
      start = end
    }
    const last = this.#pages.at(-1)
    if (last?.next && start < this.#last + AHEAD) {
      return { index: this.#pages.length, after: last.next, limit: this.#last - start > 3 * PAGE ? BIG_PAGE : PAGE }
    }
    return null
  }

  #take(work: { index: number; after: string | null; limit: number }, reply: BookingList, dirty: boolean): void {
    const anchor = this.pending ? null : this.anchor()
    const was = anchor ? this.indexOf(anchor) : -1
    const fresh = this.pending
    const page: Page = { after: work.after, limit: work.limit, rows: reply.rows, next: reply.next, dirty }
    if (fresh) {
      this.#pages = [page]
      this.pending = false
    } else {
      const old = this.#pages[work.index]
      this.#pages[work.index] = page
      if (old && old.next !== page.next) this.#rejoin(work.index + 1, page.next)
    }
    this.total = reply.total
    this.matched = reply.matched
    this.version++
    if (fresh) this.onanswer()
    const is = anchor ? this.indexOf(anchor) : -1
    if (was >= 0 && is >= 0 && was !== is) this.onshift(is - was)
  }

  /** The page before ends elsewhere now, so the one behind it starts elsewhere. */
  #rejoin(index: number, after: string | null): void {
    const following = this.#pages[index]
    if (!following) return
    if (after === null) this.#pages.length = index
    else this.#pages[index] = { ...following, after, dirty: true }
  }
}
