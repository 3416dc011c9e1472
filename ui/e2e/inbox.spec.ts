//! What Stripe tells, as it came and what became of it.

import AxeBuilder from '@axe-core/playwright'
import { expect, test, type Page } from '@playwright/test'
import { book, bookings } from './desk'

const accessible = async (page: Page) => {
  const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag22aa', 'best-practice']).analyze()
  expect(violations.map((v) => `${v.id}: ${v.nodes[0]?.target}`)).toEqual([])
}

test('the inbox shows what the sandbox tells of a paid booking, and processes it again without a second effect', async ({ page }) => {
  test.setTimeout(120_000)
  await bookings(page)
  const reference = await book(page, { name: 'Inbox Teixeira', pay: 'pm_card_visa' })
  await expect(page.getByTestId('headline')).toContainText('Confirmed', { timeout: 30_000 })
  await page.goto('/#/deliveries/inbox')
  await page.getByTestId('poll-now').click()
  const row = page.getByTestId('inbox-row').filter({ hasText: reference }).first()
  await expect(row).toBeVisible({ timeout: 30_000 })
  await expect(page.getByTestId('poll-bar')).toContainText('ago')
  await accessible(page)
  await row.getByRole('gridcell').nth(1).click()
  await expect(page.getByTestId('arrival-check')).toContainText(/We asked Stripe ourselves|Signature is Stripe’s/)
  await expect(page.getByTestId('arrival')).toContainText('evt_')
  await accessible(page)

  // The sums alone: beside them stands how long ago Stripe told.
  const kept = async () => {
    await page.goto(`/#/bookings/${reference}`)
    return (await page.getByTestId('money-kept').innerText()).match(/€[\d.,]+/g)
  }
  const money = await kept()
  expect(money).toEqual(['€120.00'])
  // What came by a call may have come by the poll as well: one of the two is told to be the same again.
  const came = page.getByTestId('webhooks').getByTestId('came').filter({ hasNotText: 'Duplicate' }).first()
  await expect(came).toBeVisible({ timeout: 20_000 })
  await came.click()
  await expect(page.getByTestId('arrival')).toBeVisible()
  await page.getByTestId('reprocess').click()
  await page.getByTestId('reason').fill('To see that nothing happens twice')
  await page.keyboard.press('Control+Enter')
  await expect(page.getByTestId('process-dialog')).toBeHidden()
  await expect(page.getByTestId('became-of')).toContainText('Processed again', { timeout: 20_000 })
  expect(await kept()).toEqual(money)
})
