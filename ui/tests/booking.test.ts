import { expect, test } from 'vitest'
import { awaitingPage, customerHistory, NOW, retryingPage, undonePage } from '../src/backend/fixtures'
import { sagaList } from '../src/backend/sagas'
import { appError } from '../src/backend/testing'
import { world } from '../src/backend/world'
import { accessible, all, click, find, open, press, says, seen, type, until } from './desk'

const reference = retryingPage().row.reference

test('the page says it in a sentence and then shows the proof', async () => {
  open(`/bookings/${reference}`)
  await seen('headline')
  expect(find('headline')!.textContent).toBe('Confirmed, paid €80.00. The e-mail is not delivered yet: next try in 4 min.')
  expect(find('money-captured')!.textContent).toContain('€80.00')
  expect(find('money-captured')!.textContent).toContain('Stripe’s fee €1.45')
  expect(all('timeline-item').length).toBe(13)
  await accessible()
})

test('the saga opens into five steps, and an undone one shows how it went back', async () => {
  open(`/bookings/${undonePage().row.reference}`)
  await seen('saga-toggle')
  press('s')
  await seen('saga-step-hold')
  for (const step of ['hold', 'payment', 'capture', 'confirm', 'notify']) expect(find(`saga-step-${step}`)).not.toBeNull()
  expect(find('saga-undo-hold')).not.toBeNull()
  expect(find('saga-step-payment')!.dataset.state).toBe('failed')
  await accessible()
})

test('where a person must decide, the page leads to where it is decided', async () => {
  const backend = open(`/bookings/${reference}`)
  const page = retryingPage()
  backend.on('get_booking', () => ({ ...page, saga: { ...page.saga!, state: 'needs_person', waits_for: { waits_for: 'person', reason: 'the mail server refused it' } } }))
  backend.hint(`booking:${page.row.booking_id}`)
  click(await seen('decide'))
  await until(() => location.hash === `#/sagas/${page.saga!.saga_id}`, 'the saga')
})

test('the timeline filters, turns round, and shows an item with its causes', async () => {
  open(`/bookings/${reference}`)
  await seen('timeline')
  click(find('part-money')!)
  await until(() => all('timeline-item').length === 3, 'three about money')
  click(find('part-all')!)
  click(find('newest-first')!)
  await until(() => all('timeline-item')[0]!.textContent!.includes('Booked by'), 'the oldest first')
  click(all('timeline-item')[1]!.querySelector('button')!)
  await seen('details')
  await says('Came from')
  await accessible()
})

test('a hint about this booking, by its id, reads it again', async () => {
  const backend = open(`/bookings/${reference}`)
  await seen('headline')
  const page = retryingPage()
  backend.on('get_booking', () => ({ ...page, message: { ...page.message!, state: 'delivered' } }))
  backend.hint(`booking:${page.row.booking_id}`)
  await says('The customer has the e-mail.')
})

test('what cannot be done now says why', async () => {
  open(`/bookings/${reference}`)
  const button = await seen('open-payment')
  expect(button.getAttribute('aria-disabled')).toBe('true')
  expect(document.getElementById(button.getAttribute('aria-describedby')!)!.textContent).toContain('nothing left to pay')
})

test('the payment page opens outside the window', async () => {
  const backend = open(`/bookings/${awaitingPage().row.reference}`)
  click(await seen('open-payment'))
  await until(() => backend.links.length === 1, 'the link')
  expect(backend.links[0]).toContain('cs_test')
})

test('cancelling shows what will happen, asks for a reason, and sends the version that was looked at', async () => {
  const backend = open(`/bookings/${reference}`)
  click(await seen('cancel-booking'))
  await says('Cancel Inês Carvalho-Lindqvist’s booking and refund €80.00?')
  await accessible()
  expect(find('reason-go')!.getAttribute('aria-disabled')).toBe('true')
  type('reason', 'Car broke down')
  press('Enter', { ctrlKey: true })
  await until(() => backend.asked('cancel_booking') === 1, 'the command')
  expect(backend.calls.find((call) => call.name === 'cancel_booking')!.params).toMatchObject({ reason: 'Car broke down', expected_version: 9 })
  await until(() => !find('cancel-dialog'), 'the dialog to close')
})

test('a lost race keeps the reason and sends nothing more', async () => {
  const backend = open(`/bookings/${reference}`)
  backend.fail('cancel_booking', appError('stream.conflict', 'Changed by Tomás 2 s ago. Your cancellation was not sent.'))
  click(await seen('cancel-booking'))
  await seen('reason')
  type('reason', 'Car broke down')
  click(find('reason-go')!)
  await says('Changed by Tomás 2 s ago.')
  expect((find('reason') as HTMLTextAreaElement).value).toBe('Car broke down')
  expect(find('reason-go')!.getAttribute('aria-disabled')).toBe('true')
})

test('a booking that does not exist says so and leads back', async () => {
  open('/bookings/BK-NOBODY')
  await says('There is no such booking')
  await accessible()
})

test('loading and error keep the frame', async () => {
  const backend = world()
  backend.hang('get_booking')
  open(`/bookings/${reference}`, backend)
  await until(() => document.querySelector('[aria-busy="true"] .bone'), 'bones')
})

test('in German too', async () => {
  const { setPrefs } = await import('../src/lib/prefs.svelte')
  open(`/bookings/${reference}`)
  await seen('headline')
  setPrefs({ language: 'de' })
  await says('Bestätigt, 80,00')
  expect(document.documentElement.lang).toBe('de')
})

test('a disputed payment shows until when it can be answered, on its page and where people decide', async () => {
  const backend = world()
  const disputed = retryingPage()
  const dispute = {
    dispute_id: 'dp_1QabcDEF',
    saga_id: disputed.saga!.saga_id,
    booking_id: disputed.row.booking_id,
    reference: disputed.row.reference,
    status: 'needs_response',
    reason: 'product_not_received',
    amount: { amount_minor: 8000, currency: 'EUR' },
    evidence_due_at: new Date(Date.parse(NOW) + 5 * 86_400_000).toISOString(),
    answered: false,
    told_at: NOW,
    closed_at: null,
    problem: null,
  }
  backend.on('get_booking', () => ({ ...disputed, row: { ...disputed.row, payment: 'disputed' }, disputes: [dispute] }))
  open(`/bookings/${disputed.row.reference}`, backend)
  await seen('dispute')
  expect(find('payment-state')!.textContent).toContain('Disputed')
  expect(find('headline')!.textContent).toContain('the customer’s bank disputes the €80.00')
  expect(find('dispute')!.textContent).toMatch(/Needs an answer.*€80\.00.*said not to have been received/s)
  expect(find('dispute-due')!.textContent).toMatch(/Evidence until .*left/)
  await accessible()
  backend.on('list_sagas', (p) => ({ ...sagaList(p.tab), disputes: [dispute] }))
  location.hash = '#/sagas'
  await until(() => find('dispute')?.textContent?.includes(disputed.row.reference), 'among what waits for a person')
})

test('who did not come is noted with one press, and taken back with another', async () => {
  const backend = world()
  const past = retryingPage()
  let no_show = false
  backend.on('get_booking', () => ({ ...past, no_show, actions: [{ name: no_show ? 'withdraw_no_show' : 'record_no_show', refused: null }] }))
  backend.on('set_no_show', (p) => {
    no_show = p.no_show
    return { booking_id: p.booking_id, no_show }
  })
  open(`/bookings/${past.row.reference}`, backend)
  expect(find('no-show')).toBe(null)
  click(await seen('no-show-button'))
  await seen('no-show')
  await until(() => find('headline')!.textContent!.startsWith('Did not come, paid €80.00.'), 'the sentence')
  await accessible()
  await until(() => find('no-show-button')!.textContent!.includes('Came after all'), 'the way back')
  click(find('no-show-button')!)
  await until(() => find('no-show') === null, 'taken back')
})

test('what the customer did here before stands on the page, and leads to their other bookings', async () => {
  const backend = open(`/bookings/${reference}`)
  await seen('customer-sums')
  expect(find('customer-sums')!.textContent!.replace(/\s+/g, ' ').trim()).toBe('9 visits · €720.00 spent · 1 no-show · 2 cancelled')
  const own = retryingPage().row.booking_id
  const others = customerHistory().latest.filter((booking) => booking.booking_id !== own)
  expect(all('customer-booking').map((link) => link.getAttribute('href'))).toEqual(others.map((booking) => `#/bookings/${booking.reference}`))
  expect(find('customer-all')!.getAttribute('href')).toContain('q=ines%40lindqvist.example')
  expect(backend.calls.find((call) => call.name === 'get_customer_history')!.params).toEqual({ customer_id: retryingPage().row.customer.id })
  await accessible()
})

test('a customer without a past has one booking and no way to others', async () => {
  const first = world()
  first.on('get_customer_history', () => ({ bookings: 1, visits: 0, no_shows: 0, cancelled: 0, spent: [], latest: [] }))
  open(`/bookings/${reference}`, first)
  await says('This is their only booking so far.')
  await says('nothing spent yet')
  expect(find('customer-all')).toBeNull()
})

test('a past that cannot be told says why, and the page stands', async () => {
  const broken = world()
  broken.fail('get_customer_history', appError('database.unreachable', 'The database does not answer.'))
  open(`/bookings/${reference}`, broken)
  await says('Their history cannot be shown. The database does not answer.')
  expect(find('headline')).not.toBeNull()
})

test('a past that is still asked for keeps its place', async () => {
  const slow = world()
  slow.hang('get_customer_history')
  open(`/bookings/${reference}`, slow)
  await until(() => find('customer-history')?.querySelector('[aria-busy="true"] .bone') != null, 'bones')
})
