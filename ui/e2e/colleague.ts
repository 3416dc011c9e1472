//! A second person: a login of their own, and a desk of their own that is connected with it.

import { expect, type Browser, type BrowserContext, type Page } from '@playwright/test'
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export type Group = 'viewer' | 'staff' | 'manager' | 'admin'
export interface Login {
  login: string
  url: string
}

/** An admin makes the login in the window, as people get theirs. */
export async function login(page: Page, name: string, group: Group): Promise<Login> {
  await page.goto('/#/settings/people')
  await page.getByTestId('person-new').click()
  await page.getByTestId('person-name').fill(name)
  const login = await page.getByTestId('person-login').inputValue()
  await page.getByTestId('person-may').click()
  await page.getByRole('option', { name: new RegExp(`^${group}`, 'i') }).click()
  await page.getByTestId('person-make').click()
  const password = await page.getByTestId('made-password').inputValue()
  const address = await page.getByTestId('made-address').inputValue()
  await page.keyboard.press('Escape')
  await expect(page.locator(`[data-testid="person"][data-login="${login}"]`)).toBeVisible()
  return { login, url: address.replace('…', encodeURIComponent(password)) }
}

/** Their own computer: a window on the same database that runs no background work. */
export class Colleague {
  #process: ChildProcess
  #data: string
  #context: BrowserContext
  readonly page: Page
  readonly login: string

  private constructor(process: ChildProcess, data: string, context: BrowserContext, page: Page, login: string) {
    this.#process = process
    this.#data = data
    this.#context = context
    this.page = page
    this.login = login
  }

  static async comes(browser: Browser, { login, url }: Login): Promise<Colleague> {
    const data = mkdtempSync(join(tmpdir(), 'bizing-colleague-'))
    const env = { ...process.env, DATABASE_URL: url, BIZING_DATA: data, BIZING_NO_OPEN: '1' }
    const server = spawn(process.env.BIZING_BINARY!, ['serve', '--no-worker'], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    const address = await new Promise<string>((found, failed) => {
      let said = ''
      server.stderr.on('data', (bytes: Buffer) => (said += bytes.toString()))
      server.stdout.on('data', (bytes: Buffer) => {
        said += bytes.toString()
        const line = /^Bizing Desk: (\S+)$/m.exec(said)
        if (line) found(line[1]!)
      })
      server.on('exit', (code) => failed(new Error(`their desk ended with code ${code}: ${said}`)))
    })
    const context = await browser.newContext({ baseURL: new URL(address).origin, viewport: { width: 1440, height: 900 } })
    const page = await context.newPage()
    await page.goto(address)
    await page.goto('/#/bookings')
    await page.getByTestId('booking-row').first().waitFor({ timeout: 30_000 })
    return new Colleague(server, data, context, page, login)
  }

  async goes(): Promise<void> {
    await this.#context.close()
    const ended = new Promise((done) => this.#process.once('exit', done))
    this.#process.kill('SIGTERM')
    await ended
    rmSync(this.#data, { recursive: true, force: true })
  }
}
