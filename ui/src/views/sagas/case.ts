//! A saga with everything known of it, as a file for whoever helps. Who the customer is does not leave the desk.

import type { DeliveryList, EventPage, SagaPage } from '../../backend/types'
import type { Desk } from '../../live/desk'
import { everything } from '../events/filters'
import { logQuestion, wholeLog } from '../deliveries/logFilter'

const HIDDEN = '(left out)'
/** As many events, and deliveries, as a file holds; what is beyond is said in it. */
const MOST = 5_000
/** Of one answer. */
const EVENTS_AT_ONCE = 1_000
const DELIVERIES_AT_ONCE = 500
/** Where the rest is, for whoever has the file and not the desk. */
const REST = 'Ask the desk: its page of events, filtered by this booking’s stream, has all of them, and "bizing-desk export" writes the whole log.'
/** What people and other programs wrote: a name or a number may stand anywhere in it. */
const WRITTEN = new Set(['reason', 'refusal', 'evidence', 'message', 'error', 'text', 'note', 'said', 'response', 'undo_reason', 'description'])

/** What else is known of its booking. */
export interface Beside {
  events: unknown[]
  deliveries: unknown[]
  left_out: LeftOut
}
interface LeftOut {
  events: number
  deliveries: number
}
const NOTHING: Beside = { events: [], deliveries: [], left_out: { events: 0, deliveries: 0 } }
const cut = ({ events, deliveries }: LeftOut): number => events + deliveries

export function caseOf(page: SagaPage, beside: Beside = NOTHING): Record<string, unknown> {
  const name = page.row.booking.customer.name
  const copy = structuredClone(page)
  copy.email = copy.email === null ? null : HIDDEN
  copy.row.booking.customer.name = HIDDEN
  const left_out = cut(beside.left_out) > 0 ? { ...beside.left_out, rest: REST } : null
  const told = redacted({ ...copy, booking_events: beside.events, deliveries: beside.deliveries, left_out }, name) as Record<string, unknown>
  return { kind: 'bizing-desk saga case', version: 2, ...told }
}

function redacted(value: unknown, name: string, key = '', written = false): unknown {
  const within = written || WRITTEN.has(key)
  if (typeof value === 'string') return within ? withoutPerson(withoutAddress(value), name) : withoutName(withoutAddress(value), name)
  if (Array.isArray(value)) return value.map((one) => redacted(one, name, key, written))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([of, one]) => [of, redacted(one, name, of, within)]))
}

const withoutAddress = (text: string) => text.replace(/[^\s"<>,;:()\\]+@[^\s"<>,;:()\\]+/g, '(address)')
const literal = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
const withoutName = (text: string, name: string) => (name ? text.replace(new RegExp(literal(name), 'giu'), '(name)') : text)

/** Each part of the name too, and whatever could be a telephone number. A date is none, nor is a part of an id. */
function withoutPerson(text: string, name: string): string {
  const parts = name.split(/\s+/).filter((part) => part.length > 2)
  const unnamed = parts.reduce((left, part) => left.replace(new RegExp(`(?<!\\p{L})${literal(part)}(?!\\p{L})`, 'giu'), '(name)'), withoutName(text, name))
  return unnamed.replace(/(?<![\w-])\+?\d[\d ()./-]{6,}\d(?![\w-])/g, (number) => (/^\d{4}-\d{2}-\d{2}/.test(number) || number.replace(/\D/g, '').length < 7 ? number : '(number)'))
}

/** The booking's events as they are stored, with the conversations they belong to, and where they went. */
export async function besideOf(desk: Desk, page: SagaPage): Promise<Beside> {
  const booking = page.row.booking.booking_id
  const [log, sent] = await Promise.all([eventsOf(desk, booking), deliveriesOf(desk, booking)])
  const told: unknown[] = []
  let beyond = log.left_out
  for (const correlation_id of log.conversations) {
    const copy = await desk.call('copy_events', { copy: 'correlation', correlation_id })
    told.push(...(JSON.parse(copy.json) as unknown[]))
    beyond += copy.left_out
  }
  return { events: told, deliveries: sent.rows, left_out: { events: beyond, deliveries: sent.left_out } }
}

/** The conversations that speak of a booking, the oldest first. */
async function eventsOf(desk: Desk, booking: string): Promise<{ conversations: string[]; left_out: number }> {
  const conversations = new Set<string>()
  let seen = 0
  let before: number | null = null
  for (;;) {
    const page: EventPage = await desk.call('list_events', { filter: { ...everything, stream: `booking-${booking}` }, before, after: null, limit: EVENTS_AT_ONCE })
    for (const row of page.rows) conversations.add(row.correlation_id)
    seen += page.rows.length
    before = page.rows.at(-1)?.position ?? null
    if (!page.more || before === null) return { conversations: [...conversations].reverse(), left_out: 0 }
    if (seen >= MOST) return { conversations: [...conversations].reverse(), left_out: Math.max((page.matched?.count ?? 0) - seen, 1) }
  }
}

async function deliveriesOf(desk: Desk, booking: string): Promise<{ rows: unknown[]; left_out: number }> {
  const rows: unknown[] = []
  let after: string | null = null
  for (;;) {
    const page: DeliveryList = await desk.call('list_deliveries', { filter: { ...logQuestion(wholeLog, 0, 'UTC'), booking_id: booking }, after, limit: DELIVERIES_AT_ONCE })
    rows.push(...page.rows)
    after = page.next
    if (after === null) return { rows, left_out: 0 }
    if (rows.length >= MOST) return { rows, left_out: Math.max(page.matching.count - rows.length, 1) }
  }
}

/** Returns how many events and deliveries did not fit. */
export async function saveCase(desk: Desk, page: SagaPage): Promise<number> {
  const beside = await besideOf(desk, page)
  const blob = new Blob([JSON.stringify(caseOf(page, beside), null, 2)], { type: 'application/json' })
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = `saga-${page.row.booking.reference}.json`
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
  return cut(beside.left_out)
}
