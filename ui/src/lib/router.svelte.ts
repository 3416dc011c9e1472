//! Where one is, kept in the address behind `#`, so that the same files work from the app's protocol, from `serve`
//! and with the back button.

export class Router {
  #hash = $state(read())

  /** `['bookings', 'BK-7Q4M2K']` */
  path = $derived(this.#hash.split('?')[0]!.split('/').filter(Boolean).map(decodeURIComponent))
  query = $derived(new URLSearchParams(this.#hash.split('?')[1] ?? ''))

  start(): () => void {
    const changed = () => (this.#hash = read())
    window.addEventListener('hashchange', changed)
    return () => window.removeEventListener('hashchange', changed)
  }

  go(to: string, how: 'push' | 'replace' = 'push'): void {
    if (how === 'replace') {
      history.replaceState(history.state, '', `#${to}`)
    } else {
      history.pushState(null, '', `#${to}`)
    }
    this.#hash = read()
  }

  back(fallback: string): void {
    if (history.length > 1) history.back()
    else this.go(fallback)
  }
}

function read(): string {
  return window.location.hash.slice(1)
}

export const bookingPath = (reference: string): string => `/bookings/${encodeURIComponent(reference)}`
export const eventPath = (position: number): string => `/events/${position}`
export const deliveryPath = (id: string): string => `/deliveries/${id}`
export const endpointPath = (id: string): string => `/deliveries/endpoints/${id}`
export const arrivalPath = (id: number): string => `/deliveries/inbox/${id}`
export const sagaPath = (id: string): string => `/sagas/${id}`
