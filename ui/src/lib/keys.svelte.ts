//! Keys. The innermost view that knows a key takes it. Single letters work only when nobody types and nothing floats
//! above the page, and they can be turned off.

import { onMount } from 'svelte'
import { prefs } from './prefs.svelte'

/** A key, or two one after the other: `g b`. */
export type KeyMap = Record<string, (event: KeyboardEvent) => void>

/** The second key comes within this time or is a key of its own. */
const CHORD_MS = 1500

export class Keys {
  #scopes: KeyMap[] = []
  #lead: string | null = null
  #ledAt = 0

  start(): () => void {
    const press = (event: KeyboardEvent) => this.#press(event)
    window.addEventListener('keydown', press)
    return () => window.removeEventListener('keydown', press)
  }

  /** Adds keys for as long as the component lives; call while it is set up. */
  use(map: KeyMap): void {
    onMount(() => {
      this.#scopes.push(map)
      return () => {
        this.#scopes = this.#scopes.filter((scope) => scope !== map)
      }
    })
  }

  #press(event: KeyboardEvent): void {
    if (event.defaultPrevented || event.isComposing) return
    const name = nameOf(event)
    if (floating()) return
    if (!name.startsWith('mod+') && name !== 'F6' && typing(event.target)) return
    if (name.length === 1 && !prefs.singleKeys) return
    const chord = this.#lead !== null && performance.now() - this.#ledAt < CHORD_MS ? `${this.#lead} ${name}` : null
    this.#lead = null
    const scopes = this.#scopes.toReversed()
    const act = (chord === null ? undefined : scopes.find((scope) => scope[chord])?.[chord]) ?? scopes.find((scope) => scope[name])?.[name]
    if (act) {
      event.preventDefault()
      act(event)
    } else if (scopes.some((scope) => Object.keys(scope).some((key) => key.startsWith(`${name} `)))) {
      event.preventDefault()
      this.#lead = name
      this.#ledAt = performance.now()
    }
  }
}

/** `mod` is Cmd on a Mac and Ctrl elsewhere. */
function nameOf(event: KeyboardEvent): string {
  const mod = event.metaKey || event.ctrlKey ? 'mod+' : ''
  return mod + (event.key.length === 1 ? event.key.toLowerCase() : event.key)
}

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.closest('input:not([type="checkbox"]), textarea, select, [contenteditable="true"]') !== null
}

/** A dialog or drawer has keys of its own. */
function floating(): boolean {
  return document.querySelector('[role="dialog"][data-state="open"]') !== null
}

export const mac = /mac/i.test(navigator.platform)
export const modKey = mac ? '⌘' : 'Ctrl'
