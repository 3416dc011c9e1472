//! What this person keeps on this computer: questions that are asked again and again, and whether lists follow by
//! themselves.

const KEY = 'bizing-desk.deliveries'

export interface SavedView {
  name: string
  tab: 'log' | 'inbox' | 'sagas'
  /** The query of the address. */
  query: string
}
interface Stored {
  /** By login: two people may share a computer. */
  views: Record<string, SavedView[]>
}

function load(): Stored {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Stored>
    return { views: typeof stored.views === 'object' && stored.views !== null ? stored.views : {} }
  } catch {
    return { views: {} }
  }
}

class Memory {
  live = $state(true)
  #stored = $state<Stored>(load())

  views(login: string, tab: SavedView['tab']): SavedView[] {
    return (this.#stored.views[login] ?? []).filter((view) => view.tab === tab)
  }

  /** The same name is the same view. */
  save(login: string, view: SavedView): void {
    const others = (this.#stored.views[login] ?? []).filter((one) => one.tab !== view.tab || one.name !== view.name)
    this.#keep(login, [...others, view])
  }

  forget(login: string, view: SavedView): void {
    this.#keep(login, (this.#stored.views[login] ?? []).filter((one) => one.tab !== view.tab || one.name !== view.name))
  }

  #keep(login: string, views: SavedView[]): void {
    this.#stored.views = { ...this.#stored.views, [login]: views }
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#stored))
    } catch {
      // They then last as long as the window.
    }
  }
}

export const memory = new Memory()
