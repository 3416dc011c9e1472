import { expect, test } from '@playwright/test'
import { book, bookings } from './desk'
import { Proxy } from './proxy'

test.describe('behind a line that breaks', () => {
  let line: Proxy
  test.beforeEach(async ({ page, baseURL }) => {
    line = await Proxy.before(new URL(process.env.BIZING_URL ?? baseURL ?? ''))
    await page.goto(`${line.url}/#/bookings`)
    await page.getByTestId('booking-row').first().waitFor()
    await page.keyboard.press('n')
    await page.getByTestId('customer-search').fill('Harriet Ashdown')
  })
  test.afterEach(() => line.close())

  test('a line that swallows every byte is shown; nothing typed is lost, and all goes on by itself', async ({ page }) => {
    line.swallow()
    const stale = page.getByTestId('stale')
    await expect(stale).toBeVisible()
    await expect(stale).toContainText('As it was at')
    await expect(stale).toContainText('The desk does not answer.')
    await expect(page.getByTestId('booking-row').first()).toBeAttached()
    await expect(page.getByTestId('customer-search')).toHaveValue('Harriet Ashdown')

    line.pass()
    await expect(stale).toBeHidden({ timeout: 20_000 })
    await expect(page.getByTestId('customer-search')).toHaveValue('Harriet Ashdown')
    await page.keyboard.press('Escape')
    await book(page, { name: 'Harriet Ashdown', pay: 'venue' })
    await expect(page.getByText('Checked every 2 s')).toBeHidden({ timeout: 20_000 })
  })

  test('a line that is cut is made again, and nothing typed is lost', async ({ page }) => {
    line.swallow()
    line.cut()
    const stale = page.getByTestId('stale')
    await expect(stale).toBeVisible()
    line.pass()
    line.cut()
    await expect(stale).toBeHidden({ timeout: 20_000 })
    await expect(page.getByTestId('customer-search')).toHaveValue('Harriet Ashdown')
  })
})

test('without hints everything still comes by itself', async ({ page, browser }) => {
  await page.routeWebSocket('**/hints', (socket) => void socket.close())
  await bookings(page)
  await expect(page.getByText('Checked every 2 s')).toBeVisible()
  const other = await (await browser.newContext({ storageState: await page.context().storageState() })).newPage()
  await other.goto('/#/bookings')
  const before = await page.getByTestId('counts').innerText()
  await other.getByTestId('booking-row').first().waitFor()
  await book(other, { name: 'Theo Vandenbroucke', pay: 'venue' })
  await expect(page.getByTestId('counts')).not.toHaveText(before)
  await other.context().close()
})
