//! The log and the backups against a real desk.

import AxeBuilder from '@axe-core/playwright'
import { expect, test, type Page } from '@playwright/test'
import { book, headline } from './desk'

/** `{n}` of `4,118,246 events`. */
async function total(page: Page): Promise<number> {
  await expect(page.getByTestId('event-total')).toContainText(/\d/)
  return Number(/[\d,]+/.exec(await page.getByTestId('event-total').innerText())![0].replaceAll(',', ''))
}

test('a booking is followed from its timeline into the log, to its causes and to how it stood', async ({ page }) => {
  await page.goto('/#/bookings')
  await page.getByTestId('booking-row').first().waitFor()
  const reference = await book(page, { name: 'Noor Haddad', pay: 'pm_card_visa' })
  await headline(page, /Confirmed/)
  await page.locator('[data-testid="timeline-item"][data-kind="event"] button').first().click()
  await page.getByTestId('open-event').click()
  await expect(page.getByTestId('event-details')).toContainText(reference)
  await expect(page.getByTestId('event-details')).toContainText('Fits')
  // The conversation: what was asked, its events, the calls of the saga.
  await expect(page.getByTestId('node').first()).toBeVisible()
  expect(await page.getByTestId('node').count()).toBeGreaterThan(5)
  await expect(page.locator('[data-testid="event-row"].kin').first()).toBeVisible()
  // Back to the first version: nothing was paid then.
  await page.getByTestId('as-of-slider').focus()
  await page.keyboard.press('Home')
  await expect(page.getByTestId('as-of')).toContainText('version 1 of')
  await expect(page.getByTestId('as-of')).toContainText('Not asked')
  await page.getByTestId('open-booking').click()
  await expect(page.getByTestId('headline')).toBeVisible()
})

test('the log is searched by type and by position, and a filter stands in the address', async ({ page }) => {
  await page.goto('/#/events')
  await page.getByTestId('event-row').first().waitFor()
  const all = await total(page)
  expect(all).toBeGreaterThan(100)
  await page.keyboard.press('/')
  await page.getByTestId('event-search').fill('BookingConfirmed')
  await expect(page.getByTestId('reading').first()).toContainText('BookingConfirmed')
  await page.keyboard.press('Enter')
  await expect(page).toHaveURL(/type=BookingConfirmed/)
  await expect(page.locator('[data-testid="event-row"]:not(:has-text("BookingConfirmed"))')).toHaveCount(0)
  await page.reload()
  await page.getByTestId('event-row').first().waitFor()
  await expect(page.locator('[data-testid="event-row"]:not(:has-text("BookingConfirmed"))')).toHaveCount(0)
  await page.getByTestId('event-search').fill('#7')
  await page.keyboard.press('Enter')
  await expect(page).toHaveURL(/#\/events\/7$/)
  await expect(page.getByTestId('event-details')).toContainText('#7')
  // A path that is none is refused beside its filter; a good one finds what it says.
  await page.goto(`/#/events?payload=${encodeURIComponent('$.mode ==')}`)
  await expect(page.getByTestId('error')).toContainText('SQL/JSON path')
  await page.goto(`/#/events?type=PaymentRequested&payload=${encodeURIComponent('$.mode == "link"')}`)
  await page.getByTestId('event-row').or(page.getByTestId('empty')).first().waitFor()
})

test('what happens elsewhere comes in at the top of the log', async ({ page, browser }) => {
  await page.goto('/#/events')
  await page.getByTestId('event-row').first().waitFor()
  const newest = Number(await page.getByTestId('event-row').first().getAttribute('data-position'))
  const other = await (await browser.newContext({ storageState: await page.context().storageState(), viewport: { width: 1440, height: 900 } })).newPage()
  await other.goto('/#/bookings')
  await other.getByTestId('booking-row').first().waitFor()
  await book(other, { name: 'Ada Lindgren', pay: 'venue' })
  await expect.poll(async () => Number(await page.getByTestId('event-row').first().getAttribute('data-position'))).toBeGreaterThan(newest)
  await other.context().close()
})

test('a backup is made and proved by restoring it', async ({ page }) => {
  test.setTimeout(120_000)
  await page.goto('/#/settings/database')
  await page.getByTestId('backups').waitFor()
  const before = await page.getByTestId('backup-row').count()
  await page.getByTestId('back-up-now').click()
  await expect(page.getByTestId('backup-row')).toHaveCount(before + 1, { timeout: 60_000 })
  await expect(page.getByTestId('backup-running')).toBeHidden({ timeout: 60_000 })
  await page.getByTestId('verify').first().click()
  await expect(page.getByTestId('backup-row').first()).toHaveAttribute('data-proof', 'restored', { timeout: 60_000 })
  await expect(page.getByTestId('backup-sentence')).toContainText('The last good backup')
  // The trial hashed the whole log as well.
  await expect(page.getByText('Chain of events intact')).toBeVisible()
})

test('the doctor is asked from the window, and what it proved is there for the log too', async ({ page }) => {
  await page.goto('/#/settings/database')
  await page.getByTestId('space').getByText('Events,').waitFor()
  await page.getByTestId('check-now').click()
  const proof = page.getByTestId('proof')
  await expect(proof).toContainText('No slot given twice', { timeout: 60_000 })
  await expect(page.getByTestId('checking')).toBeHidden({ timeout: 60_000 })
  // The demo has one refund that a person is to decide, and nothing else may be wrong.
  await expect(page.getByTestId('proof-findings')).toContainText('saga.parked')
  await page.goto('/#/events')
  await expect(page.getByText('The chain was checked')).toContainText('intact')
})

for (const path of ['/events', '/events/7', '/settings/database']) {
  test(`nothing of ${path} is out of reach for a reader or a keyboard`, async ({ page }) => {
    await page.goto(`/#${path}`)
    await page.getByTestId(path.startsWith('/events') ? 'event-row' : 'backups').first().waitFor()
    if (path === '/events/7') await page.getByTestId('node').first().waitFor()
    const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']).analyze()
    expect(violations.map((v) => `${v.id}: ${v.nodes[0]?.target}`)).toEqual([])
  })
}
