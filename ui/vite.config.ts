import { svelte } from '@sveltejs/vite-plugin-svelte'
import { playwright } from '@vitest/browser-playwright'
import { defineConfig } from 'vitest/config'

// A desk that is already running (`bizing-desk serve`), for working on the window in a browser.
const desk = process.env.BIZING_URL ?? 'http://127.0.0.1:7310'

export default defineConfig({
  // Relative, because the same files are served by the app's own protocol and by `serve`.
  base: './',
  plugins: [svelte()],
  build: {
    outDir: 'dist',
    target: ['es2022', 'safari16.4'],
    // Fonts must stay files: the content security policy allows no data: fonts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    host: '127.0.0.1',
    port: 5173,
    // Tauri looks for the page at this port. Tests take the next free one: two runs on one computer must not meet.
    strictPort: !process.env.VITEST,
    // The desk compares origin and host, so the host must stay this server's.
    proxy: {
      '/rpc': { target: desk, changeOrigin: false },
      '/hints': { target: desk, changeOrigin: false, ws: true },
    },
  },
  clearScreen: false,
  test: {
    projects: [
      {
        extends: true,
        test: { name: 'unit', include: ['src/**/*.test.ts'], environment: 'node' },
      },
      {
        extends: true,
        // What vitest discovers late makes it reload the page in the middle of a test, and pages that are fetched on demand
        // are late. So all the code is looked through at the start; what stands in no file of ours was found by hand.
        optimizeDeps: { entries: ['src/**/*.{ts,svelte}', 'tests/**/*.ts'], include: ['axe-core', '@tanstack/svelte-query', 'bits-ui', '@tauri-apps/api/core'] },
        test: {
          name: 'window',
          include: ['tests/**/*.test.ts'],
          testTimeout: 20_000,
          fileParallelism: false,
          browser: {
            enabled: true,
            headless: true,
            screenshotFailures: false,
            viewport: { width: 1440, height: 900 },
            provider: playwright({
              launchOptions: {
                executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
                args: ['--no-sandbox', '--disable-gpu', '--force-color-profile=srgb'],
              },
            }),
            instances: [{ browser: 'chromium' }],
          },
        },
      },
    ],
  },
})
