import { test as setup } from '@playwright/test'
import { KEPT, started } from './desk'

setup('enter the desk and open the example', async ({ page }) => {
  setup.setTimeout(180_000)
  await page.goto(process.env.BIZING_URL ?? '/')
  await page.goto('/')
  await started(page)
  await page.context().storageState({ path: KEPT })
})
