import { describe, expect, test } from 'vitest'
import { before, eur, NOW, retryingPage } from '../../backend/fixtures'
import type { BookingPage, BookingState, DeliveryState, PaymentState, SagaState, WaitsFor } from '../../backend/types'
import { headline } from './headline'

const now = Date.parse(NOW)
const base = retryingPage()
const nothing: WaitsFor = { waits_for: 'nothing' }

interface Facts {
  state: BookingState
  payment: PaymentState
  waits?: WaitsFor
  saga?: SagaState
  message?: DeliveryState | null
  why?: string
  captured?: number
  refunded?: number
  until?: string | null
  reason?: string
  unknown?: boolean
}

function page(f: Facts): BookingPage {
  const captured = f.captured ?? (['paid', 'refund_pending', 'part_refunded', 'refunded', 'refund_failed', 'disputed', 'dispute_lost'].includes(f.payment) ? 80 : 0)
  const refunded = f.refunded ?? (f.payment === 'refunded' ? 80 : 0)
  return {
    ...base,
    row: { ...base.row, state: f.state, payment: f.payment, hold_expires_at: f.until ?? null },
    cancelled: f.why ? { by: 'staff', reason_code: f.why, reason: f.reason ?? null } : null,
    money: { ...base.money, authorised: eur(captured || 80), captured: eur(captured), refunded: eur(refunded), kept: eur(captured - refunded), unknown: f.unknown ?? false },
    saga: { ...base.saga!, state: f.saga ?? 'running', waits_for: f.waits ?? nothing },
    message: f.message ? { ...base.message!, state: f.message, problem: null, next_try_at: f.message === 'retrying' ? before(-248) : null } : null,
  }
}

const says = (f: Facts) => headline(page(f), now).sentence

const until = '2026-11-24T12:04:00Z'
const retry = (seconds: number): WaitsFor => ({ waits_for: 'retry', at: before(-seconds), attempt: 3, cause: 'Stripe did not answer in 20 s' })

test.each<[Facts, string]>([
  [{ state: 'confirmed', payment: 'paid', message: 'delivered' }, 'Confirmed, paid €80.00. The customer has the e-mail.'],
  [{ state: 'confirmed', payment: 'paid', message: 'retrying' }, 'Confirmed, paid €80.00. The e-mail is not delivered yet: next try in 4 min.'],
  [{ state: 'confirmed', payment: 'paid', message: 'gave_up' }, 'Confirmed, paid €80.00. No message reached the customer.'],
  [{ state: 'confirmed', payment: 'paid', message: 'unclear' }, 'Confirmed, paid €80.00. It is not known whether the e-mail arrived.'],
  [{ state: 'confirmed', payment: 'at_venue', message: 'skipped' }, 'Confirmed, €80.00 to be paid at the venue. Nobody was told: there is no e-mail address.'],
  [{ state: 'held', payment: 'not_asked', until }, 'Held until 12:04, no payment asked yet.'],
  [{ state: 'held', payment: 'authorised' }, 'Held, €80.00 authorised and not taken yet.'],
  [{ state: 'awaiting_payment', payment: 'link_sent', until }, 'Awaiting payment until 12:04, the link for €80.00 is out.'],
  [{ state: 'awaiting_payment', payment: 'action_required', until }, 'Awaiting payment until 12:04, the customer’s bank asks for a confirmation.'],
  [
    { state: 'awaiting_payment', payment: 'declined', until, waits: { waits_for: 'customer', until } },
    'Awaiting payment until 12:04, the card was declined, nothing was taken. The customer can try another card with the same link.',
  ],
  [{ state: 'held', payment: 'unknown', until, waits: retry(40) }, 'Held until 12:04. Stripe did not say whether €80.00 was taken. It is asked again in 40 s.'],
  [{ state: 'held', payment: 'requested', waits: { waits_for: 'worker' } }, 'Held, the payment of €80.00 is being asked for. It waits, because nobody does the background work.'],
  [{ state: 'cancelled', payment: 'declined', why: 'payment_failed', saga: 'undone', message: 'delivered' }, 'Cancelled, the card was declined, nothing was taken. The customer has the e-mail.'],
  [{ state: 'cancelled', payment: 'link_sent', why: 'hold_expired', saga: 'undone' }, 'Cancelled because nobody paid in time, nothing was taken.'],
  [{ state: 'cancelled', payment: 'refunded', why: 'asked', saga: 'undone', message: 'delivered' }, 'Cancelled, €80.00 refunded. The customer has the e-mail.'],
  [{ state: 'cancelled', payment: 'refund_pending', why: 'asked', saga: 'undoing' }, 'Cancelled, a refund of €80.00 is on its way. It is being taken back now.'],
  [{ state: 'cancelled', payment: 'refund_pending', why: 'asked', saga: 'undoing', waits: retry(95) }, 'Cancelled, a refund of €80.00 is on its way. It is being taken back: next try in 1 min.'],
  [{ state: 'cancelled', payment: 'refund_failed', why: 'asked', saga: 'needs_person' }, 'Cancelled, the refund of €80.00 failed and €80.00 is still here. A person must decide how it goes on.'],
  [{ state: 'cancelled', payment: 'refund_pending', why: 'asked', unknown: true, saga: 'undoing' }, 'Cancelled. Stripe did not say whether the refund was made. It is being taken back now.'],
  [{ state: 'expired', payment: 'voided', saga: 'undone' }, 'Expired because nobody paid in time, the authorisation was given back, nothing was taken.'],
  [
    { state: 'confirmed', payment: 'paid', saga: 'needs_person', waits: { waits_for: 'person', reason: 'the e-mail was refused 8 times' } },
    'Confirmed, paid €80.00. A person must decide how it goes on.',
  ],
  [
    { state: 'confirmed', payment: 'paid', saga: 'needs_person', message: 'gave_up', waits: { waits_for: 'person', reason: 'the mail server refused it' } },
    'Confirmed, paid €80.00. No message reached the customer. A person must decide how it goes on.',
  ],
])('%j says: %s', (facts, sentence) => {
  expect(says(facts)).toBe(sentence)
})

describe('every combination', () => {
  const states: BookingState[] = ['held', 'awaiting_payment', 'confirmed', 'cancelled', 'expired']
  const payments: PaymentState[] = ['not_asked', 'requested', 'link_sent', 'action_required', 'authorised', 'paid', 'at_venue', 'declined', 'unknown', 'voided', 'refund_pending', 'part_refunded', 'refunded', 'refund_failed', 'disputed', 'dispute_lost'] // prettier-ignore
  const sagas: SagaState[] = ['running', 'waiting_for_customer', 'waiting_for_provider', 'needs_person', 'done', 'done_with_warnings', 'undoing', 'undone', 'resolved', 'paused'] // prettier-ignore
  const messages: (DeliveryState | null)[] = [null, 'scheduled', 'sending', 'retrying', 'delivered', 'gave_up', 'unclear', 'skipped']
  const waits: WaitsFor[] = [
    nothing,
    { waits_for: 'customer', until },
    retry(40),
    { waits_for: 'delivery', at: null, attempt: 2, cause: null },
    { waits_for: 'provider', what: 'refund' },
    { waits_for: 'worker' },
    { waits_for: 'person', reason: 'the refund failed' },
  ]

  test('is a whole sentence, without gaps, and never says more than is known', () => {
    let seen = 0
    const faults: string[] = []
    for (const state of states)
      for (const payment of payments)
        for (const saga of sagas)
          for (const message of messages)
            for (const w of waits)
              for (const why of state === 'cancelled' ? ['asked', 'hold_expired', 'payment_failed', 'not_told', 'something_new'] : [undefined]) {
                const text = says({ state, payment, saga, message, waits: w, why })
                seen++
                const whole = /^\p{Lu}.*\.$/u.test(text) && !/undefined|null|\{|\}| {2}|,\.|\.\.|, ,/.test(text)
                // Unknown is never told as taken, and never as not taken.
                const honest = payment !== 'unknown' || !/paid €|nothing was taken/.test(text)
                const asks = w.waits_for !== 'person' || text.includes('A person must decide')
                if (!whole || !honest || !asks) faults.push(`${state} ${payment} ${saga} ${message} ${w.waits_for} ${why}: ${text}`)
              }
    expect(faults).toEqual([])
    expect(seen).toBeGreaterThan(50_000)
  }, 60_000)
})

test('why a person must decide is said once, in the line below, as a sentence', () => {
  const stuck = page({ state: 'confirmed', payment: 'paid', saga: 'needs_person', message: 'gave_up', waits: { waits_for: 'person', reason: 'the mail server refused it (550)' } })
  const told = headline({ ...stuck, message: { ...stuck.message!, problem: 'the mail server refused it (550)' } }, now)
  expect(`${told.sentence} ${told.detail}`.match(/refused it/g)).toHaveLength(1)
  expect(told.detail).toMatch(/^The mail server refused it \(550\)\./)
})

test('the line below gives the reason, the cause and how soon the visit is', () => {
  const told = headline(retryingPage(), Date.parse('2026-11-24T08:00:00Z'))
  expect(told.detail).toBe('451 4.7.1 Greylisted, try again in 300 seconds. Nothing is needed from you. The visit is in 30 min.')
  expect(headline(page({ state: 'cancelled', payment: 'refunded', why: 'asked', reason: 'Called: car broke down' }), now).detail).toBe('“Called: car broke down”')
})
