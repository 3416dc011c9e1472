//! From a row or a page to what it is about, with the same two keys everywhere.

import { expect, test } from 'vitest'
import { sagaRows } from '../src/backend/sagas'
import { world } from '../src/backend/world'
import { accessible, all, find, open, press, says, seen, until } from './desk'

const PAYMENT = 'https://dashboard.stripe.com/test/payments/pi_3QK8vR2eZvKYlo2C1d2Lw'

function go(key: string) {
  press('g')
  press(key)
}

test('from the chosen booking of the list to itself, its saga, its events, what left for it, and Stripe', async () => {
  const backend = world()
  const arrive = async (key: string, where: RegExp) => {
    history.replaceState(null, '', '#/bookings')
    window.dispatchEvent(new HashChangeEvent('hashchange'))
    await until(() => all('booking-row').length > 10, 'rows')
    go(key)
    await until(() => where.test(location.hash), `${where}, and not ${location.hash}`)
  }
  open('/bookings', backend)
  await until(() => all('booking-row').length > 10, 'rows')
  go('b')
  await says('Nothing is chosen. J and K choose a row.')
  expect(location.hash).toBe('#/bookings')
  press('j')
  const id = '[0-9a-f-]{36}'
  await arrive('b', /^#\/bookings\/BK-/)
  await arrive('a', /^#\/sagas\/[0-9a-f-]+$/)
  await arrive('e', new RegExp(`stream=booking-${id}`))
  await arrive('w', new RegExp(`^#/deliveries\\?booking=${id}$`))
  await arrive('s', /^#\/bookings$/)
  await until(() => backend.links.length === 1, 'Stripe')
  expect(backend.links[0]).toMatch(/^https:\/\/dashboard\.stripe\.com\/test\/payments\/pi_/)
})

test('from the focused saga, and from the box that chooses it', async () => {
  const backend = open('/sagas')
  await until(() => all('saga-row').length === 3, 'rows')
  press('j')
  go('s')
  await until(() => backend.links.length === 1, 'Stripe')
  all('choose')[1]!.focus()
  go('e')
  await until(() => location.hash.includes(`stream=booking-${sagaRows[1]!.booking.booking_id}`), 'its events')
})

test('from a saga that is chosen to its own page, its booking and its webhooks', async () => {
  for (const [key, where] of [
    ['a', `#/sagas/${sagaRows[0]!.saga_id}`],
    ['b', `#/bookings/${sagaRows[0]!.booking.reference}`],
    ['w', `#/deliveries?booking=${sagaRows[0]!.booking.booking_id}`],
  ] as const) {
    if (find('nav-sagas')) {
      history.replaceState(null, '', '#/sagas')
      window.dispatchEvent(new HashChangeEvent('hashchange'))
    } else open('/sagas')
    await until(() => all('saga-row').length === 3, 'rows')
    press('j')
    go(key)
    await until(() => location.hash === where, where)
  }
})

test('from a booking’s page, an event and a delivery to Stripe', async () => {
  const backend = open('/bookings')
  await until(() => all('booking-row').length > 10, 'rows')
  const to = (path: string) => {
    history.replaceState(null, '', `#${path}`)
    window.dispatchEvent(new HashChangeEvent('hashchange'))
  }
  to(`/bookings/${all('booking-row')[0]!.dataset.reference!}`)
  await seen('headline')
  go('s')
  await until(() => backend.links.length === 1, 'from the booking')
  to('/deliveries')
  await until(() => all('delivery-row').length > 3, 'deliveries')
  press('j')
  await seen('delivery')
  go('s')
  await until(() => backend.links.length === 2, 'from the delivery')
  to('/events')
  await until(() => all('event-row').length > 10, 'events')
  press('j')
  await until(() => find('event-details')?.querySelector('[data-shown="true"]'), 'an event')
  go('s')
  await until(() => backend.links.length === 3, 'from the event')
  for (const link of backend.links) expect(link).toMatch(/^https:\/\/dashboard\.stripe\.com\/test\/(payments\/pi_|checkout\/sessions\/cs_)/)
  expect(backend.links).toContain(PAYMENT)
})

test('the help lists them, and stays beside the page', async () => {
  open('/sagas')
  await until(() => all('saga-row').length === 3, 'rows')
  press('?')
  await seen('keys')
  for (const word of ['From a row or a page', 'To its booking', 'To its saga', 'To its events', 'To its payment at Stripe']) await says(word)
  await accessible()
})
