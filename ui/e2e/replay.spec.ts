//! Replays and parked projections against a real desk.

import AxeBuilder from '@axe-core/playwright'
import { expect, test } from '@playwright/test'
import { data, psql } from './database'

test('an admin makes a dry run, then a rebuild that asks before it swaps, and goes back', async ({ page }) => {
  test.setTimeout(180_000)
  await page.goto('/#/projections/bookings')
  await page.getByTestId('projection-row').first().waitFor()
  const start = async (mode: 'dry_run' | 'rebuild', why: string) => {
    await page.getByTestId('replay').click()
    await page.getByTestId(`mode-${mode}`).click()
    await page.getByTestId('replay-reason').fill(why)
    await page.keyboard.press('Control+Enter')
    await expect(page.getByTestId('replay-dialog')).toBeHidden()
  }
  await start('dry_run', 'Would anything differ?')
  await expect(page.getByTestId('history-row').filter({ hasText: 'Would anything differ?' })).toHaveAttribute('data-state', 'done', { timeout: 60_000 })
  await page.getByTestId('history-row').filter({ hasText: 'Would anything differ?' }).getByTestId('history-look').click()
  await expect(page.getByTestId('compare')).toContainText('Nothing differs.')

  await start('rebuild', 'For the journey of the tests')
  await expect(page.locator('[data-testid="rebuild"][data-state="waits_for_swap"]')).toBeVisible({ timeout: 60_000 })
  await page.getByTestId('swap').click()
  await expect(page.getByTestId('swap-dialog')).toContainText('Nothing differs')
  await page.getByTestId('reason').fill('Nothing differs, so swap')
  await page.keyboard.press('Control+Enter')
  await expect(page.getByTestId('history-row').filter({ hasText: 'For the journey' })).toHaveAttribute('data-state', 'done', { timeout: 30_000 })
  // The lists go on, and the way back is open.
  await page.getByTestId('roll-back').click()
  await page.getByTestId('reason').fill('Only to see that it works')
  await page.keyboard.press('Control+Enter')
  await expect(page.getByTestId('roll-back-dialog')).toBeHidden({ timeout: 15_000 })
  await page.goto('/#/bookings')
  await page.getByTestId('booking-row').first().waitFor()
})

test('a projection is paused and goes on where it stood', async ({ page }) => {
  await page.goto('/#/projections/customers')
  await page.getByTestId('projection-row').first().waitFor()
  const row = page.locator('[data-testid="projection-row"][data-name="customers"]')
  await page.getByTestId('pause-customers').click()
  await expect(row).toHaveAttribute('data-state', 'paused')
  await page.getByTestId('pause-customers').click()
  await expect(row).toHaveAttribute('data-state', /up_to_date|behind/)
})

test('an event that cannot be read parks what reads it, and is skipped with a reason', async ({ page }) => {
  test.setTimeout(120_000)
  test.skip(!data, 'needs the data folder: .ci/journeys gives it')
  await page.goto('/#/projections')
  await page.getByTestId('projection-row').first().waitFor()
  // Past every check that the app makes: only a fault, or another program, could write this.
  psql(
    `select status from api.append(array[(select stream_id from core.streams where category = 'booking' order by stream_no limit 1)],
       array[null::bigint], array[null::uuid], array[null::bytea], array[1], array[gen_random_uuid()], array['BookingConfirmed'],
       array[1::smallint], array[now()], array[gen_random_uuid()], array[null::uuid], array['{}'::jsonb], array['{"confirmed_at": "not a time"}'::jsonb])`,
  )
  const parked = page.getByTestId('parked')
  await expect(parked.first()).toContainText('BookingConfirmed v1', { timeout: 30_000 })
  await expect(page.getByTestId('parked-count')).toBeVisible()
  // It is looked at as it is stored; this app cannot read it.
  await page.getByTestId('parked-event').first().click()
  await expect(page.getByTestId('event-details')).toContainText('This app cannot read it.')
  await expect(page.getByTestId('payload')).toContainText('not a time')
  await page.goto('/#/projections')
  // Another try meets the same event, so a person decides. Those that gave up later join the same card.
  await expect(async () => {
    if ((await parked.count()) === 0) return
    await page.getByTestId('parked-skip').first().click()
    await page.getByTestId('reason').fill('Written by a fault, nothing hangs on it')
    await page.keyboard.press('Control+Enter')
    await expect(page.getByTestId('skip-dialog')).toBeHidden()
    await expect(parked).toHaveCount(0, { timeout: 3000 })
  }).toPass({ timeout: 60_000 })
  await expect(page.locator('[data-testid="projection-row"][data-state="parked"]')).toHaveCount(0)
  await expect(page.getByTestId('parked-count')).toBeHidden({ timeout: 10_000 })
})

test('nothing of the projections is out of reach for a reader or a keyboard', async ({ page }) => {
  await page.goto('/#/projections/bookings')
  await page.getByTestId('projection-row').first().waitFor()
  const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']).analyze()
  expect(violations.map((v) => v.id)).toEqual([])
})
