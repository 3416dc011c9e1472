//! Whether what the window shows is still true.
//!
//! Three things keep it so. Hints say at once what changed. A pulse (one small read every two seconds while somebody
//! looks) proves that the database answers and notices what no hint said. And when neither comes, the window says
//! since when it does not know, within five seconds. Hints never carry state: every change is read again.

import type { QueryClient } from '@tanstack/svelte-query'
import { TokenNeeded, Unreachable, DeskError, type Backend, type Command, type Params, type Reply } from '../backend/backend'
import type { Code, Hint, Status } from '../backend/types'
import { concerns } from './topics'

export const PULSE_MS = 2000
/** No answer for this long (a pulse, and two seconds to answer the next) and the window stops claiming that it shows the present. */
export const STALE_MS = 4000
/** Two heartbeats late: hints are then taken for silent and the pulse does their work. */
const SILENT_MS = 4000
/** Topics that come close together become one round of questions. */
const GATHER_MS = 60
/** And of those no more than five a second, however many changes are told: nobody reads faster, and each costs questions. */
export const ROUND_MS = 200
/** As many topics that wait for somebody to look are one: everything. */
const MOST_TOPICS = 200
const SOON_MS = 300
const GIVE_UP_MS = 15_000

type Listener = (topic: string) => void

export class Connection {
  /** `connecting` until the first answer, so that a start is not shown as a loss. */
  state = $state<'connecting' | 'live' | 'stale'>('connecting')
  /** Who is silent while `stale`: this desk's own program, or the database behind it. */
  silent = $state<'desk' | 'database'>('desk')
  /** When everything shown was last known to be true. */
  asOf = $state(0)
  status = $state.raw<Status | null>(null)
  tokenNeeded = $state(false)
  /** Null until the first heartbeat had its chance to come. */
  hintsAlive = $state<boolean | null>(null)

  #backend: Backend
  #client: QueryClient
  #listeners = new Set<Listener>()
  #topics = new Set<string>()
  #gathering: ReturnType<typeof setTimeout> | undefined
  #pulseTimer: ReturnType<typeof setTimeout> | undefined
  #watch: ReturnType<typeof setInterval> | undefined
  #reopen: ReturnType<typeof setTimeout> | undefined
  #unlisten: (() => void) | undefined
  #lastAnswer = 0
  #lastHint = 0
  #listeningSince = 0
  #lastPulse = 0
  #lastRound = 0
  #hintedSincePulse = false
  #missed = false
  #tries = 0
  #pulsing = false
  #position: number | null = null
  /** Which log the pulse last saw. A restore gives it a new name, and then nothing that is on screen need be true. */
  #log: string | null = null
  #running = false
  #watching = false

  constructor(backend: Backend, client: QueryClient) {
    this.#backend = backend
    this.#client = client
  }

  start(): () => void {
    this.#running = true
    this.#lastAnswer = Date.now()
    this.#listen()
    this.#watch = setInterval(() => this.#look(), 250)
    const shown = () => {
      if (document.visibilityState !== 'visible') return
      // Nobody asked while nobody looked: that silence proves nothing.
      this.#lastAnswer = Date.now()
      this.#beat()
      if (this.#topics.size > 0) this.#gather()
    }
    document.addEventListener('visibilitychange', shown)
    return () => {
      this.#running = false
      this.#unlisten?.()
      clearInterval(this.#watch)
      clearTimeout(this.#pulseTimer)
      clearTimeout(this.#gathering)
      clearTimeout(this.#reopen)
      document.removeEventListener('visibilitychange', shown)
    }
  }

  /** The pulse begins when there is a database to ask and rests while there is none. */
  watchDatabase(on: boolean): void {
    if (on === this.#watching) return
    this.#watching = on
    clearTimeout(this.#pulseTimer)
    this.#position = null
    this.#log = null
    this.status = null
    this.state = 'connecting'
    this.#lastAnswer = Date.now()
    if (on) this.#beat()
  }

  async call<N extends Command>(name: N, params: Params<N>): Promise<Reply<N>> {
    try {
      const reply = await this.#backend.call(name, params)
      if (name !== 'host_state') this.#answered()
      return reply
    } catch (error) {
      if (error instanceof TokenNeeded) this.tokenNeeded = true
      else if (meansDown(error)) this.#lost(error instanceof DeskError ? 'database' : 'desk')
      else if (name !== 'host_state') this.#answered()
      throw error
    }
  }

  leave(): Promise<void> {
    return this.#backend.leave()
  }

  openLink(url: string): Promise<void> {
    return this.#backend.openLink(url)
  }

  /** Hears every topic that changed; for views that hold more than one answer. */
  onChange(listener: Listener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Something changed, said by a hint or by this window's own command. */
  changed(...topics: string[]): void {
    for (const topic of topics) this.#topics.add(topic)
    if (this.#topics.size > MOST_TOPICS) this.#topics = new Set(['*'])
    this.#gather()
  }

  tryNow(): void {
    clearTimeout(this.#reopen)
    this.#tries = 0
    if (!this.hintsAlive) this.#listen()
    this.#pulsing = false
    this.#beat()
  }

  // ---- answers ---------------------------------------------------------------------------------------

  #answered(): void {
    this.#lastAnswer = Date.now()
    this.asOf = this.#lastAnswer
    this.tokenNeeded = false
    if (this.status?.database.state === 'down') return
    const was = this.state
    this.state = 'live'
    if (was === 'stale') this.changed('*')
  }

  #lost(silent: 'desk' | 'database'): void {
    this.silent = silent
    if (this.state === 'live') this.state = 'stale'
    this.changed('host')
  }

  #look(): void {
    const now = Date.now()
    if (this.#lastHint > 0 || now - this.#listeningSince > SILENT_MS) this.hintsAlive = now - this.#lastHint < SILENT_MS
    // A line that is open but says nothing is no line.
    if (!this.#reopen && now - Math.max(this.#lastHint, this.#listeningSince) > 2 * SILENT_MS) this.#closed()
    if (this.#watching && this.state === 'live' && visible() && now - this.#lastAnswer > STALE_MS) {
      this.silent = 'desk'
      this.state = 'stale'
    }
  }

  /** The next pulse early, but never a burst of them. */
  #soon(): void {
    if (!this.#running || !this.#watching || this.#pulsing) return
    clearTimeout(this.#pulseTimer)
    this.#pulseTimer = setTimeout(() => this.#beat(), Math.max(0, this.#lastPulse + SOON_MS - Date.now()))
  }

  async #beat(): Promise<void> {
    clearTimeout(this.#pulseTimer)
    if (!this.#running || !this.#watching) return
    if (visible() && !this.#pulsing) {
      this.#pulsing = true
      this.#lastPulse = Date.now()
      // A read that never ends must not end the pulse with it.
      const giveUp = new Promise<never>((_, reject) => setTimeout(() => reject(new Unreachable('no answer')), GIVE_UP_MS))
      try {
        this.#took(await Promise.race([this.call('status', {}), giveUp]))
      } catch {
        // `call` has drawn its conclusion; the next pulse tries again.
      } finally {
        this.#pulsing = false
      }
    }
    clearTimeout(this.#pulseTimer)
    if (this.#running && this.#watching) this.#pulseTimer = setTimeout(() => this.#beat(), PULSE_MS)
  }

  #took(status: Status): void {
    this.status = status
    if (status.database.state === 'down') {
      this.silent = 'database'
      if (this.state === 'live') this.state = 'stale'
      return
    }
    this.#answered()
    const moved = this.#position !== null && this.#position !== status.position
    this.#position = status.position
    if (status.log_id !== null && this.#log !== null && status.log_id !== this.#log) {
      void this.#client.resetQueries()
      this.changed('*')
    }
    this.#log = status.log_id ?? this.#log
    // Tries and deliveries change without a new event, so while no hint comes the position proves nothing and what is
    // on screen is asked for again. Otherwise a log that moved without a hint means that a hint was lost.
    if (this.hintsAlive === false || (moved && !this.#hintedSincePulse)) this.changed('*')
    this.#hintedSincePulse = false
  }

  // ---- hints -----------------------------------------------------------------------------------------

  #listen(): void {
    this.#unlisten?.()
    this.#listeningSince = Date.now()
    this.#unlisten = this.#backend.hints({
      hint: (hint) => this.#heard(hint),
      closed: () => this.#closed(),
    })
  }

  #heard(hint: Hint): void {
    this.#lastHint = Date.now()
    this.hintsAlive = true
    this.#tries = 0
    if (this.#missed) {
      this.#missed = false
      this.changed('*')
    }
    if (hint.topics.length === 0) return
    this.#hintedSincePulse = true
    this.changed(...hint.topics)
    if (hint.topics.includes('status') || hint.topics.includes('*')) this.#soon()
  }

  #closed(): void {
    this.#unlisten?.()
    this.hintsAlive = false
    this.#missed = true
    if (!this.#running) return
    void this.#beat()
    const wait = Math.min(4000, 250 * 2 ** this.#tries++)
    clearTimeout(this.#reopen)
    this.#reopen = setTimeout(() => {
      this.#reopen = undefined
      if (this.#running) this.#listen()
    }, wait)
  }

  // ---- telling ---------------------------------------------------------------------------------------

  #gather(): void {
    this.#gathering ??= setTimeout(() => this.#tell(), Math.max(GATHER_MS, Math.min(ROUND_MS, this.#lastRound + ROUND_MS - Date.now())))
  }

  #tell(): void {
    this.#gathering = undefined
    // Nobody looks: what changed is asked for once when somebody does.
    if (!visible()) return
    this.#lastRound = Date.now()
    const topics = [...this.#topics]
    this.#topics.clear()
    for (const topic of topics) {
      for (const listener of this.#listeners) listener(topic)
    }
    const stale = this.#client
      .getQueryCache()
      .getAll()
      .filter((query) => topics.some((topic) => concerns(topic, query)))
    let busy = false
    for (const query of stale) {
      // An answer on its way may have been read before the change. Asking anew each time would starve a slow answer
      // under many hints, so it may arrive first and is asked for once more.
      if (query.state.fetchStatus === 'fetching') busy = true
      else void this.#client.invalidateQueries({ queryKey: query.queryKey, exact: true })
    }
    if (busy) {
      for (const topic of topics) this.#topics.add(topic)
      this.#gather()
    }
  }
}

function visible(): boolean {
  return document.visibilityState === 'visible'
}

const DOWN: ReadonlySet<Code> = new Set<Code>([
  'database.unreachable',
  'database.not_chosen',
  'database.starting',
  'database.wrong_password',
  'database.no_server',
])

function meansDown(error: unknown): boolean {
  return error instanceof Unreachable || (error instanceof DeskError && DOWN.has(error.app.code))
}
