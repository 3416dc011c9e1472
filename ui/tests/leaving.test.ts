//! Closing the window while a payment is under way.

import { expect, test } from 'vitest'
import { DeskError } from '../src/backend/backend'
import { world } from '../src/backend/world'
import { accessible, click, find, open, press, says, seen, until } from './desk'

function asked(with_provider: number, elsewhere: boolean) {
  const backend = world()
  backend.on('leaving', () => ({ with_provider, elsewhere }))
  open('/bookings', backend)
  return backend
}

test('it says what is under way and closes by itself once the answer is there', async () => {
  const backend = asked(2, false)
  await says('Bookings')
  backend.hint('leaving')
  await seen('leaving')
  await says('2 payments are under way')
  await says('it goes on when one is opened again')
  await accessible()
  click(await seen('leaving-go'))
  await says('Closes by itself')
  expect(backend.left).toBe(0)
  backend.on('leaving', () => ({ with_provider: 0, elsewhere: false }))
  await until(() => backend.left === 1, 'the window closed')
})

test('it can be kept open, and asks anew', async () => {
  const backend = asked(1, true)
  await says('Bookings')
  backend.hint('leaving')
  await says('Another desk works for this database')
  press('Escape')
  await until(() => !find('leaving'), 'no question')
  expect(backend.left).toBe(0)
  backend.hint('leaving')
  await says('A payment is under way')
  click(await seen('leaving-now'))
  await until(() => backend.left === 1, 'the window closed')
})

test('a database that is silent keeps nobody in', async () => {
  const backend = asked(1, true)
  await says('Bookings')
  backend.on('leaving', () => {
    throw new DeskError({ code: 'database_lost', message: 'The database does not answer.', field: null, hint: null, retry: { after: { seconds: 1 } }, detail: null } as never)
  })
  backend.hint('leaving')
  await says('It cannot be seen whether a payment is under way')
  click(await seen('leaving-now'))
  await until(() => backend.left === 1, 'the window closed')
})
