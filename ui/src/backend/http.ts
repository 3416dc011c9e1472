import {
  DeskError,
  isAppError,
  TokenNeeded,
  Unreachable,
  type Backend,
  type Command,
  type HintListener,
  type Params,
  type Reply,
} from './backend'
import type { Hint } from './types'

/** A connection that died without a word would keep its request for ever, and a browser has six for one address. */
const ANSWER_MS = 35_000
/** The pulse asks again anyway. */
const PULSE_ANSWER_MS = 5000

/** The door of `serve`: same origin, a cookie that its token bought, and a header that no form can send. */
export class HttpBackend implements Backend {
  async call<N extends Command>(name: N, params: Params<N>): Promise<Reply<N>> {
    let response: Response
    try {
      response = await fetch(`/rpc/${name}`, {
        method: 'POST',
        credentials: 'same-origin',
        headers: { 'content-type': 'application/json', 'x-bizing-desk': '1' },
        body: JSON.stringify(params),
        signal: AbortSignal.timeout(name === 'status' || name === 'host_state' ? PULSE_ANSWER_MS : ANSWER_MS),
      })
    } catch (error) {
      throw new Unreachable(String(error))
    }
    if (response.status === 401) throw new TokenNeeded()
    const body: unknown = await response.json().catch(() => null)
    if (response.ok) return body as Reply<N>
    if (isAppError(body)) throw new DeskError(body)
    throw new Unreachable(`${response.status} ${response.statusText}`)
  }

  hints(listener: HintListener): () => void {
    const address = new URL('/hints', window.location.href)
    address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(address)
    socket.onmessage = (message) => listener.hint(JSON.parse(String(message.data)) as Hint)
    socket.onclose = () => listener.closed()
    return () => {
      socket.onmessage = null
      socket.onclose = null
      socket.close()
    }
  }

  async leave(): Promise<void> {
    window.close()
  }

  async openLink(url: string): Promise<void> {
    window.open(url, '_blank', 'noopener')
  }
}
