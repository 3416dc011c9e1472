//! A long list that is read page by page and kept true while it is looked at. What changes is changed in its row; what is
//! new waits in `fresh` until nobody reads; what no longer fits what was asked for stays, and is marked.

const PAGE = 100
/** Rows beyond the view that are read before they are needed. */
const AHEAD = 60
const MOST = 500

export interface Page<Row> {
  rows: Row[]
  next: string | null
}
type Ask<R> = (after: string | null, limit: number) => Promise<R>
interface Held {
  after: string | null
  size: number
}

export class PagedFeed<Row, Reply extends Page<Row>> {
  rows = $state.raw<Row[]>([])
  fresh = $state.raw<Row[]>([])
  /** Ids of rows that no longer fit. */
  gone = $state.raw<ReadonlySet<string | number>>(new Set())
  /** The newest answer about the head of the list. */
  reply = $state.raw<Reply | null>(null)
  error = $state.raw<unknown>(null)
  pending = $state(true)
  answered = $state(false)
  /** There is more that is new than one page holds. */
  freshMore = $state(false)

  onshift: (rows: number) => void = () => {}

  #id: (row: Row) => string | number
  #ask: Ask<Reply> | null = null
  #key = ''
  #round = 0
  #next: string | null = null
  #pages: Held[] = []
  #first = 0
  #last = 0
  #reading = false
  #tailing = false
  /** What is new does not all belong at the head. */
  #scattered = false

  constructor(id: (row: Row) => string | number) {
    this.#id = id
  }

  get ended(): boolean {
    return this.#next === null
  }

  /** Another question, unless it is the same. */
  ask(key: string, ask: Ask<Reply>): void {
    if (key === this.#key) return
    this.#key = key
    this.#ask = ask
    this.refresh()
  }

  /** Reads anew from the head on. */
  refresh(): void {
    this.#round++
    this.pending = true
    this.error = null
    this.fresh = []
    this.freshMore = false
    this.#scattered = false
    void this.#head()
  }

  indexOf(id: string | number): number {
    return this.rows.findIndex((row) => this.#id(row) === id)
  }

  /** Rows `first` to `last` are in sight. */
  need(first: number, last: number): void {
    this.#first = first
    this.#last = last
    void this.#more()
  }

  /** Something changed: reads the head and what is in sight again. */
  async tail(): Promise<void> {
    if (!this.#ask || this.#tailing) return
    if (this.error !== null && !this.answered) {
      this.refresh()
      return
    }
    if (this.pending) return
    this.#tailing = true
    const round = this.#round
    try {
      const head = await this.#ask(null, Math.min(MOST, (this.#pages[0]?.size ?? PAGE) + this.fresh.length + 20))
      if (round !== this.#round) return
      this.reply = head
      this.#merge(head, true)
      let from = this.#pages[0]?.size ?? 0
      for (const page of this.#pages.slice(1)) {
        const to = from + page.size
        if (to > this.#first && from < this.#last) {
          const again = await this.#ask(page.after, Math.min(MOST, page.size))
          if (round !== this.#round) return
          this.#merge(again, false)
        }
        from = to
      }
      this.error = null
    } catch {
      // The pulse tells of a desk that does not answer; the next change tries again.
    } finally {
      this.#tailing = false
    }
  }

  /** Takes in what waits. */
  absorb(): void {
    if (this.freshMore || this.#scattered || this.gone.size > 0) {
      this.refresh()
      return
    }
    if (this.fresh.length === 0) return
    this.rows = [...this.fresh, ...this.rows]
    if (this.#pages[0]) this.#pages[0].size += this.fresh.length
    this.fresh = []
  }

  async #head(): Promise<void> {
    const round = this.#round
    try {
      const reply = await this.#ask!(null, PAGE)
      if (round !== this.#round) return
      this.rows = reply.rows
      this.reply = reply
      this.gone = new Set()
      this.#next = reply.next
      this.#pages = [{ after: null, size: reply.rows.length }]
      this.pending = false
      this.answered = true
      void this.#more()
    } catch (error) {
      if (round === this.#round) this.error = error
    }
  }

  async #more(): Promise<void> {
    if (this.#reading || this.pending || !this.#ask) return
    this.#reading = true
    try {
      while (this.#next !== null && this.#last > this.rows.length - AHEAD) {
        const round = this.#round
        const after = this.#next
        const reply = await this.#ask(after, PAGE)
        if (round !== this.#round) return
        const known = new Set(this.rows.map(this.#id))
        const rows = reply.rows.filter((row) => !known.has(this.#id(row)))
        this.#pages.push({ after, size: rows.length })
        this.#next = reply.next
        this.rows = [...this.rows, ...rows]
        this.error = null
      }
    } catch (error) {
      this.error = error
    } finally {
      this.#reading = false
    }
  }

  #merge(reply: Page<Row>, head: boolean): void {
    const now = new Map(reply.rows.map((row) => [this.#id(row), row]))
    let last = -1
    let changed = false
    const rows = this.rows.map((row, i) => {
      const again = now.get(this.#id(row))
      if (!again) return row
      last = i
      changed = true
      return again
    })
    if (changed) this.rows = rows
    if (!head) return
    const known = new Set(rows.map(this.#id))
    const fits = reply.rows.map((row) => known.has(this.#id(row)))
    // What lies below the last row that is held is older, not new.
    const newest = fits.lastIndexOf(true)
    const fresh = reply.rows.filter((_, i) => !fits[i] && (i < newest || rows.length === 0 || newest < 0))
    this.fresh = fresh
    this.freshMore = last < 0 && rows.length > 0 && reply.rows.length > 0
    this.#scattered = fits.slice(0, fresh.length).includes(true) || (rows.length === 0 && reply.next !== null)
    // A row is gone when one that lies below it is still there. At the end of the list nothing lies below.
    const until = reply.next === null ? Math.min(rows.length, this.#pages[0]?.size ?? 0) : last
    const gone = rows.slice(0, Math.max(0, until)).map(this.#id).filter((id) => !now.has(id))
    if (gone.length !== this.gone.size || gone.some((id) => !this.gone.has(id))) this.gone = new Set(gone)
  }
}
