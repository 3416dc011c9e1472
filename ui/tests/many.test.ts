//! One decision for many: which set, who says yes, how it ends; and what a try shows of its request.

import { expect, test } from 'vitest'
import { batch, sagaList, sagaPage, sagaRows } from '../src/backend/sagas'
import { eur } from '../src/backend/fixtures'
import { world } from '../src/backend/world'
import { accessible, all, click, find, open, press, seen, type, until } from './desk'

const asked = (backend: ReturnType<typeof world>, name: string) => backend.calls.filter((call) => call.name === name)

test('all that a filter shows is decided as one frozen set, whatever else is decided about it', async () => {
  const backend = open('/sagas?who=nobody')
  await until(() => all('saga-row').length === 3, 'rows')
  click(find('decide-filter')!)
  await seen('bulk-sums')
  click(find('bulk-skip')!)
  await until(() => asked(backend, 'preview_batch').length === 2, 'looked at again')
  const [first, second] = asked(backend, 'preview_batch').map((call) => call.params)
  expect(first).toMatchObject({ saga_ids: [], filter: { tab: 'needs_person', who: 'nobody' } })
  expect(second).toMatchObject({ action: 'skip', filter: null, saga_ids: sagaRows.map((row) => row.saga_id) })
})

test('with Shift everything from one to another is chosen', async () => {
  open('/sagas')
  await until(() => all('saga-row').length === 3, 'rows')
  click(all('choose')[0]!)
  all('choose')[2]!.dispatchEvent(new MouseEvent('click', { shiftKey: true, bubbles: true, cancelable: true }))
  await until(() => find('bulk-bar')!.textContent!.includes('3 selected'), 'three')
})

test('a second person sees what was asked for many as it is now, and a no carries its reason', async () => {
  const backend = world()
  const waits = { ...batch, approval: 'pending', own: false, by: 'tomas', left: 2, applied: 0 }
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), batches: [waits] }))
  open('/sagas', backend)
  click(await seen('batch-approve'))
  await seen('approve-many-sums')
  expect(find('approve-many-sums')!.textContent).toMatch(/1 of 2.*€180\.00 of €275\.00/s)
  expect(find('approve-many-changed')!.textContent).toContain('It is being taken back already.')
  expect(asked(backend, 'change_batch')).toHaveLength(0)
  await accessible()
  expect(find('approve-many-no')!.getAttribute('aria-disabled')).toBe('true')
  type('approve-many-reason', 'The bank settles these by itself')
  click(find('approve-many-no')!)
  await until(() => asked(backend, 'change_batch').length === 1, 'told')
  expect(asked(backend, 'change_batch')[0]!.params).toMatchObject({ change: 'reject', reason: 'The bank settles these by itself' })
})

test('whoever asked reads why not, and a decision that stopped by itself says so and can be left', async () => {
  const backend = world()
  const no = { ...batch, approval: 'rejected', state: 'rejected', approved_by: 'tomas', refusal: 'The bank settles these' }
  const stopped = { ...batch, batch_id: sagaRows[0]!.saga_id, state: 'stopped', count: 8, applied: 3, parked: 3, left: 5, refunds: [eur(95)] }
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), batches: [no, stopped] }))
  open('/sagas', backend)
  await seen('batch')
  expect(find('batch-refusal')!.textContent).toContain('“The bank settles these”')
  expect(all('batch-tally').at(-1)!.textContent).toMatch(/3 wait for a person again.*stopped, as it went wrong/)
  await accessible()
  click(find('batch-end')!)
  await until(() => asked(backend, 'change_batch').length === 1, 'asked')
  expect(asked(backend, 'change_batch')[0]!.params).toMatchObject({ change: 'end' })
})

test('nothing is left to stop once all are through', async () => {
  const backend = world()
  backend.on('list_sagas', ({ tab }) => ({ ...sagaList(tab), batches: [{ ...batch, applied: 2, left: 0 }] }))
  open('/sagas', backend)
  await seen('batch')
  expect(find('batch-stop')).toBeNull()
})

test('a try shows its request as it went out, and the audit why something was refused', async () => {
  const backend = world()
  const page = sagaPage()
  const no = { ...page.commands[0]!, status: 'rejected', approved_by: 'tomas', refusal: 'She may still come' }
  backend.on('get_saga', () => ({ ...page, commands: [no] }))
  open(`/sagas/${sagaRows[0]!.saga_id}`, backend)
  await seen('attempts')
  click(all('attempt').find((one) => one.closest('tr')!.textContent!.includes('412') && one.closest('tr')!.textContent!.includes('ayment')) ?? all('attempt').at(-3)!)
  await seen('try')
  expect(find('try-request')!.textContent).toContain('POST /v1/payment_intents')
  expect(find('try-request')!.textContent).toContain('amount=9500')
  click(find('saga-tab-commands')!)
  await seen('refusal')
  expect(find('refusal')!.textContent).toContain('“She may still come”')
  press('Escape')
})
