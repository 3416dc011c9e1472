//! A list that is taller than a browser allows. A million rows are more pixels than an element may have, so above a limit
//! the scroll bar stands for all of them while what lies under it is moved in pages: a short way is scrolled pixel by
//! pixel, a long pull of the bar jumps.

/** Browsers stop near 33 million pixels; WebKit counts in 1/64ths and is sooner at its end when zoomed. */
const LIMIT = 12_000_000
const PAGES = 100

export class Tall {
  /** Pixels between where a row lies and where it is drawn. */
  offset = 0
  #total = 0
  #view = 0
  #before = 0

  size(total: number, view: number): void {
    this.#total = total
    this.#view = view
    if (!this.#paged) this.offset = 0
  }

  /** Of the element that is scrolled. */
  get height(): number {
    return Math.min(this.#total, LIMIT)
  }

  get #paged(): boolean {
    return this.#total > LIMIT
  }

  get #page(): number {
    return this.height / PAGES
  }

  /** How far one page draws its rows before where they lie. */
  get #jump(): number {
    const pages = Math.floor(this.#total / this.#page)
    return pages > 1 ? (this.#total - this.height) / (pages - 1) : 0
  }

  /** The bar stands at `top`. Answers the pixel that is at the top of the view, and where the bar has to stand now. */
  scrolled(top: number): { at: number; top: number } {
    if (!this.#paged) return { at: (this.#before = top), top }
    const way = Math.abs(top - this.#before)
    if (way < this.#view) return this.to(top + this.offset)
    const whole = this.#total - this.#view
    const at = top * (whole / Math.max(1, this.height - this.#view))
    this.offset = Math.round(this.#pageOf(at) * this.#jump)
    this.#before = top
    return { at: Math.min(whole, top + this.offset), top }
  }

  /** Brings the pixel `at` to the top of the view. */
  to(at: number): { at: number; top: number } {
    const y = Math.max(0, Math.min(at, this.#total - this.#view))
    this.offset = this.#paged ? Math.round(this.#pageOf(y) * this.#jump) : 0
    this.#before = y - this.offset
    return { at: y, top: this.#before }
  }

  #pageOf(at: number): number {
    return Math.min(Math.floor(this.#total / this.#page) - 1, Math.floor(at / this.#page))
  }
}
