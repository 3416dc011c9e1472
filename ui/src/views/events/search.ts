//! What somebody may mean by the words in the search field. Nothing is guessed that the log does not know: each reading
//! is one that can be chosen, the likeliest first. A word that is nothing else may be somebody's login.

import type { EventCatalogue } from '../../backend/types'
import { contains } from '../../lib/text'

export type Reading =
  | { is: 'position'; position: number }
  | { is: 'stream'; stream: string }
  | { is: 'conversation'; id: string }
  | { is: 'types'; types: string[]; part: string }
  | { is: 'type'; type: string }
  | { is: 'category'; category: string }
  | { is: 'actor'; actor: string }

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
const STREAM = /^[a-z]+-[0-9a-f]{8}-[0-9a-f-]{27}$/i
const REFERENCE = /^BK-[0-9A-Z]{4,10}$/i
/** `#4 118 231`, `4.118.231`, `4118231` */
const POSITION = /^#?\s*\d[\d\s.,\u00a0\u202f]*$/
const LOGIN = /^[a-z_][a-z0-9_$-]{1,62}$/i
const MOST = 6

export function readings(text: string, catalogue: EventCatalogue | undefined): Reading[] {
  const typed = text.trim()
  if (!typed) return []
  const found: Reading[] = []
  if (POSITION.test(typed)) {
    const position = Number(typed.replace(/\D/g, ''))
    if (position > 0 && Number.isSafeInteger(position)) found.push({ is: 'position', position })
  }
  if (UUID.test(typed)) found.push({ is: 'conversation', id: typed.toLowerCase() }, { is: 'stream', stream: `booking-${typed.toLowerCase()}` })
  if (STREAM.test(typed)) found.push({ is: 'stream', stream: typed.toLowerCase() })
  if (REFERENCE.test(typed)) found.push({ is: 'stream', stream: typed.toUpperCase() })
  const types = (catalogue?.types ?? []).map((type) => type.name).filter((name) => contains(name, typed.replaceAll(' ', '')))
  const exact = types.find((name) => name.toLowerCase() === typed.toLowerCase().replaceAll(' ', ''))
  if (types.length > 1 && !exact) found.push({ is: 'types', types, part: typed })
  for (const type of exact ? [exact, ...types.filter((name) => name !== exact)] : types) found.push({ is: 'type', type })
  for (const category of catalogue?.categories ?? []) if (category.startsWith(typed.toLowerCase())) found.push({ is: 'category', category })
  for (const actor of catalogue?.actors ?? []) if (contains(actor, typed)) found.push({ is: 'actor', actor })
  // Somebody who left long ago: the log knows the login, no list does.
  if (!found.length && LOGIN.test(typed)) found.push({ is: 'actor', actor: typed.toLowerCase() })
  return found.slice(0, MOST)
}
