//! A booking that is being made. It outlives the drawer: closing it by mistake loses nothing that was typed.

import type { CreateBooking, CustomerRow, FreeTime, PaymentMode, Service } from '../../backend/types'
import { t } from '../../i18n'
import { newId } from '../../lib/ids'

export class Draft {
  /** The same for every try of this booking, so that it is made once. */
  readonly commandId = newId()
  known = $state<CustomerRow | null>(null)
  /** A new customer is being written down. */
  isNew = $state(false)
  name = $state('')
  email = $state('')
  phone = $state('')
  serviceId = $state('')
  /** Empty: anyone who performs it. */
  staffId = $state('')
  date = $state('')
  time = $state.raw<FreeTime | null>(null)
  mode = $state<PaymentMode>('link')
  card = $state('')
  /** Times that somebody else took while this was being written. */
  taken = $state.raw<FreeTime[]>([])

  constructor(name: string, today: string) {
    this.name = name
    this.isNew = false
    this.date = today
  }

  get touched(): boolean {
    return this.known !== null || this.name !== '' || this.email !== '' || this.phone !== '' || this.serviceId !== ''
  }

  /** The first thing that is missing, in words, or null when it can be booked. */
  missing(): string | null {
    if (!this.known && !(this.isNew && this.name.trim())) return t('create.need.customer')
    if (!this.serviceId) return t('create.need.service')
    if (!this.time) return t('create.need.time')
    if (this.mode === 'link' && !this.address()) return t('create.need.email')
    if (this.mode === 'card_on_file' && !this.card) return t('create.need.card')
    return null
  }

  /** Where a payment link would go. */
  address(): string | null {
    return (this.known ? this.known.email : this.email.trim()) || null
  }

  request(): CreateBooking {
    const time = this.time!
    return {
      command_id: this.commandId,
      customer: this.known
        ? { is: 'known', customer_id: this.known.customer_id }
        : { is: 'new', name: this.name.trim(), email: this.email.trim() || null, phone: this.phone.trim() || null },
      service_id: this.serviceId,
      staff_id: time.staff.id,
      room_id: time.room?.id ?? null,
      starts: time.starts.wall.slice(0, 16),
      fold: null,
      payment_mode: this.mode,
      payment_method: this.mode === 'card_on_file' ? this.card : null,
    }
  }
}

export interface Slot {
  wall: string
  /** Everybody who is free then; the first one is offered. */
  times: FreeTime[]
  /** Was offered and is gone: shown, so that nobody looks for it. */
  gone: boolean
}

export type PartOfDay = 'morning' | 'afternoon' | 'evening'

/** One slot for each start, in three parts of the day. */
export function byPart(free: FreeTime[], taken: FreeTime[] = []): Record<PartOfDay, Slot[]> {
  const slots = new Map<string, Slot>()
  for (const time of free) {
    const slot = slots.get(time.starts.utc)
    if (slot) slot.times.push(time)
    else slots.set(time.starts.utc, { wall: time.starts.wall, times: [time], gone: false })
  }
  for (const time of taken) {
    if (!slots.has(time.starts.utc)) slots.set(time.starts.utc, { wall: time.starts.wall, times: [time], gone: true })
  }
  const parts: Record<PartOfDay, Slot[]> = { morning: [], afternoon: [], evening: [] }
  for (const slot of [...slots.values()].sort((a, b) => (a.wall < b.wall ? -1 : 1))) {
    const hour = Number(slot.wall.slice(11, 13))
    parts[hour < 12 ? 'morning' : hour < 17 ? 'afternoon' : 'evening'].push(slot)
  }
  return parts
}

/** Which field of the form an error of the desk is about. */
export function fieldOf(field: string | null): string | null {
  const last = field?.split('.').at(-1) ?? null
  switch (last) {
    case 'customer_id':
    case 'customer':
      return 'customer'
    case 'staff_id':
    case 'room_id':
    case 'starts':
    case 'fold':
      return 'time'
    case 'payment_method':
    case 'payment_mode':
      return 'payment'
    case 'name':
    case 'email':
    case 'phone':
    case 'service_id':
      return last
    default:
      return null
  }
}

export function blocked(service: Service): number {
  return service.duration_min + service.buffer_before_min + service.buffer_after_min
}
