//! A backend in memory for tests and for the gallery: it answers from a small world and does what a script says
//! (fail, hang, fall silent). It never stands in for the real one where that can be had: it cannot see a renamed field.

import { DeskError, Unreachable, type Backend, type Command, type HintListener, type Params, type Reply } from './backend'
import type { AppError, Code } from './types'

type Handlers = { [N in Command]?: (params: Params<N>) => Reply<N> | Promise<Reply<N>> }

export function appError(code: Code, message: string, more: Partial<AppError> = {}): AppError {
  return {
    code,
    message,
    hint: null,
    field: null,
    retry: { when: 'now' },
    correlation_id: '01937c44-9be0-7a31-8c55-2f1d8c7a9e10',
    ...more,
  }
}

export class ScriptedBackend implements Backend {
  calls: { name: Command; params: unknown }[] = []
  links: string[] = []
  left = 0
  #handlers: Handlers
  #overrides: Handlers = {}
  #hung = new Set<Command>()
  #listeners = new Set<HintListener>()
  #beat: ReturnType<typeof setInterval> | undefined
  #cut = false
  /** Heartbeats and hints are swallowed, while reads go on. */
  muted = false

  constructor(handlers: Handlers) {
    this.#handlers = handlers
    this.#beat = setInterval(() => this.#send([]), 2000)
  }

  stop(): void {
    clearInterval(this.#beat)
  }

  async call<N extends Command>(name: N, params: Params<N>): Promise<Reply<N>> {
    this.calls.push({ name, params: structuredClone(params) })
    await Promise.resolve()
    if (this.#cut) throw new Unreachable('cut')
    if (this.#hung.has(name)) return new Promise<never>(() => {})
    const handler = (this.#overrides[name] ?? this.#handlers[name]) as ((p: Params<N>) => Reply<N>) | undefined
    if (!handler) throw new DeskError(appError('request.unknown_command', `${name} is not scripted`))
    return structuredClone(await handler(params))
  }

  hints(listener: HintListener): () => void {
    if (this.#cut) {
      setTimeout(() => listener.closed())
      return () => {}
    }
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async leave(): Promise<void> {
    this.left += 1
  }

  async openLink(url: string): Promise<void> {
    this.links.push(url)
  }

  // ---- the script --------------------------------------------------------------------------------------

  on<N extends Command>(name: N, handler: (params: Params<N>) => Reply<N> | Promise<Reply<N>>): void {
    this.#overrides[name] = handler as Handlers[N]
  }

  fail(name: Command, error: AppError): void {
    this.on(name, () => {
      throw new DeskError(error)
    })
  }

  hang(...names: Command[]): void {
    for (const name of names) this.#hung.add(name)
  }

  /** Undoes `on`, `fail` and `hang`. */
  mend(...names: Command[]): void {
    for (const name of names) {
      this.#hung.delete(name)
      delete this.#overrides[name]
    }
  }

  /** Nobody answers any more, as when the process is gone. */
  cut(): void {
    this.#cut = true
    for (const listener of [...this.#listeners]) listener.closed()
    this.#listeners.clear()
  }

  join(): void {
    this.#cut = false
  }

  hint(...topics: string[]): void {
    this.#send(topics)
  }

  asked(name: Command): number {
    return this.calls.filter((call) => call.name === name).length
  }

  #send(topics: string[]): void {
    if (this.muted) return
    for (const listener of this.#listeners) listener.hint({ topics })
  }
}
