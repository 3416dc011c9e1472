//! What is off says why: every button, item and choice of the console that cannot be pressed, on every page and dialog.

import { expect, test } from 'vitest'
import { asking, batch, orphan, sagaList, sagaPage, sagaRows } from '../src/backend/sagas'
import type { ScriptedBackend } from '../src/backend/testing'
import { world } from '../src/backend/world'
import { all, click, find, open, press, seen, until } from './desk'

const one = sagaRows[0]!.saga_id
const OFF = ':is(button, a, input, select, textarea, [role]):is([disabled], [aria-disabled="true"], [data-disabled])'

/** Those that are off and keep the reason to themselves. `least`: so many have to be off, or nothing is shown by this. */
function silent(where: string, least: number): void {
  const off = [...document.querySelectorAll<HTMLElement>(OFF)].filter((e) => e.offsetParent !== null || e.closest('[role="dialog"], [role="menu"]'))
  const mute = off.filter((element) => {
    // What has the attribute cannot be reached by a keyboard, so nobody hears a reason.
    const unreachable = element.hasAttribute('disabled')
    const described = (element.getAttribute('aria-describedby') ?? '').split(/\s+/).map((id) => (id ? document.getElementById(id)?.textContent?.trim() : ''))
    const inside = element.querySelector('small')?.textContent?.trim()
    return unreachable || !(inside || described.some((text) => text && text.length > 3))
  })
  expect(mute.map((e) => `${where}: ${e.dataset.testid ?? e.outerHTML.slice(0, 120)}`)).toEqual([])
  expect(off.length, `${where}: ${off.length} are off`).toBeGreaterThanOrEqual(least)
}

/** Nothing can be done here, each for its own reason. */
function refusing(): ScriptedBackend {
  const backend = world()
  backend.on('list_sagas', ({ tab }) => ({
    ...sagaList(tab),
    approvals: [{ ...asking, own: true }],
    batches: [
      { ...batch, approval: 'pending', own: true },
      { ...batch, batch_id: one, state: 'stopped', own: true },
    ],
    orphans: [{ ...orphan, check_refused: 'No worker with Stripe’s key is running.' }],
    sweep: { running: true, ended_at: null, looked: 12, problem: null },
  }))
  backend.on('get_saga', () => {
    const page = sagaPage()
    return { ...page, ask_refused: 'Nothing of this booking is at Stripe.', effects: [], paused: { by: 'ana', at: page.row.since, reason: 'while she is called' }, offers: page.offers.map((o) => ({ ...o, code: 'other', refused: `Not now: ${o.action}.` })) }
  })
  return backend
}

test('of the list, its requests, its decisions for many and its cases', async () => {
  open('/sagas', refusing())
  await until(() => all('saga-row').length === 3, 'rows')
  await seen('orphan')
  // A request for many is decided in its dialog, after a look.
  silent('list', 2)
  click(find('approval-look')!)
  await seen('approve-dialog')
  await until(() => find('approve-dialog')!.querySelector('[data-testid="plan"]'), 'its plan')
  silent('approval', 2)
  click(find('approve-dialog-keep')!)
  await until(() => find('approve-dialog') === null, 'closed')
  click(find('orphan-close')!)
  await seen('orphan-dialog')
  silent('case', 1)
  click(find('orphan-dialog-keep')!)
  await until(() => find('orphan-dialog') === null, 'closed')
  press('j')
  press('x')
  click(find('decide-chosen')!)
  await seen('bulk-sums')
  silent('many', 1)
})

test('of a list in which nothing is', async () => {
  const backend = world()
  backend.on('list_sagas', () => ({ ...sagaList('none'), groups: [] }))
  open('/sagas?tab=done', backend)
  await seen('empty')
  silent('empty list', 1)
})

test('of a saga’s page and of everything that it offers', async () => {
  open(`/sagas/${one}`, refusing())
  await seen('why')
  silent('page', 5)
  find('more')!.focus()
  press('Enter')
  await seen('more-resolve')
  silent('more', 10)
})

for (const action of ['compensate', 'correct', 'pause', 'skip', 'resolve', 'resolve_step', 'reopen', 'extend_hold', 'note', 'release_lease', 'migrate']) {
  test(`of the dialog: ${action}`, async () => {
    const backend = world()
    backend.on('get_saga', () => {
      const page = sagaPage()
      return { ...page, offers: page.offers.map((o) => ({ ...o, refused: null, code: null })) }
    })
    open(`/sagas/${one}`, backend)
    await seen('why')
    if (action === 'compensate') press('c')
    else {
      find('more')!.focus()
      press('Enter')
      await seen(`more-${action}`)
      find(`more-${action}`)!.focus()
      click(find(`more-${action}`)!)
    }
    await seen('decide-dialog')
    await until(() => find('decide-go')!.getAttribute('aria-disabled') === 'true', 'nothing typed yet')
    silent(action, 1)
  })
}
