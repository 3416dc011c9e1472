//! The window's only border. Two doors implement it (the app's own and HTTP), and tests a third; which of
//! them answers is nobody else's business.

import type { AppError, Commands, Hint } from './types'

export type Command = keyof Commands
export type Params<N extends Command> = Commands[N][0]
export type Reply<N extends Command> = Commands[N][1]

export interface HintListener {
  /** Something changed; a hint without topics is the heartbeat that comes every two seconds. */
  hint(hint: Hint): void
  /** No hint will come any more through this subscription. */
  closed(): void
}

export interface Backend {
  call<N extends Command>(name: N, params: Params<N>): Promise<Reply<N>>
  /** One try at listening; whoever wants to go on listening asks again after `closed`. */
  hints(listener: HintListener): () => void
  /** Opens a web address outside the window. */
  openLink(url: string): Promise<void>
  /** Closes the window, whatever is under way. */
  leave(): Promise<void>
}

/** The app answered, and the answer is no. */
export class DeskError extends Error {
  override name = 'DeskError'
  constructor(readonly app: AppError) {
    super(app.message)
  }
}

/** Nobody answered. */
export class Unreachable extends Error {
  override name = 'Unreachable'
}

/** The browser has not shown the token that `serve` printed. */
export class TokenNeeded extends Error {
  override name = 'TokenNeeded'
}

/** True for what can only be an `AppError`: both doors hand it over as plain JSON. */
export function isAppError(value: unknown): value is AppError {
  return typeof value === 'object' && value !== null && 'code' in value && 'correlation_id' in value && 'message' in value
}
