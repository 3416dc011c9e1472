//! A person decides what no rule can: a booking that is paid, and whose message reaches nobody.

import AxeBuilder from '@axe-core/playwright'
import { expect, test } from '@playwright/test'
import { data, policy } from './database'
import { book, bookings } from './desk'

test('a failed saga is compensated by hand, with its plan seen first', async ({ page }) => {
  test.setTimeout(120_000)
  test.skip(!data, 'needs the desk of .ci/journeys')
  policy({ notify_on_exhausted: 'park' })
  await bookings(page)
  const reference = await book(page, { name: 'Bounce Silveira', pay: 'pm_card_visa' })
  await expect(page.getByTestId('need-person-count')).toBeVisible({ timeout: 30_000 })
  await page.getByTestId('nav-sagas').click()
  const row = page.locator(`[data-testid="saga-row"][data-reference="${reference}"]`)
  await expect(row).toContainText('no message reached the customer', { timeout: 20_000 })
  await row.click()
  await expect(page.getByTestId('why')).toContainText('No message reached the customer')
  expect((await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag22aa']).analyze()).violations.map((v) => v.id)).toEqual([])

  await page.keyboard.press('c')
  const dialog = page.getByTestId('decide-dialog')
  await expect(dialog.getByTestId('plan').locator('li')).toHaveCount(5)
  await expect(dialog).toContainText('goes back to the customer')
  await page.getByTestId('decide-reason').fill('Called: the address was mistyped and she cannot come')
  await page.keyboard.press('Control+Enter')
  await expect(dialog).toBeHidden()
  await expect(page.getByTestId('saga-state')).toContainText('Undone', { timeout: 30_000 })
  await expect(page.getByTestId('money-kept')).toContainText('0.00')
  await page.getByTestId('saga-tab-commands').click()
  await expect(page.getByTestId('audit')).toContainText('Called: the address was mistyped')
  await expect(page.getByTestId('became')).toContainText('Undone')

  // The way back: from the booking to its saga.
  await page.getByTestId('to-booking').click()
  await page.getByTestId('headline').waitFor()
  await page.getByTestId('saga-toggle').click()
  await page.getByTestId('to-saga').click()
  await expect(page.getByTestId('saga-state')).toBeVisible()
})

test('a confirmed booking is cancelled from its page, with fee and refund seen first', async ({ page }) => {
  test.setTimeout(120_000)
  test.skip(!data, 'needs the desk of .ci/journeys')
  policy({ cancel_free_hours: 8760, cancel_fee_percent: 25, cancel_late_hours: 0, cancel_late_percent: 100 })
  await bookings(page)
  const reference = await book(page, { name: 'Rui Tavares', pay: 'pm_card_visa' })
  await page.goto(`/#/bookings/${reference}`)
  await expect(page.getByTestId('headline')).toContainText('Confirmed', { timeout: 30_000 })
  await page.getByTestId('cancel-booking').click()
  const dialog = page.getByTestId('decide-dialog')
  await expect(dialog.getByTestId('plan').locator('li')).toHaveCount(5)
  await expect(dialog).toContainText('stay with you as the fee')
  await expect(dialog).toContainText('25 % of what was paid')
  await expect(dialog).toContainText('goes back to the customer')
  await page.getByTestId('decide-reason').fill('Called: he is ill and cannot come')
  await page.keyboard.press('Control+Enter')
  await expect(dialog).toBeHidden()
  await expect(page.getByTestId('headline')).toContainText('Cancelled', { timeout: 30_000 })
  // A fourth of €120 stays.
  await expect(page.getByTestId('money-kept')).toContainText('€30.00', { timeout: 30_000 })
  await page.getByTestId('saga-toggle').click()
  await expect(page.getByTestId('saga-step-refund')).toHaveAttribute('data-state', 'done', { timeout: 30_000 })
})
