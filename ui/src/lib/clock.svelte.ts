//! One clock for everything that counts: it follows the desk's own time, because the computer at the front desk may
//! be minutes off, and a hold that "ends in 0:40" must end when the database says so.

export class Clock {
  #offset = 0
  /** Ticks every second: countdowns. */
  now = $state(Date.now())
  /** Ticks every ten seconds: ages in lists. */
  slow = $state(Date.now())
  #timer: ReturnType<typeof setInterval> | undefined

  start(): () => void {
    this.#timer = setInterval(() => this.#tick(), 1000)
    return () => clearInterval(this.#timer)
  }

  /** The desk said what time it is. Small differences are the way of the message, not the clock's. */
  set(utc: string): void {
    const offset = Date.parse(utc) - Date.now()
    if (Math.abs(offset - this.#offset) < 1500) return
    this.#offset = offset
    this.#tick()
  }

  /** An instant of this computer's clock as the desk's clock showed it. */
  at(local: number): number {
    return local + this.#offset
  }

  #tick(): void {
    this.now = Date.now() + this.#offset
    if (Math.abs(this.now - this.slow) >= 10_000) this.slow = this.now
  }
}
