import { expect, test } from 'vitest'
import { DeskError } from '../src/backend/backend'
import { awaitingPage, catalogue } from '../src/backend/fixtures'
import { appError, type ScriptedBackend } from '../src/backend/testing'
import type { CreateBooking } from '../src/backend/types'
import { accessible, all, click, find, open, press, says, seen, type, until } from './desk'

const sent = (backend: ScriptedBackend) => backend.calls.filter((call) => call.name === 'create_booking').map((call) => call.params as CreateBooking)

async function begin(): Promise<ScriptedBackend> {
  const backend = open('/bookings')
  await until(() => all('booking-row').length > 10, 'rows')
  press('n')
  await seen('new-booking-drawer')
  return backend
}

async function fill(name = 'Zoë Nakamura'): Promise<void> {
  type('customer-search', name)
  click(await seen('customer-new'))
  await seen('customer-email')
  type('customer-email', 'zoe@example.com')
  find('service')!.focus()
  press('ArrowDown')
  const option = await until(() => [...document.querySelectorAll<HTMLElement>('[role="option"]')].find((o) => o.textContent!.includes('Deep tissue')), 'the service')
  click(option)
  await seen('times')
  click(find('day-2026-11-25')!)
  click(await until(() => all('slot').find((slot) => slot.dataset.time === '14:15'), 'a slot'))
}

test('a booking is made from the keyboard’s N to its own page', async () => {
  const backend = await begin()
  await accessible()
  await fill()
  await says('Deep tissue 60 for Zoë Nakamura.')
  await accessible()
  press('Enter', { ctrlKey: true })
  await until(() => location.hash.startsWith('#/bookings/BK-'), 'the page')
  expect(sent(backend)[0]).toMatchObject({
    customer: { is: 'new', name: 'Zoë Nakamura', email: 'zoe@example.com', phone: null },
    service_id: catalogue.services[0]!.service_id,
    starts: '2026-11-25T14:15',
    payment_mode: 'link',
    payment_method: null,
  })
})

test('a customer who is known is found and taken', async () => {
  await begin()
  type('customer-search', 'greta')
  click(await seen('customer-hit'))
  const known = await seen('customer-known')
  expect(known.textContent).toContain('Greta Holm')
})

test('whoever is chosen with Enter, the next key is for the service', async () => {
  await begin()
  type('customer-search', 'stella')
  await seen('customer-hit')
  press('Enter')
  await seen('customer-known')
  await until(() => document.activeElement === find('service'), 'the focus on the service')
  press('ArrowDown')
  await until(() => document.querySelector('[role="option"]'), 'the services')
})

test('a taken slot is a kind refusal: nothing typed is lost and the times are read again', async () => {
  const backend = await begin()
  await fill()
  backend.fail('create_booking', appError('booking.slot_taken', 'Wed 25 Nov 14:15 was just taken. Marek booked it a moment ago.'))
  const asked = backend.asked('free_times')
  click(find('book')!)
  await seen('slot-taken')
  await says('Wed 25 Nov 14:15 was just taken.')
  await until(() => backend.asked('free_times') > asked, 'fresh times')
  expect((find('customer-name') as HTMLInputElement).value).toBe('Zoë Nakamura')
  expect((find('customer-email') as HTMLInputElement).value).toBe('zoe@example.com')
  expect(find('book')!.getAttribute('aria-disabled')).toBe('true')
  backend.mend('create_booking')
  click(all('slot').find((slot) => slot.dataset.time === '15:00')!)
  click(find('book')!)
  await until(() => location.hash.startsWith('#/bookings/BK-'), 'the page')
  const [first, second] = sent(backend)
  expect(second!.command_id).toBe(first!.command_id)
})

test('an error about a field stands beside that field', async () => {
  const backend = await begin()
  await fill()
  backend.fail('create_booking', appError('request.invalid', '“zoe@example” is not an e-mail address.', { field: 'customer.email' }))
  click(find('book')!)
  await until(() => find('customer-email')!.getAttribute('aria-invalid') === 'true', 'the mark')
  const note = document.getElementById(find('customer-email')!.getAttribute('aria-describedby')!)!
  expect(note.textContent).toContain('is not an e-mail address')
  expect(find('create-error')).toBeNull()
})

test('another error keeps everything and can be tried again with the same id', async () => {
  const backend = await begin()
  await fill()
  let tries = 0
  backend.on('create_booking', () => {
    if (tries++ === 0) throw new DeskError(appError('internal', 'The booking could not be written.'))
    return { booking_id: 'b', reference: 'BK-7QFFY6', saga_id: 's' }
  })
  click(find('book')!)
  await seen('create-error')
  click(find('book')!)
  await until(() => location.hash.includes('BK-7QFFY6'), 'the page')
  expect(new Set(sent(backend).map((params) => params.command_id)).size).toBe(1)
})

test('closing the drawer keeps what was typed until it is booked', async () => {
  await begin()
  type('customer-search', 'Somebody')
  press('Escape')
  press('Escape')
  await until(() => !find('new-booking-drawer'), 'the drawer to close')
  press('n')
  await seen('new-booking-drawer')
  expect((find('customer-search') as HTMLInputElement).value).toBe('Somebody')
})

test('the next customer begins with an empty drawer', async () => {
  const backend = await begin()
  expect(find('start-over')).toBeNull()
  await fill()
  press('Escape')
  await until(() => !find('new-booking-drawer'), 'closed')
  press('n')
  click(await seen('start-over'))
  await until(() => (find('customer-search') as HTMLInputElement | null)?.value === '', 'an empty field')
  await until(() => document.activeElement === find('customer-search'), 'the focus where a name is typed')
  await fill('Ana Nova')
  press('Enter', { ctrlKey: true })
  await until(() => sent(backend).length === 1, 'the booking')
  expect(sent(backend)[0]!.customer).toMatchObject({ is: 'new', name: 'Ana Nova' })
})

test('the sandbox offers its test cards', async () => {
  const backend = await begin()
  await fill()
  click(find('pay-card_on_file')!)
  click(await seen('card-pm_card_chargeDeclined'))
  click(find('book')!)
  await until(() => sent(backend).length === 1, 'the command')
  expect(sent(backend)[0]).toMatchObject({ payment_mode: 'card_on_file', payment_method: 'pm_card_chargeDeclined' })
})

test('a page that is not there yet, because the lists are behind, is waited for', async () => {
  const backend = await begin()
  await fill()
  let behind = true
  backend.on('create_booking', () => ({ booking_id: 'b', reference: 'BK-7QFFY6', saga_id: 's' }))
  backend.on('get_booking', () => {
    if (behind) throw new DeskError(appError('request.not_found', 'There is no booking BK-7QFFY6.'))
    return awaitingPage()
  })
  click(find('book')!)
  await says('It is booked.')
  behind = false
  await seen('headline')
})
