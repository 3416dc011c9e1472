import { expect, test } from 'vitest'
import { page } from 'vitest/browser'
import { moment, session } from '../src/backend/fixtures'
import { batch, compensation, differing, orphan, sagaList, sagaPage, sagaRows } from '../src/backend/sagas'
import { appError } from '../src/backend/testing'
import { DeskError } from '../src/backend/backend'
import type { CommandSaga, SagaPlan, StartBatch } from '../src/backend/types'
import { world } from '../src/backend/world'
import { setPrefs } from '../src/lib/prefs.svelte'
import type { Desk } from '../src/live/desk'
import { besideOf, caseOf } from '../src/views/sagas/case'
import { accessible, all, click, find, open, press, says, seen, type, until } from './desk'

const asked = (backend: ReturnType<typeof world>, name: string) => backend.calls.filter((call) => call.name === name)
const one = sagaRows[0]!.saga_id

test('the inbox says what waits for a person and what it costs, by step and cause', async () => {
  const backend = open('/sagas')
  await until(() => all('saga-row').length === 3, 'three rows')
  expect(find('sagas-say')!.textContent).toMatch(/3 need a decision:\s+€275\.00, ¥18,000 at stake\./)
  expect(all('saga-group')).toHaveLength(2)
  expect(find('gate-stripe')!.textContent).toContain('14 sagas wait; no tries are used up.')
  await accessible()
  click(all('saga-group')[0]!)
  await until(() => asked(backend, 'list_sagas').some((call) => (call.params as { group: string | null }).group === 'notify:F:refused'), 'asked for the group')
})

test('every tab can be read at the width of a small screen, in the language with the longer words', async () => {
  setPrefs({ language: 'de' })
  await page.viewport(1280, 800)
  try {
    open('/sagas')
    await seen('tab-done')
    await until(() => all('saga-row').length === 3, 'rows')
    const tabs = find('tab-done')!.parentElement!
    expect(tabs.scrollWidth).toBeLessThanOrEqual(tabs.clientWidth)
  } finally {
    await page.viewport(1440, 900)
  }
})

test('a call instead of the message is offered where one reads why it is stuck', async () => {
  open(`/sagas/${one}`)
  click(await seen('act-skip'))
  await seen('decide-dialog')
  expect(find('why')!.contains(find('act-skip'))).toBe(true)
  // To go is no decision: it must not read like the one that leaves the booking as it is.
  expect(find('decide-dialog-keep')!.textContent.trim()).toBe('Not now')
})

test('from the keyboard: down, retry the one that is focused, and it is asked for once', async () => {
  const backend = open('/sagas')
  await until(() => all('saga-row').length === 3, 'rows')
  press('j')
  press('j')
  expect((document.activeElement as HTMLElement).dataset.saga).toBe(sagaRows[1]!.saga_id)
  press('r')
  await until(() => asked(backend, 'command_saga').length === 1, 'asked')
  expect(asked(backend, 'command_saga')[0]!.params).toMatchObject({ saga_id: sagaRows[1]!.saga_id, action: 'retry', version: 14 })
  await says('Asked for another try. Its result shows here.')
})

test('a saga says why it is stuck, shows every try, and what undoing would do', async () => {
  open(`/sagas/${one}`)
  await seen('why')
  expect(find('saga-lead')!.textContent).toContain('€95.00 is taken and the place is booked, but no message reached the customer.')
  expect(find('why')!.textContent).toContain('the service starts soon')
  expect(find('plan')!.textContent).toContain('€95.00 goes back to the customer')
  expect(all('attempt')).toHaveLength(6)
  await accessible()
  click(all('attempt')[4]!)
  await seen('try')
  expect(find('try')!.textContent).toContain('Neither success nor failure')
  await accessible()
  click(find('saga-tab-commands')!)
  // Asking is not succeeding.
  expect(find('became')!.textContent).toBe('Done, then: Refused')
  click(find('saga-tab-effects')!)
  expect(find('effects')!.textContent).toContain('create intent')
})

test('Stripe is asked of a worker, and its answer stands beside the ledger with who asked', async () => {
  const backend = open(`/sagas/${one}`)
  await seen('stripe-says')
  expect(find('stripe-says')!.textContent).toContain('not asked yet')
  let known = false
  backend.on('get_saga', () => ({ ...sagaPage(), asks: known ? [differing] : [] }))
  backend.on('get_ask', ({ ask_id }) => ((known = true), { ...differing, ask_id }))
  press('s')
  await seen('stripe-answer')
  expect(asked(backend, 'ask_stripe')).toHaveLength(1)
  expect(asked(backend, 'ask_stripe')[0]!.params).toMatchObject({ saga_id: one })
  const told = find('stripe-answer')!
  expect(told.textContent).toContain('Stripe and the ledger differ')
  expect(told.textContent).toContain('asked by Sofia Marçal')
  expect(find('sum-refunded')!.textContent).toMatch(/€30\.00\s*€0\.00/)
  expect(find('stripe-refund')!.textContent).toContain('not asked for by this desk')
  expect(find('stripe-says')!.textContent).toContain('€65.00')
  await accessible()
})

test('where no worker holds the key, asking Stripe says so and asks nothing', async () => {
  const backend = world()
  backend.on('get_saga', () => ({ ...sagaPage(), ask_refused: 'No worker with Stripe’s key is running.' }))
  open(`/sagas/${one}`, backend)
  await seen('ask-stripe')
  expect(find('ask-stripe')!.getAttribute('aria-disabled')).toBe('true')
  press('s')
  click(find('ask-stripe')!)
  expect(asked(backend, 'ask_stripe')).toHaveLength(0)
  find('ask-stripe')!.focus()
  await says('No worker with Stripe’s key is running.')
})

test('an address is corrected from the keyboard: it goes beside the command, never into its parameters', async () => {
  const backend = open(`/sagas/${one}`)
  await seen('why')
  press('e')
  await seen('decide-email')
  expect(find('decide-go')!.getAttribute('aria-disabled')).toBe('true')
  type('decide-email', 'stella@mavros.example.org')
  type('decide-reason', 'She spelled it on the phone')
  await until(() => find('decide-go')!.getAttribute('aria-disabled') !== 'true', 'on')
  await accessible()
  press('Enter', { ctrlKey: true })
  await until(() => find('decide-dialog') === null, 'the dialog closes')
  const sent = asked(backend, 'command_saga')[0]!.params as CommandSaga
  expect(sent).toMatchObject({ action: 'correct', params: { field: 'email' }, email: 'stella@mavros.example.org' })
  expect(JSON.stringify(sent.params)).not.toContain('@')
})

test('who settles a call sees what Stripe said last, and that it shows otherwise', async () => {
  const backend = world()
  backend.on('get_saga', () => {
    const page = sagaPage()
    return { ...page, asks: [differing], offers: page.offers.map((o) => ({ ...o, refused: null, code: null })) }
  })
  backend.on('preview_saga', () => ({ ...compensation, refund: null, needs_approval: true, operations: [{ step: 'capture', op: 'done', amount: null, count: null, percent: null, from: null, to: null, object: null, at: null, since: null }, { step: 'capture', op: 'contradicts', amount: null, count: null, percent: null, from: null, to: null, object: null, at: null, since: null }] }))
  open(`/sagas/${one}`, backend)
  await seen('why')
  find('more')!.focus()
  press('Enter')
  await seen('more-resolve_step')
  find('more-resolve_step')!.focus()
  click(find('more-resolve_step')!)
  await seen('decide-contradicts')
  expect(find('decide-dialog')!.querySelector('[data-testid="stripe-answer"]')!.textContent).toContain('Stripe and the ledger differ')
})

test('undoing shows its plan, wants a reason, and sends the plan’s hash back', async () => {
  const backend = open(`/sagas/${one}`)
  await seen('why')
  press('c')
  await seen('decide-dialog')
  await until(() => find('decide-dialog')!.querySelectorAll('[data-testid="plan"] li').length === 5, 'the plan')
  expect(find('decide-second')!.textContent).toContain('Below €150.00: no second person needed')
  expect(find('decide-go')!.textContent).toContain('Refund €95.00 and cancel')
  expect(find('decide-go')!.getAttribute('aria-disabled')).toBe('true')
  await accessible()
  type('decide-reason', 'Called her, she made other plans')
  press('Enter', { ctrlKey: true })
  await until(() => find('decide-dialog') === null, 'the dialog closes')
  const params = asked(backend, 'command_saga')[0]!.params as CommandSaga
  expect(params).toMatchObject({ action: 'compensate', plan_hash: 'a1b2', version: 14, reason: 'Called her, she made other plans' })
})

test('in the smallest window no line of a plan is cut off, and the plan is what one sees first', async () => {
  await page.viewport(960, 640)
  try {
    open(`/sagas/${one}`)
    await seen('why')
    press('c')
    const plan = await until(() => find('decide-dialog')?.querySelector<HTMLElement>('[data-testid="plan"]'), 'the plan')
    await until(() => document.activeElement === find('decide-reason'), 'the focus on the reason')
    expect(plan.scrollHeight).toBeLessThanOrEqual(plan.clientHeight)
    expect(plan.parentElement!.scrollTop).toBe(0)
  } finally {
    await page.viewport(1440, 900)
  }
})

test('an admin gives back a part: what goes back and what stays is on the plan and on the button, and only that is asked for', async () => {
  const backend = world()
  const part = (minor: number): SagaPlan => ({
    ...compensation,
    hash: `part-${minor}`,
    operations: compensation.operations.flatMap((op) =>
      op.op === 'refund'
        ? [
            { ...op, amount: { amount_minor: minor, currency: 'EUR' } },
            { ...op, op: 'keep_part', amount: { amount_minor: 9500 - minor, currency: 'EUR' } },
          ]
        : [op],
    ),
    refund: { amount_minor: minor, currency: 'EUR' },
    whole: { amount_minor: 9500, currency: 'EUR' },
    keeps: { amount_minor: 9500 - minor, currency: 'EUR' },
  })
  backend.on('preview_saga', ({ action, params }) => (action === 'refund_part' ? part(params.refund_minor ?? 9500) : compensation))
  open(`/sagas/${one}`, backend)
  await seen('why')
  press('c')
  await seen('give-part')
  click(find('give-part')!)
  await seen('decide-sum')
  await until(() => find('decide-dialog')!.textContent.includes('Up to €95.00.'), 'how much it could be')
  type('decide-reason', 'One of the two visits took place')
  for (const none of ['', '-5', '50.005']) {
    type('decide-sum', none)
    await until(() => find('decide-go')!.getAttribute('aria-disabled') === 'true', `“${none}” is no sum`)
  }
  type('decide-sum', '50')
  await until(() => find('decide-go')!.textContent.includes('Refund €50.00, keep €45.00'), 'the plan of that sum')
  expect(find('decide-dialog')!.querySelector('[data-testid="plan"]')!.textContent).toContain('€45.00 stays with you by decision')
  await accessible()
  click(find('decide-go')!)
  await until(() => find('decide-dialog') === null, 'the dialog closes')
  expect(asked(backend, 'command_saga')).toHaveLength(1)
  expect(asked(backend, 'command_saga')[0]!.params).toMatchObject({ action: 'refund_part', plan_hash: 'part-5000', params: { refund_minor: 5000 } })
})

test('what was kept by decision stands in the money line, and with who asked for it', async () => {
  const backend = world()
  const page = sagaPage()
  const eur = (minor: number) => ({ amount_minor: minor, currency: 'EUR' })
  backend.on('get_saga', () => ({
    ...page,
    money: { ...page.money, refunded: eur(5000), kept: eur(4500), kept_by_decision: eur(4500) },
    commands: page.commands.map((command) => ({ ...command, action: 'refund_part', refund: eur(5000), keeps: eur(4500) })),
  }))
  open(`/sagas/${one}`, backend)
  await seen('money-refunded')
  expect(find('money-refunded')!.textContent).toContain('€45.00 kept by decision')
  click(find('saga-tab-commands')!)
  expect(find('audit')!.textContent).toContain('Give back a part')
  expect(find('audit-keeps')!.textContent).toBe('€50.00 back, €45.00 kept')
  await accessible()
})

test('whoever is no admin is not offered a part', async () => {
  const backend = world()
  backend.on('session', () => ({ ...session, group: 'manager' }))
  open(`/sagas/${one}`, backend)
  await seen('why')
  press('c')
  await until(() => find('decide-go')?.textContent.includes('Refund €95.00 and cancel'), 'the plan')
  expect(find('give-part')).toBeNull()
})

test('who was slower is told who was faster, and decides on the plan as it is then', async () => {
  const backend = open(`/sagas/${one}`)
  await seen('why')
  press('c')
  await until(() => find('decide-dialog')?.querySelector('[data-testid="plan"]'), 'the plan')
  let lost = true
  backend.on('command_saga', ({ command_id }) => {
    if (lost) throw new DeskError(appError('stream.conflict', 'ann changed this 2 s ago. Nothing was done by you.', { hint: 'Look at it as it is now, then decide again.' }))
    return { command_id, awaits_approval: false }
  })
  backend.on('preview_saga', () => ({ ...compensation, hash: 'c3d4', version: 15 }))
  type('decide-reason', 'Called her, she made other plans')
  press('Enter', { ctrlKey: true })
  await seen('decide-error')
  expect(find('decide-error')!.textContent).toContain('ann changed this 2 s ago')
  lost = false
  // Pressed again once the plan is the new one.
  await until(() => (press('Enter', { ctrlKey: true }), find('decide-dialog') === null), 'decided')
  const [first, second] = asked(backend, 'command_saga').map((call) => call.params as CommandSaga)
  expect(second!.plan_hash).toBe('c3d4')
  expect(second!.command_id).not.toBe(first!.command_id)
})

test('ending it by hand needs evidence and a look at the three that count; what cannot be done now says why', async () => {
  const backend = open(`/sagas/${one}`)
  const plain = { amount: null, count: null, percent: null, from: null, to: null, object: null, at: null, since: null }
  backend.on('preview_saga', () => ({
    ...compensation,
    refund: null,
    operations: [
      { ...plain, step: null, op: 'end' },
      { ...plain, step: 'capture', op: 'keep_money', amount: compensation.refund },
      { ...plain, step: 'confirm', op: 'booking_stands' },
      { ...plain, step: 'hold', op: 'slot_stays' },
    ],
  }))
  await seen('why')
  const trigger = find('more')!
  trigger.focus()
  press('Enter')
  await seen('more-resolve')
  expect(find('more-reopen')!.textContent).toContain('It is not over yet.')
  find('more-resolve')!.focus()
  click(find('more-resolve')!)
  await seen('decide-dialog')
  await seen('checked-money')
  type('decide-reason', 'Paid back in cash at the desk')
  expect(find('decide-go')!.getAttribute('aria-disabled')).toBe('true')
  type('decide-evidence', 'receipt 4711')
  expect(find('decide-go')!.getAttribute('aria-disabled')).toBe('true')
  expect(find('checked-money')!.closest('label')!.textContent).toContain('€95.00')
  await accessible()
  for (const which of ['money', 'booking', 'slot']) click(find(`checked-${which}`)!)
  await until(() => find('decide-go')!.getAttribute('aria-disabled') !== 'true', 'on')
  click(find('decide-go')!)
  await until(() => asked(backend, 'command_saga').length === 1, 'asked')
  expect(asked(backend, 'command_saga')[0]!.params).toMatchObject({ action: 'resolve', params: { evidence: 'receipt 4711', checked: ['money', 'booking', 'slot'] } })
})

test('a second person sees the plan and says yes', async () => {
  const backend = open('/sagas')
  await until(() => all('approval').length === 1, 'a request')
  click(find('approval-look')!)
  await seen('approve-dialog')
  await until(() => find('approve-yes')!.getAttribute('aria-disabled') !== 'true', 'on')
  expect(find('approve-dialog')!.textContent).toContain('Her mother called')
  await accessible()
  click(find('approve-yes')!)
  await until(() => find('approve-dialog') === null, 'closed')
  expect(asked(backend, 'decide_saga_command')[0]!.params).toMatchObject({ approve: true, plan_hash: 'a1b2' })
})

test('a case for support names no customer', () => {
  const text = JSON.stringify(caseOf(sagaPage()))
  expect(text).not.toContain('stella@mavros.example')
  expect(text).not.toContain(sagaRows[0]!.booking.customer.name)
  expect(text).toContain('550 5.1.1')
})

test('nor by a name or a number in what was written, nor in the events and deliveries beside it', () => {
  const page = sagaPage()
  const [first] = page.row.booking.customer.name.split(' ')
  page.commands[0]!.reason = `${first}'s sister called from +351 912 345 678 on 2026-11-24, refund 8000`
  const beside = { events: [{ event: { name: 'BookingCancelled', data: { reason: `told ${first} at 0171/2345678` } } }], deliveries: [{ attempts: [{ response: 'no user stella@mavros.example' }] }], left_out: { events: 0, deliveries: 0 } }
  const text = JSON.stringify(caseOf(page, beside))
  expect(text).not.toContain(first)
  expect(text).not.toMatch(/912 345|0171|mavros/)
  expect(text).toContain('(name)\'s sister called from (number) on 2026-11-24, refund 8000')
  expect(text).toContain('"data":{"reason":"told (name) at (number)"}')
})

/** A desk that has as many events of a booking, of one conversation each, and as many deliveries. */
function stocked(events: number, deliveries: number): Desk {
  const answers = {
    list_events: ({ before, limit }: { before: number | null; limit: number }) => {
      const from = before ?? events + 1
      const rows = Array.from({ length: Math.min(limit, from - 1) }, (_, i) => ({ position: from - 1 - i, correlation_id: `c${from - 1 - i}` }))
      return { rows, more: from - 1 > limit, matched: { count: events, estimated: false } }
    },
    copy_events: ({ correlation_id }: { correlation_id: string }) => ({ json: JSON.stringify([{ of: correlation_id }]), events: 1, left_out: correlation_id === 'c1' ? 3 : 0 }),
    list_deliveries: ({ after, limit }: { after: string | null; limit: number }) => {
      const at = Number(after ?? 0)
      const next = at + limit < deliveries ? String(at + limit) : null
      return { rows: Array.from({ length: Math.min(limit, deliveries - at) }, (_, i) => at + i), next, matching: { count: deliveries, estimated: false } }
    },
  }
  return { call: (name: keyof typeof answers, params: never) => Promise.resolve(answers[name](params)) } as unknown as Desk
}

test('a case takes all of a long story, and says in itself what it could not take', async () => {
  const whole = await besideOf(stocked(2_500, 1_200), sagaPage())
  expect(whole.events).toEqual(Array.from({ length: 2_500 }, (_, i) => ({ of: `c${i + 1}` })))
  expect(whole.deliveries).toEqual(Array.from({ length: 1_200 }, (_, i) => i))
  expect(whole.left_out).toEqual({ events: 3, deliveries: 0 })
  expect(caseOf(sagaPage(), await besideOf(stocked(0, 0), sagaPage())).left_out).toBeNull()

  const cut = await besideOf(stocked(5_700, 6_001), sagaPage())
  expect([cut.events.length, cut.deliveries.length]).toEqual([5_000, 5_000])
  expect(caseOf(sagaPage(), cut).left_out).toMatchObject({ events: 700, deliveries: 1_001, rest: expect.stringContaining('bizing-desk export') })
})

test('nobody has to decide anything: that is said, and the other tabs still work', async () => {
  const backend = world()
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList('none'), counts: { ...sagaList(tab).counts, needs_person: 0 }, groups: [], kept: [], approvals: [] }))
  open('/sagas', backend)
  await seen('empty')
  await says('Nobody has to decide anything')
  await accessible()
  click(find('tab-running')!)
  await says('Nothing here now')
})

test('a group is decided once: the set is frozen, its sum shown, its number typed', async () => {
  const backend = open('/sagas?group=notify%3AF%3Arefused')
  await until(() => all('saga-row').length === 3, 'rows')
  click(find('decide-group')!)
  await seen('bulk-dialog')
  await seen('bulk-sums')
  expect(find('bulk-sums')!.textContent).toContain('€275.00')
  expect(find('bulk-refused')!.textContent).toContain('It is being taken back already.')
  await accessible()
  type('bulk-reason', 'The mail server was down')
  expect(find('bulk-go')!.getAttribute('aria-disabled')).toBe('true')
  type('bulk-typed', '2')
  press('Enter', { ctrlKey: true })
  await until(() => find('bulk-dialog') === null, 'begun')
  // The whole group and not what is loaded of it; another decision is for the set that the first look froze.
  expect(asked(backend, 'preview_batch')[0]!.params).toMatchObject({ saga_ids: [], filter: { tab: 'needs_person', group: 'notify:F:refused' } })
  const params = asked(backend, 'start_batch')[0]!.params as StartBatch
  expect(params.members).toHaveLength(2)
  expect(params).toMatchObject({ action: 'compensate', typed: 2 })
})

test('a group cannot be decided while the rows are still those of what was shown before', async () => {
  const backend = open('/sagas')
  await until(() => all('saga-row').length === 3, 'rows')
  let answer: (() => void) | undefined
  backend.on('list_sagas', ({ tab }) => new Promise((told) => (answer = () => told({ ...sagaList(tab), rows: sagaRows.slice(0, 2) }))))
  click(all('saga-group')[0]!)
  await until(() => answer, 'asked for the group')
  expect(find('decide-group')).toBeNull()
  answer!()
  await seen('decide-group')
  expect(find('decide-group')!.textContent).toContain('2')
})

test('while it is carried out, each has its line, and what came back stands beside what the preview said', async () => {
  const backend = world()
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), batches: [batch] }))
  open('/sagas', backend)
  await seen('batch')
  click(find('batch-look')!)
  await seen('batch-items')
  expect(all('batch-item').map((row) => row.dataset.status)).toEqual(['applied', 'refused', 'pending'])
  expect(all('batch-item')[1]!.textContent).toContain('It changed while you looked.')
  expect(find('batch-sums')!.textContent).toMatch(/€95\.00\s*€275\.00\s*…/)
  expect(find('batch-counts')!.textContent).toMatch(/1 done\s*1 left out since the preview\s*0 under way\s*1 wait/)
  await accessible()
  click(find('batch-stop-here')!)
  await until(() => asked(backend, 'change_batch').length === 1, 'asked to stop')
})

test('with x some are chosen, and the bar says their sums apart', async () => {
  const backend = world()
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), batches: [batch] }))
  open('/sagas', backend)
  await until(() => all('saga-row').length === 3, 'rows')
  press('j')
  press('x')
  press('j')
  press('j')
  press('x')
  expect(find('bulk-bar')!.textContent).toContain('2 selected')
  expect(find('bulk-bar')!.textContent).toContain('€95.00, ¥18,000')
  expect(find('batch-tally')!.textContent).toBe('1 done, 0 left out, 1 to come')
  await accessible()
})

test('policies say in words what they lead to, and change with a reason', async () => {
  const backend = open('/settings/policies')
  await seen('policies')
  await says('Once 3 bookings fail for one cause within 10 minutes')
  expect(find('policy-save')!.getAttribute('aria-disabled')).toBe('true')
  await accessible()
  type('policy-approval', '200.50')
  type('policy-reason', 'Two people on weekdays only')
  await until(() => find('policy-save')!.getAttribute('aria-disabled') !== 'true', 'on')
  click(find('policy-save')!)
  await until(() => asked(backend, 'put_saga_policy').length === 1, 'asked')
  expect(asked(backend, 'put_saga_policy')[0]!.params).toMatchObject({ version: 3, approval: { amount_minor: 20_050, currency: 'EUR' }, blast_sagas: 3, on_exhausted: 'compensate', steps: { capture_tries: 40, hold_card_minutes: 15 } })
})

test('a provider’s limits change with a reason, and its gate sends one ahead; without a reason neither', async () => {
  const backend = open('/settings/policies')
  await seen('providers')
  await says('14 sagas wait; no tries are used up.')
  expect(find('open-gate')!.getAttribute('aria-disabled')).toBe('true')
  type('provider-reason', 'The key is right again')
  await until(() => find('open-gate')!.getAttribute('aria-disabled') !== 'true', 'on')
  expect(find('provider-save')!.getAttribute('aria-disabled')).toBe('true')
  await accessible()
  click(find('open-gate')!)
  await until(() => asked(backend, 'open_gate').length === 1, 'asked')
  await until(() => (find('provider-reason') as HTMLTextAreaElement).value === '', 'done')
  type('provider-rate', '2.5')
  type('provider-reason', 'Stripe asked us to be slower')
  await until(() => find('provider-save')!.getAttribute('aria-disabled') !== 'true', 'on')
  click(find('provider-save')!)
  await until(() => asked(backend, 'put_provider').length === 1, 'asked')
  expect(asked(backend, 'put_provider')[0]!.params).toMatchObject({ provider: 'stripe', rate_per_s: 2.5, seen_rate_per_s: 20, max_in_flight: 8 })
})

test('those that are ticked, and only those, go into the decision, also when the list was read again meanwhile', async () => {
  const backend = open('/sagas')
  await until(() => all('saga-row').length === 3, 'three rows')
  const ticks = () => all('choose') as HTMLInputElement[]
  click(ticks()[0]!)
  backend.hint('sagas')
  click(ticks()[2]!)
  await until(() => ticks().filter((tick) => tick.checked).length === 2, 'two are ticked')
  backend.hint('sagas')
  click(await until(() => find('decide-chosen'), 'the way to decide'))
  await until(() => asked(backend, 'preview_batch').length > 0, 'the plan is asked for')
  expect(asked(backend, 'preview_batch')[0]!.params).toMatchObject({ saga_ids: [sagaRows[0]!.saga_id, sagaRows[2]!.saga_id] })
})

test('what is asked for again and again is kept, and is chosen from the address', async () => {
  localStorage.removeItem('bizing-desk.deliveries')
  const backend = open('/sagas?tab=needs_person&who=me')
  await until(() => asked(backend, 'list_sagas').some((call) => (call.params as { who: string | null }).who === 'me'), 'asked for mine')
  expect(find('views')!.textContent).toContain('Mine')
  type('saga-search', 'stella@mavros.example')
  await until(() => location.hash.includes('q=stella'), 'in the address')
  find('views')!.focus()
  click(find('views')!)
  await seen('view-name')
  type('view-name', 'Stella, mine')
  click(find('view-save')!)
  await until(() => find('views')!.textContent!.includes('Stella, mine'), 'kept')
})

test('the list is narrowed from the keyboard, and what it is asked for stands in the address', async () => {
  const backend = open('/sagas')
  await until(() => all('saga-row').length === 3, 'rows')
  press('f')
  click(await until(() => document.querySelectorAll<HTMLElement>('[role="radio"]')[2], 'the kinds'))
  click(find('filter-price')!)
  await seen('price-from')
  type('price-from', '95,5')
  type('price-to', '20')
  await says('The lower end is above the upper one.')
  expect(find('price-go')!.getAttribute('aria-disabled')).toBe('true')
  await accessible()
  type('price-to', '200')
  await until(() => find('price-go')!.getAttribute('aria-disabled') !== 'true', 'can be asked')
  click(find('price-go')!)
  await until(() => location.hash.endsWith('kind=cancellation&price=EUR%3A9550%3A20000'), 'the address')
  expect(find('filter-price')!.textContent).toContain('€95.50 – €200.00')
  expect(asked(backend, 'list_sagas').at(-1)!.params).toMatchObject({ tab: 'needs_person', definition: 'cancellation', price: { currency: 'EUR', from_minor: 9550, to_minor: 20_000 } })
})

test('the file and a decision for all that is shown follow the same filter', async () => {
  const backend = open('/sagas?kind=cancellation&older=24&price=EUR%3A%3A20000&who=nobody&by=price')
  await until(() => all('saga-row').length === 3, 'rows')
  const wanted = { tab: 'needs_person', who: 'nobody', definition: 'cancellation', older_than_h: 24, price: { currency: 'EUR', from_minor: null, to_minor: 20_000 }, order: 'price' }
  expect(asked(backend, 'list_sagas').at(-1)!.params).toMatchObject(wanted)
  expect(find('filter-older')!.textContent).toContain('Older than 1 day')
  expect(find('filter-order')!.textContent).toContain('First the dearest')
  click(find('saga-csv')!)
  await until(() => asked(backend, 'export_sagas').length > 0, 'the file')
  expect(asked(backend, 'export_sagas')[0]!.params).toMatchObject(wanted)
  click(await until(() => find('decide-filter'), 'a decision for all'))
  await until(() => asked(backend, 'preview_batch').length > 0, 'the plan')
  expect((asked(backend, 'preview_batch')[0]!.params as { filter: unknown }).filter).toMatchObject(wanted)
})

test('a list that its filters leave empty says so, and not that nothing waits', async () => {
  const backend = world()
  backend.on('list_sagas', () => sagaList('none'))
  open('/sagas?kind=cancellation', backend)
  await says('Nothing fits these filters.')
  expect(document.body.innerText).not.toContain('Nobody has to decide anything')
})

test('the list goes into a file, page after page', async () => {
  const backend = open('/sagas')
  await until(() => all('saga-row').length === 3, 'rows')
  click(find('saga-csv')!)
  await says('2 sagas are in the file.')
  expect(asked(backend, 'export_sagas').map((call) => (call.params as { after: string | null }).after)).toEqual([null, 'more'])
})

test('what Stripe has and the ledger does not know is a case, which a person closes with what it was', async () => {
  const backend = world()
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), orphans: [orphan] }))
  open('/sagas', backend)
  await seen('orphan')
  expect(find('orphan')!.textContent).toContain('no call of ours made it')
  expect(find('orphan')!.textContent).toContain('€30.00')
  await accessible()
  click(find('orphan-close')!)
  await seen('orphan-dialog')
  expect(find('orphan-go')!.getAttribute('aria-disabled')).toBe('true')
  type('orphan-reason', 'Given back by Ana on Stripe’s page')
  expect(find('orphan-go')!.getAttribute('aria-disabled')).toBe('true')
  type('orphan-evidence', 're_3QK8vR2eZvKYlo2C0Kd')
  await until(() => find('orphan-go')!.getAttribute('aria-disabled') !== 'true', 'on')
  click(find('orphan-go')!)
  await until(() => asked(backend, 'close_orphan').length === 1, 'closed')
  expect(asked(backend, 'close_orphan')[0]!.params).toMatchObject({ evidence: 're_3QK8vR2eZvKYlo2C0Kd' })
  click(find('ask-sweep')!)
  await says('A worker looks along Stripe’s lists.')
})

test('a case of two sums shows both, and offers neither to take it into the books nor to give it back', async () => {
  const backend = world()
  const eur = (amount_minor: number) => ({ amount_minor, currency: 'EUR' })
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), orphans: [{ ...orphan, why: 'differs', what: 'intent', object: 'pi_3QK8', amount: eur(8000), booked: eur(7000) }] }))
  open('/sagas', backend)
  await seen('orphan')
  expect(find('orphan')!.textContent).toContain('Stripe and the books have it with different sums')
  expect(find('orphan-sums')!.textContent).toBe('€80.00 at Stripe, €70.00 in the books')
  expect(find('orphan-todo')!.textContent).toContain('Look at Stripe which sum is true.')
  expect(find('orphan-adopt') ?? find('orphan-give-back')).toBeNull()
  expect(find('orphan-close')).not.toBeNull()
  await accessible()
})

test('a case can be opened at Stripe, and looked at again by a worker that holds the key', async () => {
  const backend = world()
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), orphans: [orphan] }))
  open('/sagas', backend)
  await seen('orphan')
  expect(find('orphan-todo')!.textContent).toContain('take it into the books')
  click(find('orphan-open')!)
  expect(backend.links).toEqual([`https://dashboard.stripe.com/test/search?query=${orphan.object}`])
  click(find('orphan-check')!)
  await until(() => asked(backend, 'check_orphan').length === 1, 'asked')
  // It holds nothing any more: the case is gone with the answer.
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), orphans: [] }))
  await until(() => find('orphan') === null, 'closed by itself')
})

test('the events of a saga’s booking, what each changed, and everything as a file has it', async () => {
  const backend = open(`/sagas/${one}`)
  await seen('why')
  click(find('saga-tab-events')!)
  await seen('saga-events')
  expect(all('saga-event').length).toBeGreaterThan(2)
  expect(all('saga-event')[0]!.getAttribute('href')).toMatch(/^#\/events\/\d+$/)
  await accessible()
  click(find('saga-tab-diff')!)
  await seen('state-diff')
  await says('This event changed no fact')
  click(all('diff-version')[2]!)
  await seen('diff-facts')
  expect(find('diff-facts')!.textContent).toMatch(/Captured\s*−\s*€0\.00\s*\+\s*€120\.00/)
  await accessible()
  click(find('saga-tab-raw')!)
  await says('bizing-desk saga case')
  expect(document.body.innerText).not.toContain('stella@mavros.example"')
  await accessible()
  press('g')
  press('s')
  expect(backend.links).toEqual(['https://dashboard.stripe.com/test/payments/pi_3QK8vR2eZvKYlo2C1d2Lw'])
})

test('many end each with evidence of its own, which may be pasted as lines', async () => {
  const backend = open('/sagas')
  await until(() => all('saga-row').length === 3, 'rows')
  press('j')
  press('x')
  press('j')
  press('x')
  click(find('decide-chosen')!)
  await seen('bulk-dialog')
  // What waits for a person cannot be paused.
  expect(find('bulk-pause')).toBeNull()
  click(find('bulk-resolve')!)
  await until(() => all('bulk-evidence').length === 2, 'a field for each')
  type('bulk-reason', 'Given back by hand at Stripe')
  type('bulk-typed', '2')
  await says('Evidence for 2 is missing.')
  await accessible()
  const lines = new DataTransfer()
  lines.setData('text', 're_first\nre_second\n')
  all('bulk-evidence')[0]!.dispatchEvent(new ClipboardEvent('paste', { clipboardData: lines, bubbles: true, cancelable: true }))
  await until(() => find('bulk-go')!.getAttribute('aria-disabled') !== 'true', 'on')
  click(find('bulk-go')!)
  await until(() => asked(backend, 'start_batch').length === 1, 'asked')
  const { action, members } = asked(backend, 'start_batch')[0]!.params as StartBatch
  expect([action, ...members.map((one) => one.evidence)]).toEqual(['resolve', 're_first', 're_second'])
})

test('many are given to a colleague by name, without a reason', async () => {
  const backend = open('/sagas?tab=running')
  await until(() => all('saga-row').length > 0, 'rows')
  press('j')
  press('x')
  click(find('decide-chosen')!)
  await seen('bulk-dialog')
  click(find('bulk-assign')!)
  ;(await seen('bulk-to')).focus()
  press('ArrowDown')
  const tomas = await until(() => [...document.querySelectorAll<HTMLElement>('[role="option"]')].find((one) => one.textContent!.includes('Tomás Vale')), 'Tomás')
  expect(document.body.innerText).not.toContain('Marta Reis')
  click(tomas)
  await until(() => find('bulk-to')!.textContent!.includes('Tomás'), 'chosen')
  await until(() => find('bulk-go')!.getAttribute('aria-disabled') !== 'true', `on: ${find('bulk-go')!.outerHTML} ${find('bulk-dialog')!.innerText}`)
  await accessible()
  click(find('bulk-go')!)
  await until(() => asked(backend, 'start_batch').length === 1, 'asked')
  expect(asked(backend, 'start_batch')[0]!.params).toMatchObject({ action: 'assign', to: 'tomas', reason: '' })
})

test('colleagues stand by name, with their login beside it', async () => {
  const backend = world()
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), rows: sagaRows.map((row, i) => (i === 0 ? { ...row, assigned_to: 'ana' } : row)) }))
  backend.on('get_saga', () => {
    const page = sagaPage()
    return { ...page, row: { ...page.row, assigned_to: 'ana' }, commands: page.commands.map((c) => ({ ...c, by: 'tomas' })) }
  })
  open('/sagas', backend)
  await until(() => all('assigned')[0]?.textContent === 'Ana Beltrão', 'her name')
  expect(all('assigned')[0]!.title).toBe('ana')
  press('j')
  press('Enter')
  click(all('saga-row')[0]!)
  await seen('why')
  expect(find('assigned')!.textContent).toBe('Looked after by Ana Beltrão')
  click(find('saga-tab-commands')!)
  await until(() => find('audit-by')?.textContent === 'Tomás Vale', 'by name')
  expect(find('audit-by')!.querySelector('span')!.title).toBe('tomas')
})

test('a refund of what a bank contests says so first, each dispute by name, and cannot be pressed', async () => {
  const backend = world()
  const line = { step: null, op: 'disputed', count: null, percent: null, from: null, to: null, at: null, since: null }
  backend.on('preview_saga', () => ({
    ...compensation,
    code: 'disputed',
    refused: 'The customer’s bank contests the payment: a refund beside that would pay twice.',
    operations: [...compensation.operations, { ...line, amount: { amount_minor: 9500, currency: 'EUR' }, object: 'dp_one' }, { ...line, amount: { amount_minor: 2000, currency: 'EUR' }, object: 'dp_two' }],
  }))
  open(`/sagas/${one}`, backend)
  await seen('why')
  press('c')
  const dialog = await seen('decide-dialog')
  await until(() => dialog.querySelectorAll('[data-testid="plan"] li').length === compensation.operations.length + 2, 'the plan')
  const lines = [...dialog.querySelectorAll('[data-testid="plan"] li')].map((li) => li.textContent!)
  expect(lines[0]).toContain('The customer’s bank contests €95.00')
  expect(lines[0]).toContain('dp_one')
  expect(lines[1]).toContain('€20.00')
  type('decide-reason', 'She asked for it on the phone')
  await says('would pay twice')
  await accessible()
})

test('a hold that is over is had again from now on, and who has the slot is named where it is gone', async () => {
  const backend = world()
  backend.on('get_saga', () => {
    const page = sagaPage()
    return { ...page, offers: page.offers.map((o) => ({ ...o, refused: null, code: null })) }
  })
  const hold = { step: 'hold', amount: null, count: null, percent: null, from: null, to: null, object: null, at: null, since: moment('2026-11-24T10:10:00Z') }
  const plan = { ...compensation, refund: null, refused: null, code: null }
  const until20 = (minutes: number | null | undefined) => (minutes === 20 ? moment('2026-11-24T11:20:00Z') : minutes ? moment('2026-11-24T12:00:00Z') : null)
  backend.on('preview_saga', ({ params }) => ({ ...plan, operations: [{ ...hold, op: 'hold_again', at: until20(params.minutes) }] }))
  open(`/sagas/${one}`, backend)
  const asks = async () => {
    await seen('why')
    find('more')!.focus()
    press('Enter')
    await seen('more-extend_hold')
    find('more-extend_hold')!.focus()
    click(find('more-extend_hold')!)
    return seen('decide-dialog')
  }
  const dialog = await asks()
  await until(() => dialog.textContent.includes('held again until Tue 24 Nov 12:00'), 'an hour, as it stands there')
  expect(dialog.textContent).toContain('Free since Tue 24 Nov 10:10')
  expect(dialog.textContent).toContain('Hold the slot again?')
  type('decide-minutes', '20')
  await until(() => dialog.textContent.includes('held again until Tue 24 Nov 11:20'), 'as long as is entered')
  type('decide-reason', 'She calls from the bus and pays now')
  await accessible()
  // Somebody was faster.
  backend.fail('command_saga', appError('booking.refused', 'The hold was over, and another booking has the slot: it cannot be held again.'))
  backend.on('preview_saga', () => ({ ...plan, refused: 'Another booking has it.', code: 'slot_taken', operations: [{ ...hold, op: 'slot_taken', object: 'BK-7Q2M4X', since: null }] }))
  click(find('decide-go')!)
  await until(() => dialog.textContent.includes('BK-7Q2M4X has the slot now'), 'who has it')
  expect(find('decide-error')!.textContent).toContain('another booking has the slot')
  expect(find('decide-go')!.getAttribute('aria-disabled')).toBe('true')
  expect(asked(backend, 'command_saga')[0]!.params).toMatchObject({ action: 'extend_hold', params: { minutes: 20 } })
})

test('money that Stripe has and the ledger does not know is taken into the books, or given back, with a reason', async () => {
  const backend = world()
  const twice = { ...orphan, case_id: one, what: 'intent', object: 'pi_twice', adopt_refused: 'The booking has a payment of its own: the customer paid twice. Give this one back.' }
  let left = [orphan, twice]
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), orphans: left }))
  backend.on('get_ask', ({ ask_id }) => ((left = [twice]), { ...differing, ask_id, answer: null }))
  open('/sagas', backend)
  await until(() => all('orphan').length === 2, 'two cases')
  await accessible()
  // A refund has gone back already; what the customer paid twice is no second payment of the booking.
  expect(all('orphan-give-back')).toHaveLength(1)
  expect(all('orphan-adopt')[1]!.getAttribute('aria-disabled')).toBe('true')
  click(all('orphan-adopt')[0]!)
  await seen('orphan-decide')
  await says('counts as given back for ' + orphan.reference)
  expect(find('orphan-decide-go')!.getAttribute('aria-disabled')).toBe('true')
  await accessible()
  type('orphan-why', 'Ana gave it back on Stripe’s page')
  await until(() => find('orphan-decide-go')!.getAttribute('aria-disabled') !== 'true', 'on')
  click(find('orphan-decide-go')!)
  await says('It is in the books now.')
  expect(asked(backend, 'decide_orphan')[0]!.params).toMatchObject({ case_id: orphan.case_id, deed: 'adopt', reason: 'Ana gave it back on Stripe’s page' })
  await until(() => all('orphan').length === 1, 'the case is gone')
  click(find('orphan-give-back')!)
  await seen('orphan-decide')
  type('orphan-why', 'She paid twice and asked for it')
  await until(() => find('orphan-decide-go')!.getAttribute('aria-disabled') !== 'true', 'on')
  click(find('orphan-decide-go')!)
  await says('Stripe has the refund.')
  expect(asked(backend, 'decide_orphan')[1]!.params).toMatchObject({ case_id: one, deed: 'give_back' })
})

test('an undoing that waits goes on from the step that is chosen, and what is not undone is passed over by nobody', async () => {
  const plain = { amount: null, count: null, percent: null, from: null, to: null, object: null, at: null, since: null }
  const plans: Record<string, SagaPlan> = {
    capture: { ...compensation, step: 'capture', choices: ['capture', 'payment', 'hold'] },
    hold: {
      ...compensation,
      hash: 'c3d4',
      step: 'hold',
      choices: ['capture', 'payment', 'hold'],
      code: 'undo_open',
      refused: 'A step that would be passed over is not taken back yet. Begin there, or settle its call first.',
      refund: null,
      operations: [
        { ...plain, step: 'capture', op: 'undo_open' },
        { ...plain, step: 'payment', op: 'passed' },
        { ...plain, step: 'hold', op: 'release', count: 2 },
      ],
    },
  }
  const backend = open(`/sagas/${one}`)
  backend.on('preview_saga', ({ params }) => plans[params.step ?? 'capture']!)
  await seen('more')
  find('more')!.focus()
  press('Enter')
  await seen('more-undo_from')
  click(find('more-undo_from')!)
  await until(() => find('decide-dialog')?.querySelector('[data-testid="plan"]'), 'its plan')
  expect((find('from-capture') as HTMLInputElement).checked).toBe(true)
  click(find('from-hold')!)
  await seen('decide-refused')
  await accessible()
  expect(find('decide-dialog')!.querySelector('[data-testid="plan"]')!.textContent).toContain('not done yet')
  type('decide-reason', 'the slot is wanted by somebody else')
  expect(find('decide-go')!.getAttribute('aria-disabled')).toBe('true')
  click(find('from-capture')!)
  await until(() => find('decide-go')!.getAttribute('aria-disabled') !== 'true', 'it can be pressed')
  click(find('decide-go')!)
  await until(() => asked(backend, 'command_saga').length === 1, 'asked')
  expect(asked(backend, 'command_saga')[0]!.params).toMatchObject({ action: 'undo_from', plan_hash: 'a1b2', params: { step: 'capture' } })
})
