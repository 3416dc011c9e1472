//! Where one can go. Only what works stands here: a calm rail beats a dead one.

import type { PlainKey } from '../../i18n'
import type { IconName } from '../../ui/icons'

export interface Place {
  section: string
  path: string
  word: PlainKey
  icon: IconName
  /** Only where no money moves. */
  sandbox?: true
  /** Stands apart from the day's work. */
  apart?: true
}

export const places: Place[] = [
  { section: 'bookings', path: '/bookings', word: 'nav.bookings', icon: 'notebook-text' },
  { section: 'messages', path: '/messages', word: 'nav.messages', icon: 'inbox', sandbox: true },
  { section: 'settings', path: '/settings', word: 'nav.settings', icon: 'settings-2', apart: true },
]
