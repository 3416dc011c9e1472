//! Two people at one desk's money: each sees what the other does, and nobody decides on what is no longer true.

import { expect, test, type Page } from '@playwright/test'
import { Colleague, login } from './colleague'
import { data, policy } from './database'
import { book, bookings } from './desk'

test.describe.configure({ mode: 'serial' })
test.setTimeout(120_000)
test.skip(!data, 'needs the desk of .ci/journeys')

let mia: Colleague

test.beforeAll(async ({ browser }) => {
  test.setTimeout(120_000)
  const context = await browser.newContext()
  const page = await context.newPage()
  const made = await login(page, 'Mia Lund', 'admin')
  await context.close()
  mia = await Colleague.comes(browser, made)
})
test.afterAll(async () => mia?.goes())

const row = (page: Page, reference: string) => page.locator(`[data-testid="saga-row"][data-reference="${reference}"]`)

/** A booking that is paid, and whose message reaches nobody. */
async function stuck(page: Page): Promise<string> {
  await bookings(page)
  return book(page, { name: 'Bounce Almada', pay: 'pm_card_visa' })
}

/** The inbox, once these wait in it. */
async function inbox(page: Page, references: string[]): Promise<void> {
  await page.goto('/#/sagas')
  for (const reference of references) await expect(row(page, reference)).toBeVisible({ timeout: 30_000 })
}

async function saga(page: Page, reference: string): Promise<void> {
  await inbox(page, [reference])
  await row(page, reference).click()
  await expect(page.getByTestId('saga-lead')).toBeVisible()
}

test('of two admins on one plan the slower is refused, is told who was faster, and sees what it became', async ({ page }) => {
  policy({ notify_on_exhausted: 'park', approval_minor: { '*': 10_000_000, EUR: 10_000_000 } })
  const reference = await stuck(page)
  await saga(page, reference)
  await page.keyboard.press('c')
  await expect(page.getByTestId('plan').locator('li')).not.toHaveCount(0)
  await page.getByTestId('decide-reason').fill('She called, and cannot come')

  await saga(mia.page, reference)
  await mia.page.keyboard.press('c')
  await expect(mia.page.getByTestId('decide-dialog')).toContainText('goes back to the customer')
  await mia.page.getByTestId('decide-reason').fill('Her husband called before that')
  await mia.page.keyboard.press('Control+Enter')
  await expect(mia.page.getByTestId('decide-dialog')).toBeHidden()

  await page.keyboard.press('Control+Enter')
  await expect(page.getByTestId('decide-error')).toContainText(new RegExp(`Mia Lund \\(${mia.login}\\) changed this \\d+ s ago`))
  await expect(page.getByTestId('decide-error')).toContainText('Nothing was done by you')
  await expect(page.getByTestId('decide-go')).toHaveAttribute('aria-disabled', 'true')
  await page.getByTestId('decide-dialog-keep').click()
  await expect(page.getByTestId('saga-state')).toContainText('Undone', { timeout: 30_000 })
  await page.getByTestId('saga-tab-commands').click()
  await expect(page.getByTestId('audit')).toContainText('Her husband called before that')
  // One refund, however many pressed.
  await page.getByTestId('saga-tab-effects').click()
  await expect(page.getByTestId('effects').getByText('refund', { exact: false })).toHaveCount(1)
})

test('a refund above the sum waits for a second person, who sees its plan and says yes', async ({ page }) => {
  policy({ notify_on_exhausted: 'park', approval_minor: { '*': 100, EUR: 100 } })
  const reference = await stuck(page)
  await saga(page, reference)
  await page.keyboard.press('c')
  await expect(page.getByTestId('decide-go')).toContainText('Ask a second person for €120.00')
  await page.getByTestId('decide-reason').fill('Called her, and she made other plans')
  await page.keyboard.press('Control+Enter')
  await expect(page.getByTestId('decide-dialog')).toBeHidden()

  // Nobody says yes to themselves: it is off, and says why.
  await page.goto('/#/sagas')
  await page.getByTestId('approval-look').click()
  await expect(page.getByTestId('approve-yes')).toHaveAttribute('aria-disabled', 'true')
  await expect(page.getByTestId('approve-yes')).toHaveAccessibleDescription(/yourself|somebody else/i)
  await page.getByTestId('approve-dialog-keep').click()

  await mia.page.goto('/#/sagas')
  const asked = mia.page.getByTestId('approval').filter({ hasText: reference })
  await expect(asked).toContainText('Called her, and she made other plans')
  await asked.getByTestId('approval-look').click()
  await expect(mia.page.getByTestId('approve-dialog')).toContainText('goes back to the customer')
  await mia.page.getByTestId('approve-yes').click()
  await expect(mia.page.getByTestId('approve-dialog')).toBeHidden()
  await expect(mia.page.getByTestId('approval')).toHaveCount(0)

  await page.goto('/#/sagas?tab=done')
  await row(page, reference).click()
  await expect(page.getByTestId('saga-state')).toContainText('Undone', { timeout: 30_000 })
  await page.getByTestId('saga-tab-commands').click()
  await expect(page.getByTestId('audit')).toContainText('+ Mia Lund')
})

test('one decision for many is for those that were seen: its sum first, then its progress, then what became of each', async ({ page }) => {
  policy({ notify_on_exhausted: 'park', approval_minor: { '*': 10_000_000, EUR: 10_000_000 } })
  const seen = [await stuck(page), await stuck(page), await stuck(page)]
  await inbox(page, seen)
  for (const reference of seen) await page.getByRole('checkbox', { name: new RegExp(reference) }).check()
  await expect(page.getByTestId('bulk-bar')).toContainText('3 selected')
  await page.getByTestId('decide-chosen').click()
  await expect(page.getByTestId('bulk-sums')).toContainText('3')
  await page.getByTestId('bulk-reason').fill('The mail server was down all morning')
  await expect(page.getByTestId('bulk-go')).toHaveAttribute('aria-disabled', 'true')
  await page.getByTestId('bulk-typed').fill('3')

  // Meanwhile one of them is decided otherwise, and a fourth gets stuck: it never joins.
  await saga(mia.page, seen[1]!)
  await mia.page.getByTestId('more').click()
  await mia.page.getByTestId('more-skip').click()
  await mia.page.getByTestId('decide-reason').fill('She knows: I had her on the phone')
  await mia.page.keyboard.press('Control+Enter')
  await expect(mia.page.getByTestId('decide-dialog')).toBeHidden()
  const later = await stuck(mia.page)
  await inbox(mia.page, [later])

  await page.getByTestId('bulk-go').click()
  await expect(page.getByTestId('bulk-dialog')).toBeHidden()
  const became = page.getByTestId('batch-dialog')
  await expect(became.getByTestId('batch-counts')).toContainText(/2\s*done\s*1\s*left out/, { timeout: 40_000 })
  for (const [i, status] of ['applied', 'refused', 'applied'].entries()) {
    await expect(became.locator(`[data-reference="${seen[i]}"]`)).toHaveAttribute('data-status', status)
  }
  await expect(became.locator(`[data-reference="${seen[1]}"]`)).toContainText(/changed|over/)
  await expect(became.locator(`[data-reference="${seen[0]}"]`)).toContainText('Undone')
  await expect(became.getByTestId('batch-sums')).toContainText(/€240\.00\s*€240\.00\s*none/)
  await became.getByTestId('batch-dialog-keep').click()
  const batch = page.getByTestId('batch').first()
  await expect(batch).toHaveAttribute('data-state', 'done')
  await expect(batch.getByTestId('batch-tally')).toContainText('2 done, 1 left out')
  await expect(batch).toContainText(seen[1]!)
  // The other window has it too, without being asked.
  await expect(mia.page.getByTestId('batch').first()).toHaveAttribute('data-state', 'done')
  await expect(row(page, later)).toBeVisible()
  for (const reference of seen) await expect(row(page, reference)).toBeHidden()
})

test('a group is decided once, and its decision is seen in each of its sagas', async ({ page }) => {
  policy({ notify_on_exhausted: 'park', approval_minor: { '*': 10_000_000, EUR: 10_000_000 } })
  const seen = [await stuck(page), await stuck(page)]
  await inbox(page, seen)
  const group = page.locator('[data-testid="saga-group"][data-key="notify:F:refused"]')
  await group.click()
  const rows = page.getByTestId('saga-row')
  await expect(page.getByTestId('decide-group')).toBeVisible()
  await page.getByTestId('decide-group').click()
  await page.getByTestId('bulk-skip').check()
  await page.getByTestId('bulk-reason').fill('All of them were called by hand')
  const typed = page.getByTestId('bulk-typed')
  const many = Number(await page.getByTestId('bulk-sums').locator('dd').first().innerText())
  expect(many).toBeGreaterThanOrEqual(seen.length)
  if (await typed.isVisible()) await typed.fill(String(many))
  await page.getByTestId('bulk-go').click()
  await page.getByTestId('batch-dialog-keep').click()
  await expect(page.getByTestId('batch').first()).toHaveAttribute('data-state', 'done', { timeout: 30_000 })
  await expect(rows).toHaveCount(0)
  await page.goto('/#/sagas?tab=done')
  await row(page, seen[0]!).click()
  await expect(page.getByTestId('saga-state')).toContainText('Done, with a warning')
  await page.getByTestId('saga-tab-commands').click()
  await expect(page.getByTestId('audit')).toContainText('All of them were called by hand')
})
