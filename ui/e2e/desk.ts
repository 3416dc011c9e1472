//! The steps that journeys are made of.

import { expect, type Page } from '@playwright/test'
import { fileURLToPath } from 'node:url'

/** The cookie that the token bought. */
export const KEPT = fileURLToPath(new URL('../test-results/desk.json', import.meta.url))

/** Answers the first question with the example, when it is asked, and waits for the list. */
export async function started(page: Page): Promise<void> {
  const first = page.getByTestId('start-explore').or(page.getByTestId('booking-row').first()).or(page.getByTestId('starting'))
  await first.first().waitFor()
  if (await page.getByTestId('start-explore').isVisible()) {
    await page.getByTestId('start-explore').click()
    await page.getByTestId('start-go').click()
  }
  await page.getByTestId('booking-row').first().waitFor({ timeout: 150_000 })
}

export async function bookings(page: Page): Promise<void> {
  await page.goto('/#/bookings')
  await page.getByTestId('booking-row').first().waitFor()
}

export interface Wanted {
  name: string
  pay: 'link' | 'venue' | 'pm_card_visa' | 'pm_card_chargeDeclined'
  /** Which of the free times; the last ones are seldom wanted by two tests. */
  slot?: number
}

/** Fills the drawer up to the last press. */
export async function prepare(page: Page, { name, pay, slot = -1 }: Wanted): Promise<string> {
  await page.keyboard.press('n')
  await page.getByTestId('customer-search').fill(name)
  await page.getByTestId('customer-new').click()
  await page.getByTestId('customer-email').fill(`${name.normalize('NFD').toLowerCase().replaceAll(/[^a-z]/g, '')}@example.com`)
  await page.getByTestId('service').click()
  await page.getByRole('option').first().click()
  await page.locator('[data-testid^="day-"]').nth(3).click()
  const time = await choose(page, slot)
  if (pay === 'link' || pay === 'venue') {
    await page.getByTestId(`pay-${pay}`).click()
  } else {
    await page.getByTestId('pay-card_on_file').click()
    await page.getByTestId(`card-${pay}`).click()
  }
  return time
}

/** Takes one of the free times, of the next day that has any. */
export async function choose(page: Page, slot = -1): Promise<string> {
  const slots = page.getByTestId('slot')
  await slots.or(page.getByTestId('next-free')).first().waitFor()
  if ((await slots.count()) === 0) await page.getByTestId('next-free').click()
  await slots.first().waitFor()
  const chosen = slot < 0 ? slots.last() : slots.nth(slot)
  const time = (await chosen.getAttribute('data-time')) ?? ''
  await chosen.click()
  return time
}

export async function book(page: Page, wanted: Wanted): Promise<string> {
  await prepare(page, wanted)
  await page.getByTestId('book').click()
  await page.getByTestId('headline').waitFor()
  return (await page.getByTestId('reference').innerText()).trim()
}

export async function headline(page: Page, says: RegExp): Promise<void> {
  await expect(page.getByTestId('headline')).toHaveText(says, { timeout: 20_000 })
}
