import { expect, test } from '@playwright/test'
import { bookings } from './desk'

test('a desk that falls silent is shown within five seconds, and nothing typed is lost', async ({ page }) => {
  await bookings(page)
  await page.keyboard.press('n')
  await page.getByTestId('customer-search').fill('Harriet Ashdown')
  // The answers stop, as behind a cable that was pulled: nothing is refused, nothing comes.
  await page.route('**/rpc/**', () => {})
  await expect(page.getByTestId('stale')).toBeVisible({ timeout: 5000 })
  await expect(page.getByTestId('stale')).toContainText('As it was at')
  await expect(page.getByTestId('booking-row').first()).toBeAttached()
  await page.unroute('**/rpc/**')
  await expect(page.getByTestId('stale')).toBeHidden({ timeout: 20_000 })
  await expect(page.getByTestId('customer-search')).toHaveValue('Harriet Ashdown')
})

test('without hints everything is still right within two seconds', async ({ page, browser }) => {
  await page.routeWebSocket('**/hints', (socket) => void socket.close())
  await bookings(page)
  await expect(page.getByText('Checked every 2 s')).toBeVisible()
  const other = await (await browser.newContext({ storageState: await page.context().storageState() })).newPage()
  await other.goto('/#/bookings')
  const before = await page.getByTestId('counts').innerText()
  const { book } = await import('./desk')
  await other.getByTestId('booking-row').first().waitFor()
  await book(other, { name: 'Theo Vandenbroucke', pay: 'venue' })
  await expect(page.getByTestId('counts')).not.toHaveText(before, { timeout: 3000 })
  await other.context().close()
})
