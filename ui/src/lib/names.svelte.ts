//! What the people are called whose logins stand beside what they did. Read once a window is open, and again when it changes.

import type { PersonName } from '../backend/types'

class Names {
  rows = $state.raw<PersonName[]>([])
  readonly #byLogin = $derived(new Map(this.rows.map((row) => [row.login, row.name])))

  of(login: string): string | null {
    return this.#byLogin.get(login) ?? null
  }
}

export const names = new Names()
