import { expect, test } from '@playwright/test'
import { book, bookings, choose, headline, prepare } from './desk'

test.beforeEach(async ({ page }) => bookings(page))

test('a booking with a good card is confirmed, and the customer is told', async ({ page }) => {
  const reference = await book(page, { name: 'Zoë Nakamura', pay: 'pm_card_visa' })
  await headline(page, /^Confirmed, paid .* The customer has the e-mail\.$/)
  await page.getByTestId('saga-toggle').click()
  for (const step of ['hold', 'payment', 'capture', 'confirm', 'notify']) {
    await expect(page.getByTestId(`saga-step-${step}`)).toHaveAttribute('data-state', 'done')
  }
  await page.goto('/#/messages')
  await expect(page.getByTestId('message-text')).toContainText(reference)
  await expect(page.getByTestId('message-text')).toContainText('BEGIN:VCALENDAR')
})

test('a declined card takes nothing; cancelling then gives the slot back', async ({ page }) => {
  await book(page, { name: 'Dimitra Papadaki', pay: 'pm_card_chargeDeclined' })
  await headline(page, /the card (did not go through|was declined)/)
  await page.getByTestId('cancel-booking').click()
  await page.getByTestId('reason').fill('Has no other card with her')
  await page.getByTestId('reason-go').click()
  await headline(page, /^Cancelled.*nothing was taken/)
  await expect(page.getByTestId('money-kept')).toContainText('0.00')
  await page.getByTestId('saga-toggle').click()
  await expect(page.getByTestId('saga-undo-hold')).toBeVisible()
})

test('a booking paid at the venue is confirmed without money', async ({ page }) => {
  await book(page, { name: 'Rui Salgado', pay: 'venue' })
  await headline(page, /^Confirmed, .* to be paid at the venue\./)
})

test('two people want one slot: one gets it, the other loses nothing that was typed', async ({ page, browser }) => {
  const other = await (await browser.newContext({ storageState: await page.context().storageState(), viewport: { width: 1440, height: 900 } })).newPage()
  await bookings(other)
  const mine = await prepare(page, { name: 'Stella Mavros', pay: 'venue', slot: 0 })
  const theirs = await prepare(other, { name: 'Kenji Watanabe', pay: 'venue', slot: 0 })
  expect(theirs).toBe(mine)
  await Promise.all([page.getByTestId('book').click(), other.getByTestId('book').click()])
  // Several people may be free then, so losing the race can mean another person at the same time; never both the same.
  const won = await Promise.all([page, other].map((p) => p.getByTestId('headline').or(p.getByTestId('slot-taken')).first().waitFor().then(() => p.getByTestId('headline').isVisible())))
  expect(won.some(Boolean)).toBe(true)
  for (const [i, p] of [page, other].entries()) {
    if (won[i]) continue
    await expect(p.getByTestId('customer-name')).toHaveValue(i === 0 ? 'Stella Mavros' : 'Kenji Watanabe')
    await choose(p)
    await p.getByTestId('book').click()
    await p.getByTestId('headline').waitFor()
  }
  await other.context().close()
})

test('what one window books comes up on the other’s list by itself', async ({ page, browser }) => {
  const other = await (await browser.newContext({ storageState: await page.context().storageState() })).newPage()
  await other.goto('/#/bookings?q=Oluwaseun+Whitfield&when=any')
  await other.getByTestId('counts').waitFor()
  const reference = await book(page, { name: 'Oluwaseun Whitfield', pay: 'venue' })
  await expect(other.locator(`[data-reference="${reference}"]`)).toBeVisible()
  await other.context().close()
})
