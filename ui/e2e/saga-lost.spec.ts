//! Money that Stripe has and the books do not know: taken into them, or given back when a second person says yes.

import { expect, test, type Page } from '@playwright/test'
import { Colleague, login } from './colleague'
import { data, policy, psql } from './database'
import { book, bookings } from './desk'
import { paid, refund, returned } from './stripe'

test.describe.configure({ mode: 'serial' })
test.setTimeout(180_000)
test.skip(!data, 'needs the desk of .ci/journeys')

let vera: Colleague

test.beforeAll(async ({ browser }) => {
  test.setTimeout(120_000)
  const context = await browser.newContext()
  const page = await context.newPage()
  const made = await login(page, 'Vera Dahl', 'manager')
  await context.close()
  vera = await Colleague.comes(browser, made)
})
test.afterAll(async () => vera?.goes())

const orphan = (page: Page, object: string) => page.getByTestId('orphan').filter({ hasText: object })

/** A booking that is paid and over, its saga, and its payment at Stripe. */
async function done(page: Page, name: string): Promise<{ reference: string; saga: string; intent: string }> {
  await bookings(page)
  const reference = await book(page, { name, pay: 'pm_card_visa' })
  await expect(page.getByTestId('headline')).toContainText('Confirmed', { timeout: 40_000 })
  const of = `from saga.instance i join saga.effect e using (saga_id) where i.context->>'reference' = '${reference}' and e.operation = 'create_intent'`
  await expect.poll(() => psql(`select count(*) ${of} and i.finished_at is not null`), { timeout: 40_000 }).toBe('1')
  return { reference, saga: psql(`select i.saga_id ${of}`), intent: psql(`select e.provider_object ${of}`) }
}

test('a refund that was made at Stripe’s pages is told at once, and taken into the books', async ({ page }) => {
  const it = await done(page, 'Rosa Pinto')
  const object = await refund(it.intent, 3000)
  await page.goto('/#/sagas')
  const found = orphan(page, object)
  await expect(found).toContainText(it.reference, { timeout: 40_000 })
  await expect(found).toContainText('€30.00')
  await found.getByTestId('orphan-adopt').click()
  const dialog = page.getByTestId('orphan-decide')
  await expect(page.getByTestId('orphan-decide-go')).toHaveAttribute('aria-disabled', 'true')
  await page.getByTestId('orphan-why').fill('The masseur gave her a third back by hand')
  await page.getByTestId('orphan-decide-go').click()
  await expect(dialog).toBeHidden()
  await expect(found).toHaveCount(0, { timeout: 40_000 })
  await page.goto(`/#/sagas/${it.saga}`)
  await expect(page.getByTestId('money-kept')).toContainText('€90.00', { timeout: 20_000 })
  await page.getByTestId('saga-tab-commands').click()
  await expect(page.getByTestId('audit')).toContainText('The masseur gave her a third back by hand')
  expect(await returned(it.intent)).toBe(3000)
})

test('who paid twice gets one back when a second person says yes, once', async ({ page }) => {
  policy({ approval_minor: { '*': 100, EUR: 100 } })
  const it = await done(page, 'Saul Matos')
  const lost = await paid(it.saga, 12_000)
  // As the walk along Stripe's lists finds it, ten minutes later.
  psql(`select saga.open_cases('[{"id": "${lost}", "kind": "intent", "status": "succeeded", "amount_minor": 12000, "currency": "eur", "saga_id": "${it.saga}"}]', interval '0')`)
  await page.goto('/#/sagas')
  const found = orphan(page, lost)
  await expect(found).toContainText(it.reference)
  await expect(found.getByTestId('orphan-adopt')).toHaveAccessibleDescription(/paid twice/)
  await found.getByTestId('orphan-give-back').click()
  await expect(page.getByTestId('orphan-decide-go')).toContainText('Ask a second person for €120.00')
  await page.getByTestId('orphan-why').fill('He paid by link and at the desk')
  await page.getByTestId('orphan-decide-go').click()
  await expect(page.getByTestId('orphan-decide')).toBeHidden()

  // Nobody says yes to themselves, and nothing moves before the yes.
  const asked = (on: Page) => on.getByTestId('approval').filter({ hasText: 'He paid by link and at the desk' })
  await asked(page).getByTestId('approval-look').click()
  await expect(page.getByTestId('approve-yes')).toHaveAccessibleDescription(/yourself|somebody else/i)
  await page.getByTestId('approve-dialog-keep').click()
  await expect(found.getByTestId('orphan-give-back')).toHaveAccessibleDescription(/a second person decides/)
  expect(await returned(lost)).toBe(0)

  await vera.page.goto('/#/sagas')
  await asked(vera.page).getByTestId('approval-look').click()
  const dialog = vera.page.getByTestId('approve-dialog')
  await expect(dialog.getByTestId('approve-object')).toContainText(lost)
  await expect(dialog).toContainText('€120.00')
  await expect(dialog).toContainText('The books stay as they are')
  await vera.page.getByTestId('approve-yes').click()
  await expect(dialog).toBeHidden()
  await expect(found).toHaveCount(0, { timeout: 40_000 })
  expect(await returned(lost)).toBe(12_000)
  expect(await returned(it.intent)).toBe(0)
  await page.goto(`/#/sagas/${it.saga}`)
  await page.getByTestId('saga-tab-commands').click()
  await expect(page.getByTestId('audit')).toContainText('+ Vera Dahl')
})
