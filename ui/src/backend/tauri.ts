import { Channel, invoke } from '@tauri-apps/api/core'
import { DeskError, isAppError, Unreachable, type Backend, type Command, type HintListener, type Params, type Reply } from './backend'
import type { Hint } from './types'

/** The app's own door. The reply was serialised once in Rust and may arrive as text or already parsed. */
export class TauriBackend implements Backend {
  async call<N extends Command>(name: N, params: Params<N>): Promise<Reply<N>> {
    try {
      return parsed<Reply<N>>(await invoke<unknown>('rpc', { command: name, params }))
    } catch (error) {
      throw translated(error)
    }
  }

  hints(listener: HintListener): () => void {
    let open = true
    const channel = new Channel<unknown>()
    channel.onmessage = (message) => {
      if (open) listener.hint(parsed<Hint>(message))
    }
    invoke('hints', { channel }).catch(() => {
      if (open) listener.closed()
    })
    return () => {
      open = false
    }
  }

  async leave(): Promise<void> {
    await invoke('leave')
  }

  async openLink(url: string): Promise<void> {
    try {
      await invoke('open_link', { url })
    } catch (error) {
      throw translated(error)
    }
  }
}

function parsed<T>(reply: unknown): T {
  return (typeof reply === 'string' ? JSON.parse(reply) : reply) as T
}

function translated(error: unknown): Error {
  if (typeof error === 'string') {
    try {
      error = JSON.parse(error)
    } catch {
      return new Unreachable(String(error))
    }
  }
  return isAppError(error) ? new DeskError(error) : new Unreachable(String(error))
}
