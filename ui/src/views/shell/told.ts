//! Which news of endpoints a person was told on this computer.

import type { EndpointTrouble } from '../../backend/types'

const KEY = 'bizing-desk.told'

function load(): Record<string, number> {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? '{}') as Record<string, unknown>
    return Object.fromEntries(Object.entries(stored).filter((entry): entry is [string, number] => typeof entry[1] === 'number'))
  } catch {
    return {}
  }
}

class Told {
  #last = load()

  /** Those of which this person was not told yet; from now on they were. */
  news(login: string, all: EndpointTrouble[]): EndpointTrouble[] {
    const last = this.#last[login] ?? 0
    const fresh = all.filter((one) => one.news > last)
    if (fresh.length === 0) return []
    this.#last = { ...this.#last, [login]: Math.max(...fresh.map((one) => one.news)) }
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#last))
    } catch {
      // They are then told once more by the next window.
    }
    return fresh.toReversed()
  }
}

export const toldOnce = new Told()
