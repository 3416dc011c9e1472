import type { IconName } from '../ui/icons'
import type { Role } from '../states'

export interface Toast {
  id: number
  text: string
  icon: IconName
  role: Role
}

const STAYS_MS = 10_000

/** Short news at the bottom left. They wait while somebody points at them or has the focus there. */
export class Toasts {
  all = $state<Toast[]>([])
  #next = 1
  #timers = new Map<number, ReturnType<typeof setTimeout>>()

  show(text: string, icon: IconName = 'check', role: Role = 'ok'): void {
    const id = this.#next++
    this.all = [...this.all.slice(-2), { id, text, icon, role }]
    this.release(id)
  }

  hold(id: number): void {
    clearTimeout(this.#timers.get(id))
  }

  release(id: number): void {
    clearTimeout(this.#timers.get(id))
    this.#timers.set(
      id,
      setTimeout(() => this.dismiss(id), STAYS_MS),
    )
  }

  dismiss(id: number): void {
    this.hold(id)
    this.#timers.delete(id)
    this.all = this.all.filter((toast) => toast.id !== id)
  }
}
