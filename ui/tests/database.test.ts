import { expect, test } from 'vitest'
import { backups, proofs } from '../src/backend/admin'
import { appError } from '../src/backend/testing'
import { world } from '../src/backend/world'
import { accessible, all, click, find, open, says, seen, type, until } from './desk'

const asked = (backend: ReturnType<typeof world>, name: string) => backend.calls.filter((call) => call.name === name)

test('the page says how old the last good backup is, and which were proved', async () => {
  open('/settings/database')
  await until(() => all('backup-row').length === 5, 'five backups')
  expect(find('backup-sentence')!.textContent).toContain('The last good backup is')
  expect(all('backup-row').map((row) => row.dataset.proof)).toEqual(['restored', 'restored', 'restored', 'restored', 'not_proved'])
  await accessible()
})

test('a backup is made at once and its progress shown', async () => {
  const backend = open('/settings/database')
  await until(() => all('backup-row').length === 5, 'five backups')
  backend.on('list_backups', () => ({ ...backups, running: { work: 'back_up', backup_id: null, by: 'sofia', started_at: new Date().toISOString() } }))
  click(find('back-up-now')!)
  await seen('backup-running')
  expect(asked(backend, 'back_up_now')).toHaveLength(1)
  expect(find('back-up-now')!.getAttribute('aria-disabled')).toBe('true')
})

test('a restore shows what it would miss, and wants the word typed and a reason', async () => {
  const backend = open('/settings/database')
  await until(() => all('backup-row').length === 5, 'five backups')
  click(all('restore')[0]!)
  await seen('restore-dialog')
  await says('412 events are newer than this backup')
  await says('1 customer was erased since')
  await accessible()
  type('reason', 'Looking at the state before the import')
  expect(find('reason-go')!.getAttribute('aria-disabled')).toBe('true')
  type('typed', (find('restore-into') as HTMLInputElement).value)
  await until(() => find('reason-go')!.getAttribute('aria-disabled') !== 'true', 'on')
  click(find('reason-go')!)
  await until(() => asked(backend, 'restore_backup').length === 1, 'asked')
  expect(asked(backend, 'restore_backup')[0]!.params).toMatchObject({ target: { into: 'database', name: 'bizing_demo_20261124' }, typed: 'bizing_demo_20261124' })
})

test('a customer is erased only after saying what that means', async () => {
  const backend = open('/settings/database')
  await seen('erase')
  type('erase-search', 'Greta')
  click(await until(() => find('erase-ask'), 'somebody found'))
  await seen('erase-dialog')
  await says('The key of 2 events is destroyed')
  await accessible()
  type('reason', 'Asked for it by letter')
  click(find('reason-go')!)
  await until(() => asked(backend, 'erase_customer').length === 1, 'erased')
})

test('without a backup the page says so; without an answer it says why', async () => {
  const backend = world()
  backend.on('list_backups', () => ({ ...backups, rows: [], last_good: null }))
  open('/settings/database', backend)
  await says('There is no backup yet.')
  await accessible()
  backend.fail('list_backups', appError('internal', 'The folder of backups cannot be read.'))
  backend.hint('backups')
})

test('the palette leads to a replay, an event and a backup', async () => {
  const backend = open('/bookings')
  const { press } = await import('./desk')
  await seen('find')
  press('k', { ctrlKey: true })
  await seen('palette')
  const field = find('palette')!.querySelector('input')!
  await until(() => document.activeElement === field, 'the field has the focus')
  field.value = '#4118244'
  field.dispatchEvent(new InputEvent('input', { bubbles: true }))
  await says('Open event #4')
  press('Enter')
  await until(() => location.hash === '#/events/4118244', 'the event')
  press('k', { ctrlKey: true })
  const again = (await seen('palette')).querySelector('input')!
  await until(() => document.activeElement === again, 'the field has the focus')
  again.value = 'replay'
  again.dispatchEvent(new InputEvent('input', { bubbles: true }))
  await says('Replay a projection…')
  press('ArrowDown')
  press('Enter')
  await seen('replay-dialog')
  expect(backend.asked('start_replay')).toBe(0)
})

test('what was proved has its time, and what was found its meaning', async () => {
  const backend = world()
  open('/settings/database', backend)
  await says('Money: books, events and provider agree')
  expect((await seen('proof')).textContent).toContain('4,118,246, 11:30')
  expect(find('proof-findings')).toBeNull()
  const run = { ...proofs.last!, audits: [{ name: 'hold.overlap', found: 1 }, { name: 'stream.hash_chain', found: 0 }, { name: 'some.new', found: 2 }] }
  backend.on('list_proofs', () => ({ ...proofs, last: run }))
  backend.hint('proofs')
  await says('A slot is wrong')
  expect(find('proof-findings')!.textContent).toContain('Somebody or some room is promised twice')
  expect(find('proof-findings')!.textContent).toContain('some.new')
  await accessible()
})

test('a check is asked for once, and shows how far it is', async () => {
  const backend = open('/settings/database')
  await seen('check-now')
  await until(() => find('check-now')!.getAttribute('aria-disabled') !== 'true', 'it may be pressed')
  backend.on('list_proofs', () => ({ ...proofs, running: { run_id: 'r', started_at: new Date().toISOString(), streams: 40, of: 160 } }))
  click(find('check-now')!)
  expect((await seen('checking')).textContent).toContain('25 % of the log hashed')
  expect(asked(backend, 'examine')).toHaveLength(1)
  expect(find('check-now')!.getAttribute('aria-disabled')).toBe('true')
})

test('the room that the database takes is told by what takes it, and how long the disk lasts', async () => {
  open('/settings/database')
  const space = await seen('space')
  await until(() => space.textContent?.includes('Deliveries and tries'), 'the parts')
  expect(space.textContent).toContain('Events, ~4,118,246')
  expect(space.textContent).toContain('disk 118 GB of 250 GB, full in about 4 years')
  expect(space.querySelector('[role=img]')!.getAttribute('aria-label')).toContain('Events 2.9 GB')
})
