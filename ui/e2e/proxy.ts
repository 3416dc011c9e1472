//! A network between the browser and the desk that falls silent or breaks when it is told to.

import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net'

export class Proxy {
  #server: Server
  #open = new Set<Socket>()
  #silent = false

  private constructor(server: Server) {
    this.#server = server
  }

  /** In front of the desk at this address. */
  static async before(desk: URL): Promise<Proxy> {
    const proxy = new Proxy(createServer((client) => proxy.#carry(client, desk)))
    await new Promise<void>((listening) => proxy.#server.listen(0, '127.0.0.1', listening))
    return proxy
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /**
   * Bytes are taken and go nowhere, in both directions. A connection that lost some stays silent for ever, as one does
   * whose state a router has forgotten; new ones work once the line passes again.
   */
  swallow(): void {
    this.#silent = true
  }

  pass(): void {
    this.#silent = false
  }

  /** Breaks every connection. */
  cut(): void {
    for (const socket of this.#open) socket.destroy()
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise((closed) => this.#server.close(closed))
  }

  #carry(client: Socket, desk: URL): void {
    const server = connect(Number(desk.port), desk.hostname)
    let deaf = false
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#open.add(from)
      from.on('data', (bytes) => {
        deaf ||= this.#silent
        if (!deaf) to.write(bytes)
      })
      from.on('error', () => {})
      from.on('close', () => {
        this.#open.delete(from)
        to.destroy()
      })
    }
  }
}
