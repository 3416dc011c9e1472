//! How this person likes the window. Kept in the browser's storage, because it belongs to the person at this
//! computer and not to the business.

export type Theme = 'system' | 'light' | 'dark'
export type Density = 'comfortable' | 'compact'
export type Language = 'en' | 'de'

const KEY = 'bizing-desk.preferences'

interface Stored {
  theme: Theme
  density: Density
  language: Language
  singleKeys: boolean
  newestFirst: boolean
  /** The change of the log that was read and put away. */
  logChangeSeen: string
}

const DEFAULTS: Stored = { theme: 'system', density: 'comfortable', language: 'en', singleKeys: true, newestFirst: true, logChangeSeen: '' }

function load(): Stored {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(KEY) ?? '{}')
    return { ...DEFAULTS, ...(stored as Partial<Stored>) }
  } catch {
    // Storage can be off, and a hand-edited value can be broken; neither may keep the window shut.
    return { ...DEFAULTS }
  }
}

export const prefs = $state<Stored>(load())

export function setPrefs(change: Partial<Stored>): void {
  Object.assign(prefs, change)
  try {
    localStorage.setItem(KEY, JSON.stringify(prefs))
  } catch {
    // The choice then lasts as long as the window.
  }
  applyPrefs()
}

/** Tells the style sheets; called once before the first paint and after every change. */
export function applyPrefs(): void {
  const root = document.documentElement
  if (prefs.theme === 'system') root.removeAttribute('data-theme')
  else root.dataset.theme = prefs.theme
  root.dataset.density = prefs.density
  root.lang = prefs.language
}
