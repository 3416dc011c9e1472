//! Puts the window on the page over a scripted backend and takes it off again.

import axe from 'axe-core'
import { flushSync, mount, unmount } from 'svelte'
import { afterEach, expect } from 'vitest'
import App from '../src/App.svelte'
import type { ScriptedBackend } from '../src/backend/testing'
import { world } from '../src/backend/world'
import { setPrefs } from '../src/lib/prefs.svelte'
import '../src/styles/index.css'

let clear: (() => void) | undefined

export function open(path: string, backend: ScriptedBackend = world()): ScriptedBackend {
  history.replaceState(null, '', `#${path}`)
  const target = document.createElement('div')
  target.id = 'app'
  document.body.append(target)
  const app = mount(App, { target, props: { backend } })
  clear = () => {
    void unmount(app)
    backend.stop()
    target.remove()
    document.body.replaceChildren()
  }
  return backend
}

afterEach(() => {
  clear?.()
  clear = undefined
  setPrefs({ theme: 'light', density: 'comfortable', language: 'en', singleKeys: true, newestFirst: true, logChangeSeen: '' })
})

export const find = (id: string): HTMLElement | null => document.querySelector(`[data-testid="${id}"]`)
export const all = (id: string): HTMLElement[] => [...document.querySelectorAll<HTMLElement>(`[data-testid="${id}"]`)]

/** Waits for a state with a deadline, never for a time. */
export async function until<T>(read: () => T | null | undefined | false, what: string, ms = 8000): Promise<T> {
  const end = performance.now() + ms
  for (;;) {
    flushSync()
    const value = read()
    if (value) return value
    if (performance.now() > end) throw new Error(`no ${what} within ${ms} ms: ${document.body.innerText.slice(0, 400)}`)
    await new Promise((resolve) => setTimeout(resolve, 15))
  }
}

export const seen = (id: string): Promise<HTMLElement> => until(() => find(id), id)
export const says = (text: string): Promise<boolean> => until(() => document.body.innerText.includes(text), `"${text}"`)

export function press(key: string, more: KeyboardEventInit = {}): void {
  const target = document.activeElement ?? document.body
  target.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more }))
  flushSync()
}

export function type(id: string, text: string): void {
  const field = find(id) as HTMLInputElement | HTMLTextAreaElement
  field.focus()
  field.value = text
  field.dispatchEvent(new InputEvent('input', { bubbles: true }))
  flushSync()
}

export function click(element: HTMLElement): void {
  element.focus()
  for (const kind of ['pointerdown', 'pointerup'] as const) {
    element.dispatchEvent(new PointerEvent(kind, { bubbles: true, cancelable: true, button: 0, pointerType: 'mouse' }))
  }
  element.click()
  flushSync()
}

/** Nothing for WCAG 2.2 AA to complain about, in both themes. */
export async function accessible(): Promise<void> {
  for (const theme of ['light', 'dark'] as const) {
    setPrefs({ theme })
    flushSync()
    // Colours are judged as they end up, not half way through a transition.
    await Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => {})).concat(Promise.resolve(undefined as never)).slice(0, 40).map((p) => Promise.race([p, new Promise((r) => setTimeout(r, 400))])))
    const { violations } = await axe.run(document.body, {
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    })
    expect(violations.map((v) => `${theme} ${v.id}: ${v.nodes.map((n) => n.target.join(' ')).slice(0, 3).join(' | ')}`)).toEqual([])
  }
}
