//! Two people, and words as long as they may be.

import { expect, test } from 'vitest'
import { asking, batch, compensation, differing, orphan, sagaList, sagaRows } from '../src/backend/sagas'
import { world } from '../src/backend/world'
import { accessible, click, find, open, press, says, seen, type, until } from './desk'

const asked = (backend: ReturnType<typeof world>, name: string) => backend.calls.filter((call) => call.name === name)
const lost = { ...orphan, what: 'intent', object: 'pi_3QK8vR2eZvKYlo2C0Kd', give_back_waits: true }

test('giving back as much as needs a second person asks for one, and says so before', async () => {
  const backend = world()
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), orphans: [{ ...lost, refunded: { amount_minor: 1000, currency: 'EUR' } }] }))
  backend.on('decide_orphan', ({ ask_id }) => ({ ...differing, ask_id, state: 'awaiting_approval', answered_at: null, answer: null }))
  open('/sagas', backend)
  click(await seen('orphan-give-back'))
  await seen('orphan-decide')
  // What went back already does not go again.
  expect(find('orphan-decide-go')!.textContent).toContain('Ask a second person for €20.00')
  expect(find('orphan-decide')!.textContent).toContain('nobody approves what they asked for')
  type('orphan-why', 'He paid by link and at the desk')
  await until(() => find('orphan-decide-go')!.getAttribute('aria-disabled') !== 'true', 'on')
  await accessible()
  click(find('orphan-decide-go')!)
  await says('A second person decides.')
  expect(asked(backend, 'decide_orphan')[0]!.params).toMatchObject({ deed: 'give_back', case_id: lost.case_id })
  // No answer of a worker is waited for.
  expect(asked(backend, 'get_ask')).toHaveLength(0)
})

test('whoever says yes to that sees what it is about at Stripe, and that the books stay', async () => {
  const backend = world()
  const request = { ...asking, saga_id: null, reference: null, action: 'give_back', object: lost.object }
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), approvals: [request] }))
  const back = { ...compensation.operations[0]!, op: 'refund', object: lost.object }
  backend.on('get_approval', () => ({ command: request, plan: { ...compensation, operations: [back, { ...back, op: 'books_stay', amount: null }] }, changed: false }))
  open('/sagas', backend)
  click(await seen('approval-look'))
  await seen('approve-dialog')
  expect(find('approve-object')!.textContent).toContain(lost.object)
  await until(() => find('approve-dialog')!.textContent!.includes('The books stay as they are'), 'its plan')
  await accessible()
})

test('a reason takes as much as the database does, and says how much that is when it comes close', async () => {
  open(`/sagas/${sagaRows[0]!.saga_id}`)
  await seen('why')
  press('c')
  await seen('decide-dialog')
  const field = find('decide-reason') as HTMLTextAreaElement
  expect(field.maxLength).toBe(1000)
  type('decide-reason', 'She called, and cannot come')
  await until(() => find('decide-dialog')!.textContent!.includes('27 characters'), 'counted')
  type('decide-reason', 'x'.repeat(950))
  await until(() => find('decide-dialog')!.textContent!.includes('950 of 1,000 characters'), 'how much fits')
})

test('the figures say how sagas went, for as long as the address says, and lead to what failed', async () => {
  const backend = open('/sagas?figures=7')
  await seen('figures-dialog')
  await until(() => asked(backend, 'saga_figures').length > 0, 'asked')
  expect(asked(backend, 'saga_figures')[0]!.params).toEqual({ days: 7 })
  await until(() => find('figures-head') !== null, 'told')
  expect(find('figures-head')!.textContent).toContain('95.7 %')
  expect(find('figures-head')!.textContent).toContain('€2,940.00')
  expect(find('figures-kinds')!.textContent).toContain('Booking with a payment')
  expect(find('figures-acts')!.textContent).toContain('4 yes, 1 no')
  await accessible()
  click(find('figures-30')!)
  await until(() => location.hash.includes('figures=30'), 'in the address')
  click(find('figures-failures')!.querySelector('button')!)
  await until(() => location.hash.includes('group=notify') && !location.hash.includes('figures'), 'the group of that cause')
})

test('a decision for many can be looked at a second time, with what was seen the first', async () => {
  const backend = world()
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), batches: [batch] }))
  open('/sagas', backend)
  click(await seen('batch-look'))
  await seen('batch-items')
  click(find('batch-dialog-keep')!)
  await until(() => find('batch-dialog') === null, 'closed')
  click(find('batch-look')!)
  await seen('batch-items')
})

test('from the list: correct what was asked for, pause, and let go on', async () => {
  const backend = world()
  const [first, second] = [sagaRows[0]!, sagaRows[1]!]
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), rows: [first, { ...second, booking: { ...second.booking, saga_state: 'paused' } }] }))
  open('/sagas', backend)
  await seen('saga-row')
  press('j')
  press('e')
  await seen('decide-email')
  click(find('decide-dialog-keep')!)
  await until(() => find('decide-dialog') === null, 'closed')
  await until(() => (document.activeElement as HTMLElement).dataset.saga === first.saga_id, 'the focus is where it was')
  press('p')
  await seen('decide-dialog')
  await until(() => asked(backend, 'preview_saga').some((call) => (call.params as { action: string }).action === 'pause'), 'what a pause would do')
  click(find('decide-dialog-keep')!)
  await until(() => find('decide-dialog') === null, 'closed')
  press('j')
  press('p')
  await until(() => asked(backend, 'command_saga').length === 1, 'asked')
  expect(asked(backend, 'command_saga')[0]!.params).toMatchObject({ saga_id: second.saga_id, action: 'resume' })
})
