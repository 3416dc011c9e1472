import { expect, test } from 'vitest'
import { projectionChanges, projections, rebuild } from '../src/backend/admin'
import { appError } from '../src/backend/testing'
import type { StartReplay } from '../src/backend/types'
import { world } from '../src/backend/world'
import { accessible, all, click, find, open, press, says, seen, type, until } from './desk'

const asked = (backend: ReturnType<typeof world>, name: string) => backend.calls.filter((call) => call.name === name)

test('every projection has a row, and the sentence above counts them', async () => {
  open('/projections')
  await until(() => all('projection-row').length === 7, 'seven rows')
  expect(find('projections-say')!.textContent).toMatch(/4 of 7 are up to date\.\s+1 is parked at an event that cannot be read\./)
  expect(find('projections-say')!.textContent).toContain('payments_ledger is being rebuilt: 63 %, 2 min 10 s left.')
  expect(find('percent')!.textContent).toBe('63 %')
  await accessible()
})

test('a dry run is what one gets by giving a reason and pressing on', async () => {
  const backend = open('/projections/report_days')
  await until(() => all('projection-row').length === 7, 'rows')
  press('r')
  await seen('replay-dialog')
  expect(find('replay-dialog')!.textContent).toContain('It stopped at')
  await until(() => find('from-start')!.textContent!.includes('4.1\u00a0M events, 6 min'), 'what it would cost')
  expect(find('replay-go')!.getAttribute('aria-disabled')).toBe('true')
  await accessible()
  type('replay-reason', 'too short')
  press('Enter', { ctrlKey: true })
  expect(asked(backend, 'start_replay')).toHaveLength(0)
  type('replay-reason', 'Does v6 read the three-decimal payment?')
  press('Enter', { ctrlKey: true })
  await until(() => find('replay-dialog') === null, 'the dialog closes')
  const params = asked(backend, 'start_replay')[0]!.params as StartReplay
  expect(params).toMatchObject({ projection: 'report_days', from: { from: 'start' }, mode: 'dry_run', speed: 'gentle' })
  expect(params.command_id).toMatch(/^[0-9a-f-]{36}$/)
})

test('a replay from a time says which event that is; from nowhere it cannot start', async () => {
  const backend = open('/projections/schedule')
  await until(() => all('projection-row').length === 7, 'rows')
  click(find('replay')!)
  await seen('replay-dialog')
  type('replay-reason', 'November looked too low')
  click(find('from-position')!)
  type('replay-position', '')
  await until(() => find('replay-go')!.getAttribute('aria-disabled') === 'true', 'off without a position')
  click(find('from-time')!)
  type('replay-time', '2026-11-01 00:00')
  await says('#3\u00a0912\u00a0044')
  click(find('mode-rebuild')!)
  await until(() => find('replay-go')!.getAttribute('aria-disabled') !== 'true', 'on')
  await accessible()
  click(find('replay-go')!)
  await until(() => asked(backend, 'start_replay').length === 1, 'asked')
  expect(asked(backend, 'start_replay')[0]!.params).toMatchObject({ from: { from: 'time', wall: '2026-11-01T00:00' }, mode: 'rebuild' })
})

test('a refused replay keeps what was typed and says why', async () => {
  const backend = open('/projections')
  await until(() => all('projection-row').length === 7, 'rows')
  backend.fail('start_replay', appError('request.forbidden', 'Your login may not do that.', { hint: 'Ask an admin.' }))
  click(find('replay')!)
  await seen('replay-dialog')
  type('replay-reason', 'Looks wrong since Monday')
  click(find('replay-go')!)
  await seen('replay-error')
  expect((find('replay-reason') as HTMLTextAreaElement).value).toBe('Looks wrong since Monday')
})

test('a rebuild is paused, slowed and cancelled from its panel', async () => {
  const backend = open('/projections')
  await seen('rebuild')
  click(find('rebuild-pause')!)
  await until(() => asked(backend, 'pause_rebuild').length === 1, 'pause')
  click(find('speed-gentle')!)
  await until(() => asked(backend, 'set_rebuild_speed').length === 1, 'speed')
  backend.on('list_projections', () => projections([rebuild({ state: 'paused' })]))
  backend.hint('projections')
  await seen('rebuild-resume')
  click(find('rebuild-cancel')!)
  await seen('cancel-rebuild-dialog')
  await accessible()
  type('reason', 'Started the wrong one')
  click(find('reason-go')!)
  await until(() => asked(backend, 'cancel_rebuild').length === 1, 'cancel')
  expect(asked(backend, 'cancel_rebuild')[0]!.params).toMatchObject({ reason: 'Started the wrong one', rebuild_id: rebuild().rebuild_id })
})

test('a rebuild that is built asks, and says what differs before it swaps', async () => {
  const backend = world()
  const built = rebuild({ state: 'waits_for_swap', phase: 'swap', events_done: 4_118_246, left_seconds: null, rate_per_s: null, ends: null, compare: { rows: 44_190, complete: true, different: 12, only_live: 0, only_new: 3, live_hash: 'a', new_hash: 'b', same_position: true }, actions: ['swap_rebuild', 'cancel_rebuild'].map((name) => ({ name, refused: null })) })
  backend.on('list_projections', () => projections([built]))
  open('/projections', backend)
  click(await seen('swap'))
  await seen('swap-dialog')
  expect(find('swap-dialog')!.textContent).toContain('15 rows differ')
  await accessible()
  type('reason', 'Twelve VAT rows, as expected')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'swap_rebuild').length === 1, 'swapped')
})

test('differences are shown side by side, and each kind apart', async () => {
  open('/projections')
  await until(() => all('diff-row').length === 5, 'five cells')
  expect(find('compare')!.textContent).toContain('18000')
  click(find('diff-only_new')!)
  await until(() => all('diff-row').length === 3, 'only new')
  click(find('diff-only_live')!)
  await says('None of this kind.')
})

test('a parked event is tried again, opened, or skipped with a reason', async () => {
  const backend = open('/projections')
  await seen('parked')
  expect(find('parked-event')!.getAttribute('href')).toBe('#/events/4101378')
  click(find('parked-retry')!)
  await until(() => asked(backend, 'retry_parked').length === 1, 'tried again')
  click(find('parked-skip')!)
  await seen('skip-dialog')
  await accessible()
  type('reason', 'Booked twice by the import')
  click(find('reason-go')!)
  await until(() => asked(backend, 'skip_parked').length === 1, 'skipped')
  expect(asked(backend, 'skip_parked')[0]!.params).toMatchObject({ projection: 'report_days', position: 4_101_378 })
})

test('a skip is withdrawn with a reason, then a rebuild is offered, and what the rows lack is said until then', async () => {
  const backend = world()
  const row = projections().rows[0]!
  const skipped = { position: 4711, event_name: 'BookingConfirmed', reason: 'It was not readable', by: 'sofia', at: '2026-11-25T10:00:00Z' }
  const board = (more: object) => ({ ...projections([]), rows: [{ ...row, rebuild_id: null, actions: [{ name: 'start_replay', refused: null }, { name: 'withdraw_skip', refused: null }], ...more }] })
  let now = board({ skipped: [skipped] })
  backend.on('list_projections', () => now)
  open('/projections', backend)
  await seen('skipped')
  expect(find('skipped')!.textContent).toContain(`${row.name} skips BookingConfirmed. Sofia Marçal: It was not readable`)
  click(find('withdraw')!)
  await seen('withdraw-dialog')
  await accessible()
  expect(find('withdraw-dialog')!.textContent).toContain('The live rows still lack the event')
  now = board({ lacks: [4711] })
  type('reason', 'The code reads it by now')
  click(find('reason-go')!)
  await until(() => asked(backend, 'withdraw_skip').length === 1, 'withdrawn')
  expect(asked(backend, 'withdraw_skip')[0]!.params).toMatchObject({ projection: row.name, position: 4711, reason: 'The code reads it by now' })
  await seen('replay-dialog')
  expect(find('mode-rebuild')!.getAttribute('aria-checked')).toBe('true')
  await until(() => find('lacks') !== null, 'said')
  expect(find('lacks')!.textContent).toContain('lacks 1 event whose skip was withdrawn, until it is rebuilt')
  expect(find('lacks')!.querySelector('a')!.getAttribute('href')).toBe('#/events/4711')
  expect(find('skipped')).toBeNull()
})

test('rows of a newer build are left alone, and a rebuild is recommended of those that an older one passed events by', async () => {
  const backend = world()
  const row = projections().rows[0]!
  const actions = [{ name: 'start_replay', refused: null }]
  const newer = { ...row, name: 'schedule', actions, newer_types: ['BookingMoved v2'] }
  const older = { ...row, name: 'bookings', actions, folded_without: [{ event_name: 'BookingMoved', upto: 4711 }] }
  backend.on('list_projections', () => ({ ...projections([]), rows: [{ ...row, name: 'customers', actions }, older, newer] }))
  open('/projections', backend)
  await seen('newer-build')
  expect(all('newer-build').map((said) => said.textContent?.trim())).toEqual([expect.stringContaining('schedule: folded by a newer build; this one leaves it alone. It knows BookingMoved v2')])
  expect(all('folded-without').map((said) => said.textContent?.trim())).toEqual([expect.stringMatching(/bookings: rebuild recommended\.\s+An older build passed by BookingMoved up to #4\W?711\./)])
  click(find('builds-rebuild')!)
  await seen('replay-dialog')
  expect(find('mode-rebuild')!.getAttribute('aria-checked')).toBe('true')
})

test('projections that stand at one event are one card and one decision', async () => {
  const backend = world()
  const parked = projections().rows.find((row) => row.parked)!
  backend.on('list_projections', () => ({ ...projections([]), rows: [parked, { ...parked, name: 'schedule' }, { ...parked, name: 'ledger', parked: { ...parked.parked!, position: 5 } }] }))
  open('/projections', backend)
  await until(() => all('parked').length === 2, 'two causes')
  expect(all('parked')[0]!.textContent).toContain('report_days, schedule')
  click(all('parked-skip')[0]!)
  await seen('skip-dialog')
  expect(find('skip-dialog')!.textContent).toContain('in 2 projections?')
  type('reason', 'Booked twice by the import')
  click(find('reason-go')!)
  await until(() => asked(backend, 'skip_parked').length === 2, 'both skipped')
  const ids = asked(backend, 'skip_parked').map((call) => (call.params as { command_id: string }).command_id)
  expect(new Set(ids).size).toBe(2)
})

test('one can go back while the generation before is kept, and is told why where it is not', async () => {
  const backend = open('/projections/bookings')
  click(await seen('roll-back'))
  await seen('roll-back-dialog')
  await accessible()
  type('reason', 'The new list hides no-shows')
  click(find('reason-go')!)
  await until(() => asked(backend, 'roll_back_projection').length === 1, 'rolled back')
  await until(() => find('roll-back-dialog') === null, 'closed')
  const more = find('more-schedule')!
  more.focus()
  press('Enter')
  await until(() => find('menu-roll-back'), 'the menu')
  expect(find('menu-roll-back')!.textContent).toContain('There is no generation before this one.')
})

test('pausing needs no question and says what it means', async () => {
  const backend = open('/projections')
  await until(() => all('projection-row').length === 7, 'rows')
  click(find('pause-schedule')!)
  await says('schedule is paused. Its rows stay as they are.')
  expect(asked(backend, 'pause_projection')).toHaveLength(1)
  click(find('pause-timeline')!)
  await until(() => asked(backend, 'resume_projection').length === 1, 'resumed')
})

test('the history says who, why and what came of it, and its differences can be looked at', async () => {
  open('/projections')
  await until(() => all('history-row').length === 3, 'three runs')
  expect(find('history')!.textContent).toContain('“Shows who cancelled”')
  click(all('history-look')[0]!)
  await says('Nothing differs.')
})

test('who did what, and why, is told a page at a time', async () => {
  const backend = world()
  const row = projectionChanges[0]!
  backend.on('list_projection_changes', (p) =>
    p.after ? { rows: [{ ...row, command_id: 'b', what: 'roll_back', reason: 'The new rows were wrong' }], next: null } : { rows: projectionChanges, next: 'older' },
  )
  open('/projections', backend)
  await until(() => all('projection-change').length === 3, 'three acts')
  const said = find('projection-changes')!.textContent
  expect(said).toContain('Skipped an event #4\u00a0090\u00a0112')
  expect(said).toContain('“while the import runs”')
  await accessible()
  click(find('changes-older')!)
  await says('Went back to the rows of before')
  expect(find('changes-older')).toBe(null)
  click(find('changes-newest')!)
  await until(() => all('projection-change').length === 3, 'the newest again')
})

test('whoever keeps readers waiting is named', async () => {
  const backend = world()
  backend.on('list_projections', () => ({ ...projections([]), lag_reason: { pid: 4242, login: 'import', query: 'insert into booking.hold …', age_seconds: 612 } }))
  open('/projections', backend)
  await seen('lag-reason')
  expect(find('lag-reason')!.textContent).toContain('pid 4242, login import, open for 10 min')
  await accessible()
})

test('loading, empty and failed', async () => {
  const backend = world()
  backend.fail('list_projections', appError('internal', 'The projections could not be read.'))
  open('/projections', backend)
  await seen('error')
  await accessible()
  backend.on('list_projections', () => ({ ...projections([]), rows: [] }))
  click(find('error')!.querySelector('button')!)
  await seen('empty')
})

test('a viewer sees everything and is told why nothing can be pressed', async () => {
  const backend = world()
  backend.on('list_projections', () => ({ ...projections(), rows: projections().rows.map((row) => ({ ...row, actions: row.actions.map((a) => ({ ...a, refused: 'Only an admin may do this.' })) })) }))
  open('/projections', backend)
  await until(() => all('projection-row').length === 7, 'rows')
  const button = find('pause-schedule')!
  expect(button.getAttribute('aria-disabled')).toBe('true')
  expect(document.getElementById(button.getAttribute('aria-describedby')!)!.textContent).toBe('Only an admin may do this.')
})

function dryRun(same_position: boolean) {
  const backend = world()
  const compare = { ...rebuild().compare!, complete: true, same_position }
  backend.on('list_projections', () => projections([rebuild({ mode: 'dry_run', state: 'done', phase: 'compare', compare })]))
  open('/projections/payments_ledger', backend)
}

test('rows that stood still while they were compared are said to be behind', async () => {
  dryRun(false)
  await seen('compare-behind')
  expect(find('compare-behind')!.textContent).toContain('what they have not read yet counts as a difference here')
})

test('rows that were compared at one position are not said to be behind', async () => {
  dryRun(true)
  await seen('compare')
  expect(find('compare-behind')).toBeNull()
})

test('a dry run says that it is one, and never speaks of a swap', async () => {
  const backend = world()
  backend.on('list_projections', () => projections([rebuild({ mode: 'dry_run' })]))
  open('/projections/payments_ledger', backend)
  await says('v10, on trial beside the live v9')
  await says('Lists keep reading v9. Nothing is swapped.')
  expect(find('rebuild-cancel')!.textContent).toContain('Cancel dry run…')
  expect(document.body.textContent).not.toContain('until the swap')
  click(find('rebuild-cancel')!)
  await seen('cancel-rebuild-dialog')
  expect(find('cancel-rebuild-dialog')!.textContent).toContain('dry run')
  await accessible()
})
