//! Journeys of a person against a real desk. Start `bizing-desk serve` and give the line it prints:
//! `BIZING_URL='http://127.0.0.1:7310/?token=…' npm run e2e`. `BIZING_WINDOW` looks at another server of the same
//! window (`npm run dev`), which shares the cookie because it shares the host.

import { defineConfig } from '@playwright/test'
import { KEPT } from './desk'

const printed = process.env.BIZING_URL ?? 'http://127.0.0.1:7310/'
const window = process.env.BIZING_WINDOW ?? new URL(printed).origin

export default defineConfig({
  testDir: '.',
  outputDir: '../test-results/e2e',
  workers: 1,
  timeout: 60_000,
  expect: { timeout: 10_000 },
  reporter: [['list']],
  forbidOnly: !!process.env.CI,
  use: {
    baseURL: window,
    viewport: { width: 1440, height: 900 },
    trace: 'retain-on-failure',
    launchOptions: { executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] },
  },
  projects: [
    // The token works once: what it buys is kept for all the journeys.
    { name: 'enter', testMatch: 'enter.setup.ts' },
    { name: 'journeys', dependencies: ['enter'], use: { storageState: KEPT } },
  ],
})
