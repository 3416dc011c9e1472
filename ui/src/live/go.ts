//! From a row or a page to what it is about: `g b` its booking, `g a` its saga, `g e` its events, `g w` what left for it,
//! `g s` its object at Stripe. The same keys everywhere; a view says what is looked at, and what it knows better.

import type { BookingPage, Session } from '../backend/types'
import { t } from '../i18n'
import { explain } from '../lib/explain'
import type { KeyMap } from '../lib/keys.svelte'
import { bookingPath, sagaPath } from '../lib/router.svelte'
import { dashboard, objectIn } from '../lib/stripe'
import type { Desk } from './desk'

export interface Subject {
  reference: string | null
  booking_id: string | null
  saga_id?: string | null
  /** At Stripe. */
  object?: string | null
}

/** Keys for what is looked at. A view puts its own ones behind these where it goes elsewhere. */
export function goKeys(desk: Desk, session: () => Session, looked: () => Subject | null): KeyMap {
  const about = (go: (subject: Subject) => void) => () => {
    const subject = looked()
    if (subject) go(subject)
    else desk.toasts.show(t('go.choose'), 'info', 'idle')
  }
  const ofBooking = (go: (id: string) => void) =>
    about(({ booking_id }) => {
      if (booking_id) go(booking_id)
      else desk.toasts.show(t('go.no_booking'), 'info', 'idle')
    })
  return {
    'g b': about(({ reference }) => goToBooking(desk, reference)),
    'g a': about(({ saga_id, reference }) => (saga_id ? desk.router.go(sagaPath(saga_id)) : void goToSaga(desk, reference))),
    'g e': ofBooking((id) => desk.router.go(`/events?stream=booking-${id}`)),
    'g w': ofBooking((id) => desk.router.go(`/deliveries?booking=${id}`)),
    'g s': about(({ object, reference }) => (object ? openAtStripe(desk, session(), object) : void goToStripe(desk, session(), reference))),
  }
}

export function goToBooking(desk: Desk, reference: string | null): void {
  if (reference) desk.router.go(bookingPath(reference))
  else desk.toasts.show(t('go.no_booking'), 'info', 'idle')
}

/** The saga of a booking: which one it is, only the booking's page knows. */
export async function goToSaga(desk: Desk, reference: string | null): Promise<void> {
  const page = await bookingOf(desk, reference)
  if (page?.saga) desk.router.go(sagaPath(page.saga.saga_id))
  else if (page) desk.toasts.show(t('go.no_saga'), 'info', 'idle')
}

/** A booking's payment, or the page that the customer was asked on. */
export function objectOf(page: BookingPage): string | null {
  return page.money.payment_intent ?? page.timeline.map((item) => (item.kind === 'event' ? objectIn(item.data) : null)).findLast((id) => id !== null) ?? null
}

async function goToStripe(desk: Desk, session: Session, reference: string | null): Promise<void> {
  const page = await bookingOf(desk, reference)
  const object = page && objectOf(page)
  if (object) openAtStripe(desk, session, object)
  else if (page) desk.toasts.show(t('saga.no_object'), 'info', 'idle')
}

function openAtStripe(desk: Desk, session: Session, object: string): void {
  void desk.live.openLink(dashboard(object, session.mode))
}

async function bookingOf(desk: Desk, reference: string | null): Promise<BookingPage | null> {
  if (!reference) {
    desk.toasts.show(t('go.no_booking'), 'info', 'idle')
    return null
  }
  try {
    return await desk.call('get_booking', { booking: reference })
  } catch (error) {
    desk.toasts.show(explain(error).message, 'circle-x', 'fail')
    return null
  }
}
