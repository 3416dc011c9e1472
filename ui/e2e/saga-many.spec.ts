//! Many at once: a pause and its end, who looks after them, and their end with evidence of each, each seen before and after.

import { expect, test, type Page } from '@playwright/test'
import { Colleague, login } from './colleague'
import { data, policy, psql } from './database'
import { book, bookings } from './desk'

test.describe.configure({ mode: 'serial' })
test.setTimeout(180_000)
test.skip(!data, 'needs the desk of .ci/journeys')

let ines: Colleague

test.beforeAll(async ({ browser }) => {
  test.setTimeout(120_000)
  const context = await browser.newContext()
  const page = await context.newPage()
  const made = await login(page, 'Ines Berg', 'manager')
  await context.close()
  ines = await Colleague.comes(browser, made)
})
test.afterAll(async () => ines?.goes())

const row = (page: Page, reference: string) => page.locator(`[data-testid="saga-row"][data-reference="${reference}"]`)

async function list(page: Page, tab: string, references: string[]): Promise<void> {
  await page.goto(`/#/sagas?tab=${tab}`)
  for (const reference of references) await expect(row(page, reference)).toBeVisible({ timeout: 40_000 })
}

async function made(page: Page, name: string, pay: 'link' | 'pm_card_visa'): Promise<string> {
  await bookings(page)
  return book(page, { name, pay })
}

/** Chooses these, and only these, and asks for one decision. */
async function choose(page: Page, references: string[], action: string): Promise<void> {
  for (const reference of references) await page.getByRole('checkbox', { name: new RegExp(reference) }).check()
  await expect(page.getByTestId('bulk-bar')).toContainText(`${references.length} selected`)
  await page.getByTestId('decide-chosen').click()
  await page.getByTestId(`bulk-${action}`).check()
}

const state = (reference: string) =>
  psql(`select i.state || case when i.paused_at is not null then ' paused' else '' end from saga.instance i where i.context->>'reference' = '${reference}'`)

/** What became of each, in the order in which they were chosen. */
async function became(page: Page, all: Record<string, 'applied' | 'refused'>): Promise<void> {
  const dialog = page.getByTestId('batch-dialog')
  for (const [reference, status] of Object.entries(all)) {
    await expect(dialog.locator(`[data-reference="${reference}"]`)).toHaveAttribute('data-status', status, { timeout: 40_000 })
  }
}

test('bookings that wait for their customers are paused, and let go on but for the one that somebody else let go on', async ({ page }) => {
  const waiting: string[] = []
  for (const name of ['Nuno Prates', 'Olga Reis', 'Pia Salvador']) waiting.push(await made(page, name, 'link'))
  await list(page, 'waiting_for_customer', waiting)
  await choose(page, waiting, 'pause')
  await expect(page.getByTestId('bulk-sums')).toContainText('3')
  await expect(page.getByTestId('bulk-go')).toHaveAttribute('aria-disabled', 'true')
  await page.getByTestId('bulk-reason').fill('The card terminal is being looked at')
  await page.getByTestId('bulk-go').click()
  await became(page, { [waiting[0]!]: 'applied', [waiting[1]!]: 'applied', [waiting[2]!]: 'applied' })
  await page.getByTestId('batch-dialog-keep').click()
  for (const reference of waiting) {
    expect(state(reference)).toContain('paused')
    await expect(row(page, reference)).toContainText('Paused')
  }

  // Ines lets one of them go on by itself; the window shows it, and the preview leaves it out by name.
  await list(ines.page, 'waiting_for_customer', waiting)
  await row(ines.page, waiting[1]!).click()
  await ines.page.getByTestId('act-resume').click()
  await expect.poll(() => state(waiting[1]!)).not.toContain('paused')
  await expect(row(page, waiting[1]!)).not.toContainText('Paused')
  await choose(page, waiting, 'resume')
  await expect(page.getByTestId('bulk-refused')).toContainText(`${waiting[1]} It is not paused.`)
  await expect(page.getByTestId('bulk-go')).toContainText('2')
  await page.getByTestId('bulk-go').click()
  await became(page, { [waiting[0]!]: 'applied', [waiting[2]!]: 'applied' })
  await expect(page.getByTestId('batch-dialog').locator(`[data-reference="${waiting[1]}"]`)).toHaveCount(0)
  await page.getByTestId('batch-dialog-keep').click()
  for (const reference of waiting) expect(state(reference)).not.toContain('paused')
  // Each has both acts in its own audit.
  await row(page, waiting[0]!).click()
  await page.getByTestId('saga-tab-commands').click()
  await expect(page.getByTestId('audit')).toContainText('The card terminal is being looked at')
})

test('those that wait for a person are given to a colleague, who finds them as hers', async ({ page }) => {
  policy({ notify_on_exhausted: 'park', approval_minor: { '*': 10_000_000, EUR: 10_000_000 } })
  const seen: string[] = []
  for (let i = 0; i < 3; i++) seen.push(await made(page, 'Bounce Teixeira', 'pm_card_visa'))
  await list(page, 'needs_person', seen)
  await choose(page, seen, 'assign')
  await page.getByTestId('bulk-to').click()
  await page.getByRole('option', { name: /Ines Berg/ }).click()
  await page.getByTestId('bulk-go').click()
  await became(page, { [seen[0]!]: 'applied', [seen[1]!]: 'applied', [seen[2]!]: 'applied' })
  await page.getByTestId('batch-dialog-keep').click()
  for (const reference of seen) await expect(row(page, reference).getByTestId('assigned')).toContainText('Ines Berg')
  await ines.page.goto('/#/sagas?tab=needs_person&who=me')
  for (const reference of seen) await expect(row(ines.page, reference)).toBeVisible({ timeout: 20_000 })

  // She ends two of them with evidence of each. Their money stays, so a second person reads it before the yes.
  await choose(ines.page, seen.slice(0, 2), 'resolve')
  const proofs = ines.page.getByTestId('bulk-evidence')
  await expect(proofs).toHaveCount(2)
  await ines.page.getByTestId('bulk-reason').fill('Both came and were told at the desk')
  await ines.page.getByTestId('bulk-typed').fill('2')
  await expect(ines.page.getByTestId('bulk-go')).toHaveAttribute('aria-disabled', 'true')
  await proofs.nth(0).fill('visit book, page 12')
  await expect(ines.page.getByTestId('bulk-go')).toHaveAccessibleDescription(/Evidence for 1 is missing/)
  await proofs.nth(1).fill('visit book, page 13')
  await ines.page.getByTestId('bulk-go').click()
  await expect(ines.page.getByTestId('bulk-dialog')).toBeHidden()
  for (const reference of seen.slice(0, 2)) expect(state(reference)).toBe('parked')

  await page.goto('/#/sagas')
  const batch = page.locator('[data-testid="batch"]').filter({ hasText: 'Both came and were told at the desk' })
  await expect(batch).toContainText('€240.00')
  await batch.getByTestId('batch-look').click()
  await expect(page.getByTestId('batch-items')).toContainText('visit book, page 12')
  await expect(page.getByTestId('batch-items')).toContainText('visit book, page 13')
  await page.getByTestId('batch-dialog-keep').click()
  await batch.getByTestId('batch-approve').click()
  await expect(page.getByTestId('approve-many-sums')).toContainText('€240.00')
  await page.getByTestId('approve-many-yes').click()
  await expect(batch).toHaveAttribute('data-state', 'done', { timeout: 40_000 })
  // By the keyboard: what is above it may still move.
  await batch.getByTestId('batch-look').press('Enter')
  await became(page, { [seen[0]!]: 'applied', [seen[1]!]: 'applied' })
  await page.getByTestId('batch-dialog').getByRole('link', { name: seen[1]! }).click()
  await expect(page.getByTestId('resolution')).toContainText('visit book, page 13')
  await page.getByTestId('saga-tab-commands').click()
  await expect(page.getByTestId('audit')).toContainText('Ines Berg')
  // The third was not chosen, and waits on.
  expect(state(seen[2]!)).toBe('parked')
})
