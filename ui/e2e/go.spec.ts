//! From a row to what it is about, without a mouse.

import { expect, test } from '@playwright/test'
import { book, bookings, headline } from './desk'

test('two keys lead from the list to the saga, its events, its webhooks, and to Stripe', async ({ page, context }) => {
  await bookings(page)
  const reference = await book(page, { name: 'Greta Lindholm', pay: 'pm_card_visa' })
  await headline(page, /Confirmed/)
  const go = async (key: string) => {
    await page.keyboard.press('g')
    await page.keyboard.press(key)
  }
  await page.goto(`/#/bookings?q=${reference}&when=any`)
  await expect(page.getByTestId('booking-row')).toHaveCount(1)
  await page.keyboard.press('j')
  await go('a')
  await expect(page.getByTestId('to-booking')).toHaveText(reference)
  await go('e')
  await expect(page).toHaveURL(/#\/events\?stream=booking-/)
  await page.getByTestId('event-row').first().waitFor()
  await page.keyboard.press('j')
  await expect(page.getByTestId('event-details')).toContainText(reference)
  await go('b')
  await expect(page.getByTestId('reference')).toHaveText(reference)
  // Stripe's own page: the payment's, in a window of its own.
  await context.route('https://dashboard.stripe.com/**', (route) => route.fulfill({ body: 'Stripe', contentType: 'text/html' }))
  const [stripe] = await Promise.all([context.waitForEvent('page'), go('s')])
  await expect.poll(() => stripe.url()).toMatch(/^https:\/\/dashboard\.stripe\.com\/test\/payments\/pi_/)
  await stripe.close()
  await go('w')
  await expect(page).toHaveURL(/#\/deliveries\?booking=/)
})
