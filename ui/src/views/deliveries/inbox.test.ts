import { expect, test } from 'vitest'
import { NOW } from '../../backend/fixtures'
import { arrivalOf, inboxSource } from '../../backend/inbox'
import { arrivalTitle, pollSays, wrongClock } from './inboxWords'

const now = Date.parse(NOW)

test('a clock that is off is found and named; one that is near enough is not', () => {
  const late = arrivalOf(8998)!
  expect(wrongClock(late)).toEqual({ receiver: 'server-2', seconds: 404 })
  expect(arrivalTitle(late)).toBe('Too old by 1 min 48 s')
  expect(wrongClock(arrivalOf(8995)!)).toBeNull()
})

test('asking says how long ago, how often, and what waits; what is not known is not green', () => {
  expect(pollSays(inboxSource, now)).toEqual({ value: '8 s ago', note: 'every 10 s, 1 payment waits', role: 'ok' })
  expect(pollSays({ ...inboxSource, poll_at: null }, now).role).toBe('idle')
  expect(pollSays({ ...inboxSource, poll_problem: 'Stripe refuses our key.' }, now)).toMatchObject({ value: 'Fails', role: 'risk' })
})
