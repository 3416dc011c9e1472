//! What leaves and what comes in, against a real desk and a receiver on this computer.

import AxeBuilder from '@axe-core/playwright'
import { expect, test, type Page } from '@playwright/test'
import { createHmac } from 'node:crypto'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { book, bookings } from './desk'

interface Got {
  headers: IncomingHttpHeaders
  body: string
}
/** A receiver that answers as it is told. */
class Receiver {
  got: Got[] = []
  answer = 204
  #server: Server
  port = 0
  constructor() {
    this.#server = createServer((request, response) => {
      const parts: Buffer[] = []
      request.on('data', (part: Buffer) => parts.push(part))
      request.on('end', () => {
        this.got.push({ headers: request.headers, body: Buffer.concat(parts).toString() })
        response.writeHead(this.answer, { 'content-type': 'text/plain' })
        response.end(this.answer >= 400 ? 'down for maintenance' : undefined)
      })
    })
  }
  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.port, '127.0.0.1', resolve))
    this.port = (this.#server.address() as AddressInfo).port
  }
  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
  get url(): string {
    return `http://127.0.0.1:${this.port}/in`
  }
}

const accessible = async (page: Page) => {
  const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag22aa', 'best-practice']).analyze()
  expect(violations.map((v) => `${v.id}: ${v.nodes[0]?.target}`)).toEqual([])
}

async function allowThisComputer(page: Page): Promise<void> {
  await page.getByTestId('allow-list').click()
  const entries = page.getByTestId('allow-entries')
  await expect(entries).toBeEditable()
  if ((await entries.inputValue()).includes('127.0.0.1')) {
    await page.getByTestId('allow-dialog-keep').click()
    return
  }
  await entries.fill('127.0.0.1/32')
  await page.getByTestId('allow-reason').fill('A receiver on this computer, for a journey')
  await page.getByTestId('allow-go').click()
  await expect(page.getByTestId('allow-dialog')).toBeHidden()
}

async function make(page: Page, receiver: Receiver, name: string): Promise<string> {
  await page.getByTestId('new-endpoint').click()
  await page.getByTestId('endpoint-url').fill(receiver.url)
  await page.getByTestId('endpoint-name').fill(name)
  await page.getByTestId('type-BookingConfirmed').click()
  await page.getByTestId('endpoint-save').click()
  const secret = (await page.getByTestId('secret').innerText()).trim()
  await page.getByTestId('secret-done').click()
  await expect(page.getByTestId('endpoint')).toContainText(name)
  return secret
}

/** As any receiver would, with nothing but the words of Standard Webhooks. */
function genuine({ headers, body }: Got, secret: string): boolean {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
  const made = createHmac('sha256', key).update(`${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`).digest('base64')
  return String(headers['webhook-signature'])
    .split(' ')
    .some((one) => one === `v1,${made}`)
}

test('an address that is not public is refused at its field, until an admin allows it', async ({ page }) => {
  await page.goto('/#/deliveries/endpoints')
  await page.getByTestId('new-endpoint').click()
  await page.getByTestId('endpoint-url').fill('https://169.254.169.254/latest')
  await page.getByTestId('star-Booking*').click()
  await page.getByTestId('endpoint-save').click()
  await expect(page.getByTestId('endpoint-url')).toHaveAttribute('aria-invalid', 'true')
  await expect(page.getByTestId('endpoint-drawer')).toContainText('cannot be sent to')
  await accessible(page)
})

test('a booking arrives at a receiver, signed; it is seen with its request, and sent again under the same id', async ({ page }) => {
  test.setTimeout(120_000)
  const receiver = new Receiver()
  await receiver.start()
  try {
    await page.goto('/#/deliveries/endpoints')
    await allowThisComputer(page)
    const secret = await make(page, receiver, `Ledger ${receiver.port}`)
    await bookings(page)
    const reference = await book(page, { name: 'Webhook Almeida', pay: 'venue' })
    await expect.poll(() => receiver.got.length, { timeout: 30_000 }).toBeGreaterThan(0)
    expect(genuine(receiver.got[0]!, secret)).toBe(true)
    expect(genuine({ ...receiver.got[0]!, body: `${receiver.got[0]!.body} ` }, secret)).toBe(false)
    expect(JSON.parse(receiver.got[0]!.body).type).toBe('BookingConfirmed')

    // From the booking to what left for it.
    await page.goto(`/#/bookings/${reference}`)
    await expect(page.getByTestId('webhooks')).toContainText('Delivered', { timeout: 20_000 })
    await page.getByTestId('webhooks').getByTestId('left').filter({ hasText: `Ledger ${receiver.port}` }).first().click()
    await expect(page.getByTestId('delivery-state')).toContainText('Delivered')
    await expect(page.getByTestId('try')).toContainText('204')
    await expect(page.getByTestId('try-panel')).toContainText('webhook-id')
    await accessible(page)
    await page.getByTestId('try-tab-signature').click()
    await expect(page.getByTestId('try-panel')).toContainText(String(receiver.got[0]!.headers['webhook-id']))

    await page.keyboard.press('r')
    await page.getByTestId('reason').fill('They restored last night’s backup')
    await page.keyboard.press('Control+Enter')
    await expect.poll(() => receiver.got.length, { timeout: 30_000 }).toBeGreaterThan(1)
    expect(receiver.got[1]!.headers['webhook-id']).toBe(receiver.got[0]!.headers['webhook-id'])
    expect(genuine(receiver.got[1]!, secret)).toBe(true)
    // What is over begins anew, as a delivery of its own; the way back is G then B.
    await expect(page.getByTestId('again-dialog')).toBeHidden()
    await expect(page.getByTestId('delivery').locator('[data-shown="true"]')).toBeVisible()
    await expect(page.getByTestId('delivery-state')).toContainText('Delivered', { timeout: 20_000 })
    await page.keyboard.press('g')
    await page.keyboard.press('b')
    await expect(page).toHaveURL(new RegExp(`bookings/${reference}`))
  } finally {
    await receiver.stop()
  }
})

test('a receiver that is down keeps its deliveries; when it works again, they are sent together', async ({ page }) => {
  test.setTimeout(180_000)
  const receiver = new Receiver()
  receiver.answer = 503
  await receiver.start()
  try {
    await page.goto('/#/deliveries/endpoints')
    await allowThisComputer(page)
    const name = `Down ${receiver.port}`
    await make(page, receiver, name)
    await bookings(page)
    await book(page, { name: 'Retry Fonseca', pay: 'venue', slot: 0 })
    // The second try comes after five seconds by itself, the third only after minutes: until then a person is the only sender.
    await expect.poll(() => receiver.got.length, { timeout: 30_000 }).toBeGreaterThan(1)
    await page.goto('/#/deliveries?states=retrying')
    const row = page.getByTestId('delivery-row').filter({ hasText: name }).first()
    await expect(row).toContainText('503', { timeout: 20_000 })
    // The middle of a row may be the link to its booking.
    await row.getByRole('gridcell').first().click()
    await page.getByTestId('try-tab-answer').click()
    await expect(page.getByTestId('try-panel')).toContainText('down for maintenance')

    receiver.answer = 204
    const before = receiver.got.length
    await page.getByTestId('since').click()
    await expect(page.getByTestId('bulk-plan')).toContainText(name)
    await page.getByTestId('bulk-why').fill('Their database is up again')
    await accessible(page)
    await page.keyboard.press('Control+Enter')
    await expect(page.getByTestId('bulk-running')).toContainText('1 of 1', { timeout: 30_000 })
    await expect.poll(() => receiver.got.length, { timeout: 30_000 }).toBeGreaterThan(before)
    expect(receiver.got.at(-1)!.headers['webhook-id']).toBe(receiver.got[0]!.headers['webhook-id'])
    await page.getByTestId('bulk-running-keep').click()
    await page.getByTestId('past').click()
    await expect(page.getByTestId('past-dialog')).toContainText('Their database is up again')
  } finally {
    await receiver.stop()
  }
})
