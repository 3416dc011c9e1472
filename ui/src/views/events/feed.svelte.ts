//! The log behind a list of any length: one stretch of it is held, which grows at both ends as somebody scrolls. A pull
//! of the scroll bar beyond it starts a new stretch there, at a place that is reckoned from the position, because
//! counting to it would read the log.
//!
//! What is new waits in `fresh`: the list takes it in when no row would move under somebody's pointer.
//!
//! A filter that no index answers is looked for a second at a time, page after page, and says how far back it came. After
//! a while it rests, so that nobody's forgotten window reads a large log to its end, and goes on when somebody says so.

import type { ChainCheck, Count, EventFilter, EventPage, EventRow, Searched } from '../../backend/types'
import type { Desk } from '../../live/desk'
import { narrowing } from './filters'

const PAGE = 200
/** Rows beyond the view that are read before they are needed. */
const AHEAD = 120
/** Rows further away than this are not scrolled to but jumped to. */
const FAR = 600
/** Rows held at most; what is far from the view is let go. */
const KEPT = 6000
/** Looks of a search in a row before it rests: a second each. */
const LOOKS = 15

type Work = { where: 'fresh'; near: number | null } | { where: 'newer' | 'older' }

export class EventFeed {
  rows = $state.raw<EventRow[]>([])
  /** Place of the first held row in the whole list; reckoned after a jump. */
  start = $state(0)
  /** Rows that the scroll bar stands for. */
  count = $state(0)
  total = $state.raw<Count | null>(null)
  matched = $state.raw<Count | null>(null)
  chain = $state.raw<ChainCheck | null>(null)
  error = $state.raw<unknown>(null)
  pending = $state(true)
  /** Something has been read. */
  answered = $state(false)
  fresh = $state.raw<EventRow[]>([])
  /** There is more that is new than was read. */
  freshMore = $state(false)
  /** How far back a search came that is not at its end. */
  searched = $state.raw<Searched | null>(null)
  /** It goes no further until somebody says so. */
  rests = $state(false)

  onshift: (rows: number) => void = () => {}
  /** A new stretch begins; the row at its head belongs at this place. */
  onjump: (index: number) => void = () => {}

  #desk: Desk
  #filter: EventFilter | null = null
  #key = ''
  #round = 0
  #atNewest = true
  #atOldest = false
  #safe = 0
  #first = 0
  #last = 0
  #near: number | null = null
  #pumping = false
  #tailing = false
  /** Newer than this nothing was asked for. */
  #tailed = 0
  /** Where a search for newer ones goes on. */
  #newer: number | null = null
  #looks = 0

  constructor(desk: Desk) {
    this.#desk = desk
  }

  ask(filter: EventFilter, near: number | null): void {
    const key = JSON.stringify(filter)
    if (key === this.#key) return
    this.#key = key
    this.#filter = filter
    this.#restart(near)
  }

  /** A search that rests goes on. */
  goOn(): void {
    this.#looks = 0
    this.rests = false
    void this.#pump()
  }

  stop(): void {
    if (this.searched) this.rests = true
  }

  /** Reads anew from the newest on. */
  refresh(): void {
    this.#restart(null)
  }

  /** Rows `first` to `last` are in sight. */
  need(first: number, last: number): void {
    this.#first = first
    this.#last = last
    void this.#pump()
  }

  at(index: number): EventRow | undefined {
    return this.rows[index - this.start]
  }

  indexOf(position: number): number {
    // Newest first, so a search by halves finds it.
    let low = 0
    let high = this.rows.length - 1
    while (low <= high) {
      const middle = (low + high) >> 1
      const at = this.rows[middle]!.position
      if (at === position) return this.start + middle
      if (at > position) low = middle + 1
      else high = middle - 1
    }
    return -1
  }

  /** Makes sure that the event at `position`, or the one before it, is held. */
  reveal(position: number): void {
    if (this.pending || this.indexOf(position) >= 0) return
    const newest = this.rows[0]?.position ?? 0
    const oldest = this.rows.at(-1)?.position ?? 0
    if (position < newest && position > oldest) return
    // Asked for already and not there: the filters do not hold it.
    if (this.#near === position) return
    this.#restart(position)
  }

  /** The log has grown: reads what is new, and leaves it waiting. */
  async tail(): Promise<void> {
    if (!this.#filter || this.pending || !this.#atNewest || this.#tailing || this.freshMore) return
    this.#tailing = true
    const round = this.#round
    try {
      const newest = Math.max(this.#tailed, this.fresh[0]?.position ?? this.rows[0]?.position ?? 0)
      const reply = await this.#desk.call('list_events', { filter: this.#filter, before: null, after: newest, limit: PAGE })
      if (round !== this.#round) return
      this.total = reply.total
      this.#safe = reply.safe_position
      this.chain = reply.chain
      this.fresh = [...reply.rows, ...this.fresh]
      this.#tailed = newestLooked(reply)
      this.freshMore = reply.more && !reply.searched
    } catch {
      // The pulse tells of a database that does not answer; the next hint tries again.
    } finally {
      this.#tailing = false
    }
  }

  /** Takes in what waits. */
  absorb(): void {
    if (this.freshMore) {
      this.refresh()
      return
    }
    if (this.fresh.length === 0) return
    this.rows = [...this.fresh, ...this.rows]
    this.fresh = []
    this.#measure()
  }

  // ---- reading -----------------------------------------------------------------------------------------

  #restart(near: number | null): void {
    this.#round++
    this.#near = near
    this.pending = true
    this.error = null
    this.fresh = []
    this.freshMore = false
    this.searched = null
    this.rests = false
    this.#newer = null
    this.#looks = 0
    void this.#pump()
  }

  get #whole(): boolean {
    return this.#filter !== null && narrowing(this.#filter) === 0
  }

  async #pump(): Promise<void> {
    if (this.#pumping || !this.#filter) return
    this.#pumping = true
    try {
      for (;;) {
        const work = this.#next()
        if (!work) break
        const round = this.#round
        const reply = await this.#desk.call('list_events', {
          filter: this.#filter,
          before: work.where === 'older' ? (this.searched?.position ?? this.rows.at(-1)!.position) : work.where === 'fresh' && work.near !== null ? work.near + 1 : null,
          after: work.where === 'newer' ? (this.#newer ?? this.rows[0]!.position) : null,
          limit: PAGE,
        })
        // The question changed meanwhile: this answer is nobody's.
        if (round !== this.#round) continue
        this.#take(work, reply)
      }
      this.error = null
    } catch (error) {
      this.error = error
    } finally {
      this.#pumping = false
    }
  }

  #next(): Work | null {
    if (this.pending) return { where: 'fresh', near: this.#near }
    if (this.searched && !this.rests && (this.rows.length === 0 || this.#last > this.start + this.rows.length - AHEAD)) {
      if (++this.#looks > LOOKS) this.rests = true
      else return { where: 'older' }
    }
    if (this.rows.length === 0) return null
    const end = this.start + this.rows.length
    if (this.#whole && this.total && (this.#last < this.start - FAR || this.#first > end + FAR)) {
      const part = Math.min(1, this.#first / Math.max(1, this.count))
      this.pending = true
      this.#round++
      this.#near = this.#first === 0 ? null : Math.max(1, Math.round(this.#safe * (1 - part)))
      return { where: 'fresh', near: this.#near }
    }
    if (!this.#atNewest && this.#first < this.start + AHEAD) return { where: 'newer' }
    if (!this.#atOldest && !this.searched && this.#last > end - AHEAD) return { where: 'older' }
    return null
  }

  #take(work: Work, reply: EventPage): void {
    this.total = reply.total
    this.matched = reply.matched
    this.chain = reply.chain
    this.#safe = reply.safe_position
    if (work.where === 'fresh') {
      this.rows = reply.rows
      this.#atOldest = !reply.more
      this.searched = reply.searched
      this.#atNewest = work.near === null
      if (this.#atNewest) this.#tailed = reply.safe_position
      this.start = work.near === null || !this.#whole ? 0 : this.#reckon(work.near)
      this.pending = false
      this.answered = true
      this.#measure()
      // The view follows in a moment; until then it must not be taken for somebody who scrolled away.
      this.#last = this.start + this.#last - this.#first
      this.#first = this.start
      this.onjump(this.start)
      return
    }
    if (work.where === 'older') {
      this.rows = [...this.rows, ...reply.rows]
      this.searched = reply.searched
      this.#atOldest = !reply.more || (reply.rows.length === 0 && !reply.searched)
    } else {
      this.rows = [...reply.rows, ...this.rows]
      this.#newer = reply.searched?.position ?? null
      this.#atNewest = !reply.more || (reply.rows.length === 0 && !reply.searched)
      if (this.#atNewest) this.#tailed = reply.safe_position
      const start = this.start - reply.rows.length
      // The reckoned place was off: at the newest end the truth is known.
      const right = this.#atNewest ? 0 : Math.max(0, start)
      this.start = right
      if (right !== start) this.onshift(right - start)
    }
    this.#letGo()
    this.#measure()
  }

  #letGo(): void {
    if (this.rows.length <= KEPT) return
    const middle = (this.#first + this.#last) / 2 - this.start
    if (middle > this.rows.length / 2) {
      const gone = this.rows.length - KEPT
      this.rows = this.rows.slice(gone)
      this.start += gone
      this.#atNewest = false
    } else {
      this.rows = this.rows.slice(0, KEPT)
      this.#atOldest = false
      this.searched = null
    }
  }

  #reckon(position: number): number {
    const total = this.total?.count ?? 0
    return Math.max(0, Math.min(total - 1, Math.round(((this.#safe - position) / Math.max(1, this.#safe)) * total)))
  }

  #measure(): void {
    const held = this.start + this.rows.length
    if (this.#atOldest || this.searched) this.count = held
    else if (this.#whole) this.count = Math.max(held + 1, this.total?.count ?? 0)
    else this.count = Math.max(held + PAGE / 4, this.matched?.count ?? 0)
  }
}

/** Up to where nothing that is newer than what was asked after is left out of the page. */
function newestLooked(reply: EventPage): number {
  if (reply.searched) return reply.searched.position
  return reply.more ? (reply.rows[0]?.position ?? 0) : reply.safe_position
}
