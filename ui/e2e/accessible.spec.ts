import AxeBuilder from '@axe-core/playwright'
import { expect, test } from '@playwright/test'
import { bookings } from './desk'

for (const theme of ['light', 'dark'] as const) {
  test(`nothing stands in anybody's way, ${theme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' })
    await bookings(page)
    const check = async (what: string) => {
      const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']).analyze()
      expect(violations.map((v) => `${what} ${v.id}: ${v.nodes[0]?.target}`)).toEqual([])
    }
    await check('list')
    await page.keyboard.press('j')
    await page.keyboard.press('Enter')
    await page.getByTestId('headline').waitFor()
    await page.keyboard.press('s')
    await check('booking')
    await page.goto('/#/deliveries')
    await page.getByTestId('delivery-row').first().waitFor()
    await page.keyboard.press('j')
    await page.getByTestId('delivery-state').waitFor()
    await check('log')
    await page.goto('/#/deliveries/endpoints')
    await page.getByTestId('endpoint-row').first().waitFor()
    await page.keyboard.press('j')
    await page.getByTestId('endpoint-state').waitFor()
    await check('endpoints')
    await page.goto('/#/deliveries/inbox')
    await page.getByTestId('poll-bar').getByText('Read up to').waitFor()
    await check('inbox')
    await page.goto('/#/deliveries/catalogue')
    await page.getByTestId('hook-type').first().waitFor()
    await check('catalogue')
    await page.goto('/#/settings')
    await check('settings')
  })
}
