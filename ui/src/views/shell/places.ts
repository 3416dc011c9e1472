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
  /** Stands apart from what is above it. */
  apart?: true
}

export const places: Place[] = [
  { section: 'bookings', path: '/bookings', word: 'nav.bookings', icon: 'notebook-text' },
  { section: 'sagas', path: '/sagas', word: 'nav.sagas', icon: 'workflow' },
  { section: 'deliveries', path: '/deliveries', word: 'nav.deliveries', icon: 'send' },
  { section: 'messages', path: '/messages', word: 'nav.messages', icon: 'inbox', sandbox: true },
  { section: 'projections', path: '/projections', word: 'nav.projections', icon: 'layers', apart: true },
  { section: 'events', path: '/events', word: 'nav.events', icon: 'list-tree' },
  { section: 'settings', path: '/settings', word: 'nav.settings', icon: 'settings-2', apart: true },
]
