//! What every view needs, handed down by context so that a test can hand down its own.

import { QueryClient } from '@tanstack/svelte-query'
import { getContext, setContext } from 'svelte'
import type { Backend, Command, Params, Reply } from '../backend/backend'
import type { Session } from '../backend/types'
import { t } from '../i18n'
import { Clock } from '../lib/clock.svelte'
import { Keys } from '../lib/keys.svelte'
import { Router } from '../lib/router.svelte'
import { Toasts } from '../lib/toasts.svelte'
import { Connection } from './connection.svelte'

export class Desk {
  readonly client = new QueryClient({
    defaultOptions: {
      queries: {
        // The connection says when something changed and when the line is back; time alone changes nothing.
        staleTime: Infinity,
        gcTime: 5 * 60_000,
        retry: false,
        refetchOnWindowFocus: false,
        refetchOnReconnect: false,
        // The desk is on this computer: "offline" says nothing about it.
        networkMode: 'always',
      },
      mutations: { retry: false, networkMode: 'always' },
    },
  })
  readonly live: Connection
  readonly clock = new Clock()
  readonly router = new Router()
  readonly keys = new Keys()
  readonly toasts = new Toasts()

  /** The booking this window has just made: the lists may not have caught up with it yet. */
  fresh: string | null = null

  constructor(backend: Backend) {
    this.live = new Connection(backend, this.client)
  }

  call<N extends Command>(name: N, params: Params<N>): Promise<Reply<N>> {
    return this.live.call(name, params)
  }

  start(): () => void {
    const stops = [this.live.start(), this.clock.start(), this.router.start(), this.keys.start()]
    return () => stops.forEach((stop) => stop())
  }

  /** Why nothing can be changed right now, or null. */
  refusal(session: Session | undefined): string | null {
    if (this.live.state === 'stale') return t('refused.stale')
    return session?.read_only ?? null
  }
}

const KEY = Symbol('desk')

export function provideDesk(desk: Desk): Desk {
  return setContext(KEY, desk)
}

export function useDesk(): Desk {
  return getContext<Desk>(KEY)
}

const SESSION = Symbol('session')

/** The session is there before the shell is, so views may rely on it. */
export function provideSession(session: () => Session): void {
  setContext(SESSION, session)
}

export function useSession(): () => Session {
  return getContext<() => Session>(SESSION)
}
