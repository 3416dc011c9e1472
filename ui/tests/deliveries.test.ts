import { expect, test } from 'vitest'
import { page } from 'vitest/browser'
import { allowList, deliveryDetail, deliveryRows, endpointOf, endpointRows, endpoints, listDeliveries, redelivery } from '../src/backend/deliveries'
import { appError } from '../src/backend/testing'
import type { ListDeliveries, PutEndpoint, StartRedelivery } from '../src/backend/types'
import { world } from '../src/backend/world'
import { setPrefs } from '../src/lib/prefs.svelte'
import { status } from '../src/backend/fixtures'
import { toldOnce } from '../src/views/shell/told'
import { memory, type SavedView } from '../src/views/deliveries/memory.svelte'
import { accessible, all, click, find, open, press, says, seen, type, until } from './desk'

const asked = (backend: ReturnType<typeof world>, name: string) => backend.calls.filter((call) => call.name === name)
const retrying = deliveryRows[2]!
const delivered = deliveryRows[1]!
const failing = endpointRows[0]!
const quiet = () => {
  const backend = world()
  backend.on('list_redeliveries', () => [])
  return backend
}

// ---- the log -------------------------------------------------------------------------------------------

test('the log says what is true in a sentence and shows each delivery with what comes next', async () => {
  open('/deliveries', quiet())
  await until(() => all('delivery-row').length > 15, 'rows')
  expect(find('deliveries-say')!.textContent!.trim()).toBe('1,204 delivered today, 6 retrying, 2 gave up, 1 unclear, 1 held.')
  expect(all('delivery-row')[2]!.textContent).toMatch(/11:41:55.*Retrying.*BookingConfirmed.*hooks\.ledgerly\.example.*3\/10.*503.*in 5 min/s)
  expect(find('failing-count')!.textContent).toContain('1')
  await accessible()
})

test('every clause of the log is within sight in a small window, in the language with the longer words', async () => {
  setPrefs({ language: 'de' })
  await page.viewport(960, 640)
  try {
    open('/deliveries', quiet())
    await until(() => all('delivery-row').length > 5, 'rows')
    const { left, right } = find('filter-search')!.getBoundingClientRect()
    const box = find('filter-search')!.closest('[role="search"]')!.getBoundingClientRect()
    expect([left >= box.left, right <= box.right]).toEqual([true, true])
  } finally {
    await page.viewport(1440, 900)
  }
})

test('how long the last try took stands in its row', async () => {
  open('/deliveries', quiet())
  await until(() => all('delivery-row').length > 15, 'rows')
  expect(all('delivery-row')[2]!.textContent).toMatch(/503.*2\.1 s.*in 5 min/s)
})

test('the log is asked for what failed in one way or another, as its address says', async () => {
  const backend = open('/deliveries?errors=tls,timeout', quiet())
  await until(() => find('filter-error')?.textContent?.includes('no secure connection'), 'the clause')
  await until(() => asked(backend, 'list_deliveries').some((call) => (call.params as ListDeliveries).filter.errors.length > 0), 'asked')
  const last = asked(backend, 'list_deliveries').findLast((call) => (call.params as ListDeliveries).filter.errors.length > 0)!
  expect((last.params as ListDeliveries).filter.errors).toEqual(['tls', 'timeout'])
  await accessible()
})

test('from the keyboard: down, down, the tries of it, redeliver, copy as cURL, to its booking', async () => {
  const backend = open('/deliveries', quiet())
  await until(() => all('delivery-row').length > 15, 'rows')
  press('j')
  press('j')
  press('j')
  await until(() => location.hash.includes(retrying.delivery_id), 'the third is chosen')
  await until(() => all('try').length === 3, 'its tries')
  expect(all('try').map((one) => one.textContent!.trim())[1]).toMatch(/Try 2, by Tomás Vale: “they say it is fixed”.*503/s)
  expect(find('waterfall')!.getAttribute('aria-label')).toContain('First byte 1,981 ms')
  await accessible()
  press('r')
  await until(() => asked(backend, 'redeliver').length === 1, 'asked to redeliver')
  expect(asked(backend, 'redeliver')[0]!.params).toEqual({ delivery_id: retrying.delivery_id, reason: '' })
  await says('Asked to send it now. Its answer shows as the next try.')
  press('g')
  press('b')
  await until(() => location.hash === `#/bookings/${retrying.reference}`, 'at the booking')
})

test('the keys of a view are not taken for the second of two', async () => {
  open('/deliveries', quiet())
  await until(() => all('delivery-row').length > 15, 'rows')
  press('g')
  press('j')
  await until(() => location.hash.includes(deliveryRows[0]!.delivery_id), 'J moved')
})

test('what arrived before is sent again only with a reason', async () => {
  const backend = open(`/deliveries/${delivered.delivery_id}`, quiet())
  await until(() => find('delivery-state')?.textContent?.includes('Delivered') && all('try').length === 1, 'the delivery')
  press('r')
  await seen('again-dialog')
  expect(find('again-dialog')!.textContent).toContain('a good receiver sees the double')
  expect(asked(backend, 'redeliver')).toHaveLength(0)
  await accessible()
  type('reason', 'They restored last night’s backup')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'redeliver').length === 1, 'asked')
  expect(asked(backend, 'redeliver')[0]!.params).toMatchObject({ reason: 'They restored last night’s backup' })
})

test('a receiver finds what is signed and how to check it in its own language', async () => {
  open(`/deliveries/${retrying.delivery_id}`, quiet())
  click(await seen('try-tab-signature'))
  expect(find('try-panel')!.textContent).toContain('msg_2pKx9TqvN1c7.1795520515.{"type":"BookingConfirmed"')
  expect(find('try-panel')!.textContent).toContain("import { Webhook } from 'standardwebhooks'")
  click(find('verify-python')!)
  expect(find('try-panel')!.textContent).toContain('from standardwebhooks import Webhook')
  click(find('verify-rust')!)
  expect(find('try-panel')!.textContent).toContain('cargo add standardwebhooks')
  await accessible()
  click(find('try-tab-answer')!)
  expect(find('try-panel')!.textContent).toContain('upstream is down for maintenance')
})

test('filters stand in the address and are what the desk is asked', async () => {
  const backend = open(`/deliveries?states=retrying,gave_up&to=${failing.destination_id}&payload=mode%20%3D%20link&since=today`, quiet())
  await until(() => asked(backend, 'list_deliveries').some((call) => (call.params as ListDeliveries).filter.states.length === 2), 'asked')
  const { filter } = asked(backend, 'list_deliveries').find((call) => (call.params as ListDeliveries).filter.states.length === 2)!.params as ListDeliveries
  expect(filter).toMatchObject({ states: ['retrying', 'gave_up'], destination_ids: [failing.destination_id], payload: { mode: 'link' } })
  expect(filter.since).toMatch(/T00:00:00\.000Z$/)
  expect(find('filter-state')!.textContent).toContain('Retrying or Gave up')
})

test('a payload clause that cannot be read is not sent, and says what would be right', async () => {
  const backend = open('/deliveries?payload=price%20%3E%205', quiet())
  await says('Only “=” can be asked of a log')
  expect(asked(backend, 'list_deliveries').every((call) => (call.params as ListDeliveries).filter.payload === null)).toBe(true)
})

test('a search in payloads says how far back it looked', async () => {
  const backend = quiet()
  backend.on('list_deliveries', (p) => ({ ...listDeliveries(p), looked_since: '2026-11-20T08:00:00Z' }))
  open('/deliveries?payload=mode%20%3D%20link', backend)
  await until(() => find('log-looked')?.textContent?.includes('A payload is looked for back to'), 'said')
})

test('an older try is shown as it was sent, with what was signed then', async () => {
  const backend = quiet()
  backend.on('get_delivery', ({ delivery_id }) => {
    const detail = deliveryDetail(delivery_id)!
    const tries = detail.tries.map((one, i) => (i === 0 ? { ...one, shape: 'slack' as const, url: 'https://hooks.slack.example/x' } : { ...one, request_headers: [['webhook-timestamp', '1795520000']] as [string, string][] }))
    return { ...detail, url: 'https://hooks.slack.example/x', body: '{"text":"a card"}', bodies: [...detail.bodies, { shape: 'slack' as const, body: '{"text":"a card"}' }], tries }
  })
  open(`/deliveries/${retrying.delivery_id}`, backend)
  await until(() => all('try').length === 3, 'its tries')
  await until(() => find('try-panel')?.textContent?.includes('a card'), 'the newest')
  click(all('try')[2]!)
  await until(() => find('try-otherwise') !== null, 'it was another then')
  expect(find('try-panel')!.textContent).toContain('/in/halcyon')
  expect(find('try-panel')!.textContent).toContain('BookingConfirmed')
  click(find('try-tab-signature')!)
  expect(find('try-panel')!.textContent).toContain('msg_2pKx9TqvN1c7.1795520000.{"type":"BookingConfirmed"')
})

test('a view is kept for the person who made it, on this computer', async () => {
  localStorage.removeItem('bizing-desk.deliveries')
  open('/deliveries?states=gave_up', quiet())
  click(await seen('views'))
  await seen('view-name')
  type('view-name', 'What gave up')
  click(find('view-save')!)
  await until(() => memory.views('sofia', 'log').length === 1, 'kept')
  expect(memory.views('sofia', 'log')[0]).toEqual({ name: 'What gave up', tab: 'log', query: 'states=gave_up' })
  expect(memory.views('tomas', 'log')).toEqual([])
  memory.forget('sofia', memory.views('sofia', 'log')[0]!)
})

test('new deliveries wait above the list while one is being read', async () => {
  const backend = quiet()
  open(`/deliveries/${retrying.delivery_id}`, backend)
  await until(() => all('delivery-row').length > 15, 'rows')
  const first = all('delivery-row')[0]!.dataset.id
  const fresh = { ...deliveryRows[1]!, delivery_id: '01937c50-1a2b-7000-8000-00000000ffff' }
  backend.on('list_deliveries', (p) => {
    const reply = listDeliveries(p)
    return p.after === null ? { ...reply, rows: [fresh, ...reply.rows] } : reply
  })
  backend.hint('deliveries')
  await until(() => find('fresh')?.textContent?.includes('1 new'), 'one new')
  expect(all('delivery-row')[0]!.dataset.id).toBe(first)
  click(find('fresh')!)
  await until(() => all('delivery-row')[0]!.dataset.id === fresh.delivery_id, 'taken in')
})

test('many: what it would do, who gets it twice, who stays out; then how far it is, and the stop', async () => {
  const backend = quiet()
  open('/deliveries?states=retrying', backend)
  await until(() => all('delivery-row').length > 0, 'rows')
  click(find('redeliver-many')!)
  await until(() => find('bulk-plan')?.textContent?.includes('Atelier CRM'), 'the plan')
  expect(find('bulk-deliveries')!.textContent).toContain('Redeliver 39 deliveries?')
  expect(find('bulk-twice')!.textContent).toContain('35 arrive twice.')
  expect(find('bulk-plan')!.textContent).toContain('6 stay out')
  expect(find('bulk-send')!.getAttribute('aria-disabled')).toBe('true')
  await accessible()
  click(find('pace-10')!)
  type('bulk-why', 'They lost a night of imports')
  let state = 'running'
  let done = 14
  backend.on('list_redeliveries', () => {
    const { bulk_id } = asked(backend, 'start_redelivery')[0]!.params as StartRedelivery
    return [redelivery({ bulk_id, state, done })]
  })
  backend.on('change_redelivery', () => {
    state = 'stopped'
    return redelivery({ state })
  })
  press('Enter', { ctrlKey: true })
  await seen('bulk-running')
  const sent = asked(backend, 'start_redelivery')[0]!.params as StartRedelivery
  expect(sent).toMatchObject({ action: 'redeliver', hash: 'c0ffee', per_second: 10, reason: 'They lost a night of imports' })
  expect(sent.filter.states).toEqual(['retrying'])
  await until(() => find('bulk-running')!.textContent!.includes('14 of 39'), 'how far')
  await accessible()
  done = 20
  click(find('bulk-stop')!)
  await until(() => find('bulk-running')!.textContent!.includes('Stopped, 19 left.'), 'stopped')
})

test('a set that changed meanwhile is refused, counted anew, and decided under another id', async () => {
  const backend = quiet()
  open('/deliveries?states=retrying', backend)
  await until(() => all('delivery-row').length > 0, 'rows')
  click(find('redeliver-many')!)
  await seen('bulk-plan')
  type('bulk-why', 'They lost a night of imports')
  backend.fail('start_redelivery', appError('stream.conflict', 'The set has changed since it was counted.', { hint: 'Look at it again.' }))
  press('Enter', { ctrlKey: true })
  await until(() => find('bulk-failed')?.textContent?.includes('The set has changed'), 'told')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'start_redelivery').length === 2, 'again')
  const ids = asked(backend, 'start_redelivery').map((call) => (call.params as StartRedelivery).bulk_id)
  expect(ids[0]).not.toBe(ids[1])
})

test('a delivery whose tries are no longer kept says so, instead of that there were none', async () => {
  const backend = world()
  const whole = deliveryDetail(deliveryRows.find((row) => row.state === 'delivered' && row.tries === 1)!.delivery_id)!
  backend.on('get_delivery', () => ({ ...whole, tries: [], tries_forgotten_before: '2026-08-26T10:00:00Z' }))
  open(`/deliveries/${whole.row.delivery_id}`, backend)
  await until(() => find('tries-forgotten'), 'what is not kept')
  expect(find('tries-forgotten')!.textContent).toContain('are no longer kept')
  expect(find('tries-forgotten')!.textContent).toContain('Wednesday 26 August')
  expect(find('delivery')!.textContent).not.toContain('None yet.')
  await accessible()
})

// ---- endpoints -----------------------------------------------------------------------------------------

test('endpoints: the worst first, with what each owes, and one that turns itself off soon is announced', async () => {
  const backend = open('/deliveries/endpoints')
  await until(() => all('endpoint-row').length === 8, 'eight rows')
  expect(find('deliveries-say')!.textContent!.trim()).toBe('4 of 8 endpoints work. 2 are paused because they fail. 1 is paused by hand. 1 is turned off. Nothing is lost: 15 wait.')
  expect(all('endpoint-row')[0]!.textContent).toMatch(/hooks\.ledgerly\.example.*It fails \(503\).*Paused.*4.*1 h 07 min/s)
  expect(find('off-soon')!.textContent).toContain('hooks.fleet-laundry.example is turned off on Thu 26 Nov, 07:00')
  await accessible()
  click(find('keep-on')!)
  await until(() => asked(backend, 'change_endpoint').length === 1, 'kept on')
  expect(asked(backend, 'change_endpoint')[0]!.params).toMatchObject({ action: 'keep_on', version: 3 })
})

test('how an endpoint did over time is drawn, said and written out as a table, by the hour or the day', async () => {
  const backend = open(`/deliveries/endpoints/${failing.destination_id}`)
  await until(() => find('history-sum'), 'the figures')
  expect(find('history-sum')!.textContent).toBe('66 delivered, 8 tries failed. Half of the tries took 50 ms at most, 19 of 20 over 5 s.')
  click(find('history-table')!)
  const rows = () => [...find('history-rows')!.querySelectorAll('tbody tr')].map((row) => [...row.querySelectorAll('td')].map((cell) => cell.textContent))
  expect(rows()).toHaveLength(24)
  expect(rows()[0]).toEqual(['0', '4', '50 ms', 'over 5 s'])
  expect(rows()[10]).toEqual(['0', '0', '–', '–'])
  await accessible()
  click(find('history-week')!)
  await until(() => rows().length === 7, 'by the day')
  expect(asked(backend, 'get_endpoint_history').map((call) => (call.params as { span: string }).span)).toEqual(['day', 'week'])
})

test('an endpoint says why it stopped and what happens next; pausing asks for a reason, trying does not', async () => {
  const backend = open(`/deliveries/endpoints/${failing.destination_id}`)
  await until(() => find('endpoint-story')?.textContent?.includes('It answered “503” 5 times in a row, so we stopped sending at 11:41:55.'), 'the story')
  await until(() => find('tried'), 'tried on the last 20')
  expect(find('endpoint')!.textContent).toContain('7 of the last 20')
  expect(find('endpoint')!.textContent).toContain('data.price.amount_minor >= 10000')
  await accessible()
  click(find('try-now')!)
  await until(() => asked(backend, 'change_endpoint').length === 1, 'tried')
  expect(asked(backend, 'change_endpoint')[0]!.params).toMatchObject({ action: 'try_now', reason: '' })
  press('p')
  await seen('endpoint-dialog')
  type('reason', 'They move to another host today')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'change_endpoint').length === 2, 'paused')
  expect(asked(backend, 'change_endpoint')[1]!.params).toMatchObject({ action: 'pause', reason: 'They move to another host today' })
})

test('a new endpoint: types by a star, a filter tried out, the address refused at its field, the secret shown once', async () => {
  const backend = open('/deliveries/endpoints')
  click(await seen('new-endpoint'))
  await seen('endpoint-drawer')
  expect(find('endpoint-save')!.getAttribute('aria-disabled')).toBe('true')
  // Pasted behind what stands there.
  type('endpoint-url', 'https://https://10.0.0.5/in')
  await until(() => (find('endpoint-url') as HTMLInputElement).value === 'https://10.0.0.5/in', 'one address')
  await seen('star-Payment*')
  click(find('star-Payment*')!)
  await until(() => find('types-today')!.textContent === '= 3 types today, later ones too', 'three types')
  type('endpoint-filter', 'data.amount.amount_minor >= 10000')
  await until(() => find('tried'), 'tried out')
  await accessible()
  backend.fail('put_endpoint', appError('request.invalid', '10.0.0.5 is a private address.', { hint: 'Only public ones, or those on the list.', field: 'url' }))
  press('Enter', { ctrlKey: true })
  await until(() => find('endpoint-url')!.getAttribute('aria-invalid') === 'true', 'refused at the field')
  expect(find('endpoint-drawer')!.textContent).toContain('10.0.0.5 is a private address.')
  expect((find('endpoint-url') as HTMLInputElement).value).toBe('https://10.0.0.5/in')
  backend.mend('put_endpoint')
  type('endpoint-url', 'https://hooks.example/in')
  press('Enter', { ctrlKey: true })
  await until(() => find('secret')?.textContent?.startsWith('whsec_'), 'the secret')
  const [first, second] = asked(backend, 'put_endpoint').map((call) => call.params as PutEndpoint)
  expect(second).toMatchObject({ version: null, name: 'hooks.example', url: 'https://hooks.example/in', events: ['Payment*'], filter: { data: { amount: { amount_minor: { $gte: 10_000 } } } } })
  // The same endpoint, pressed twice.
  expect(second!.destination_id).toBe(first!.destination_id)
  await accessible()
})

test('what did not arrive since it began to fail is sent again from the endpoint itself', async () => {
  const backend = open(`/deliveries/endpoints/${failing.destination_id}`, quiet())
  click(await seen('recover'))
  await seen('bulk-plan')
  const { filter } = asked(backend, 'preview_redelivery').at(-1)!.params as StartRedelivery
  expect(filter).toMatchObject({ destination_ids: [failing.destination_id], since: failing.failing_since })
  expect(filter.states).toContain('gave_up')
  expect(filter.states).not.toContain('delivered')
  await accessible()
})

test('a secret is changed with an overlap and shown once', async () => {
  const backend = open(`/deliveries/endpoints/${failing.destination_id}`)
  click(await seen('rotate'))
  await seen('rotate-dialog')
  type('rotate-reason', 'Somebody left the company')
  await accessible()
  press('Enter', { ctrlKey: true })
  await until(() => find('secret')?.textContent?.startsWith('whsec_'), 'the new one')
  expect(asked(backend, 'rotate_secret')[0]!.params).toMatchObject({ overlap_hours: 24, reason: 'Somebody left the company' })
})

test('one that is off is turned on with what happened since', async () => {
  const off = endpointRows[7]!
  const backend = open(`/deliveries/endpoints/${off.destination_id}`)
  click(await seen('enable'))
  await seen('enable-dialog')
  await until(() => find('enable-plan')?.textContent?.includes('1,240 missed events and 3 deliveries that were given up'), 'counted before')
  await accessible()
  type('enable-reason', 'They have a new address')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'change_endpoint').length === 1, 'on')
  expect(asked(backend, 'change_endpoint')[0]!.params).toMatchObject({ action: 'enable', recover_since: off.since })
})

test('one that turned itself off begins where it began to fail, and how far the recovery is can be seen and stopped', async () => {
  const off = { ...endpointRows[7]!, why: 'days_of_failures', failing_since: '2026-11-18T08:00:00Z' }
  const backend = world()
  backend.on('list_endpoints', () => ({ ...endpoints, rows: [off] }))
  backend.on('get_endpoint', () => ({ ...endpointOf(off.destination_id)!, row: off }))
  open(`/deliveries/endpoints/${off.destination_id}`, backend)
  click(await seen('enable'))
  await seen('enable-dialog')
  expect(find('enable-failing')!.getAttribute('aria-checked')).toBe('true')
  await until(() => asked(backend, 'preview_recovery').length > 0, 'counted')
  expect(asked(backend, 'preview_recovery')[0]!.params).toMatchObject({ since: off.failing_since })
  type('enable-reason', 'They have a new server')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'change_endpoint').length === 1, 'on')
  expect(asked(backend, 'change_endpoint')[0]!.params).toMatchObject({ recover_since: off.failing_since })
  backend.on('list_redeliveries', () => [redelivery({ action: 'recover', count: 700, done: 700, looked: 0.62 })])
  location.hash = '#/deliveries'
  await until(() => find('running')?.textContent?.includes('Owing 700 that were missed'), 'named')
  expect(find('running')!.textContent).toContain('62 % of the log was gone through.')
  click(find('many-stop')!)
  await until(() => asked(backend, 'change_redelivery').length === 1, 'stopped')
})

test('what was held while the desk was closed asks for one of three decisions', async () => {
  const backend = world()
  const held = { ...endpointRows[4]!, held: 420, oldest_owed_at: '2026-11-20T08:00:00Z' }
  backend.on('list_endpoints', () => ({ ...endpoints, rows: [held] }))
  open('/deliveries/endpoints', backend)
  await seen('held')
  expect(find('held')!.textContent).toContain('420 deliveries to Atelier CRM are held.')
  await accessible()
  click(find('held-newest')!)
  await seen('endpoint-dialog')
  type('reason', 'Only the last state matters to them')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'change_endpoint').length === 1, 'decided')
  expect(asked(backend, 'change_endpoint')[0]!.params).toMatchObject({ action: 'send_held_newest' })
})

test('whoever may not change endpoints is told so on the action itself', async () => {
  const backend = world()
  backend.on('list_endpoints', () => ({ ...endpoints, refused: 'This needs an admin.', run_refused: 'This needs a manager.' }))
  open(`/deliveries/endpoints/${failing.destination_id}`, backend)
  await until(() => find('pause')?.getAttribute('aria-disabled') === 'true', 'off')
  const why = document.getElementById(find('pause')!.getAttribute('aria-describedby')!)
  expect(why?.textContent).toBe('This needs a manager.')
  press('p')
  expect(find('endpoint-dialog')).toBeNull()
  expect(find('new-endpoint')!.getAttribute('aria-disabled')).toBe('true')
})

test('a manager keeps endpoints going, and only an admin changes them', async () => {
  const backend = world()
  const held = { ...endpointRows[4]!, held: 420 }
  backend.on('list_endpoints', () => ({ ...endpoints, rows: [...endpoints.rows.filter((row) => row.destination_id !== held.destination_id), held], refused: 'This needs an admin.', run_refused: null }))
  open(`/deliveries/endpoints/${failing.destination_id}`, backend)
  await seen('pause')
  const open_ = (name: string) => find(name)!.getAttribute('aria-disabled') !== 'true'
  for (const name of ['pause', 'try-now', 'send-test', 'recover', 'held-all', 'held-newest', 'held-cancel']) expect(open_(name), name).toBe(true)
  for (const name of ['disable', 'delete', 'endpoint-edit', 'rotate', 'new-endpoint']) expect(open_(name), name).toBe(false)
  click(find('try-now')!)
  await until(() => asked(backend, 'change_endpoint').length === 1, 'tried')
  press('p')
  await seen('endpoint-dialog')
  type('reason', 'They move to another host today')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'change_endpoint').length === 2, 'paused')
})

test('a test may go to an endpoint that is off', async () => {
  const off = endpointRows[7]!
  const backend = open(`/deliveries/endpoints/${off.destination_id}`)
  await seen('enable')
  click(find('send-test')!)
  await seen('test-dialog')
  await until(() => find('test-dialog')!.textContent!.includes('"type": "BookingConfirmed"'), 'the example')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'send_test').length === 1, 'sent')
})

test('how it is sent: what is marked as wrong is not saved, and only what was touched is', async () => {
  const backend = open(`/deliveries/endpoints/${failing.destination_id}`)
  click(await seen('endpoint-edit'))
  await seen('endpoint-drawer')
  const off = () => find('endpoint-save')!.getAttribute('aria-disabled') === 'true'
  for (const [field, wrong] of [['sending-rate', 'ten'], ['sending-schedule', 'now and then'], ['sending-headers', 'no colon'], ['sending-timeout', 'soon'], ['sending-flight', '']] as const) {
    const before = (find(field) as HTMLInputElement).value
    type(field, wrong)
    await until(off, `${field} is wrong`)
    press('Enter', { ctrlKey: true })
    type(field, before)
    await until(() => !off(), `${field} is right again`)
  }
  expect(asked(backend, 'put_endpoint')).toHaveLength(0)
  type('sending-timeout', '2,5')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'put_endpoint').length === 1, 'saved')
  expect((asked(backend, 'put_endpoint')[0]!.params as PutEndpoint).sending).toEqual({ timeout_ms: 2500 })
})

test('a new Slack endpoint keeps its one a second though a header was given', async () => {
  const backend = open('/deliveries/endpoints')
  click(await seen('new-endpoint'))
  await seen('endpoint-drawer')
  type('endpoint-url', 'https://hooks.slack.com/services/T0/B0/x')
  click(await seen('star-Payment*'))
  type('sending-headers', 'x-tenant: halcyon')
  await until(() => find('endpoint-save')!.getAttribute('aria-disabled') !== 'true', 'ready')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'put_endpoint').length === 1, 'saved')
  expect((asked(backend, 'put_endpoint')[0]!.params as PutEndpoint).sending).toEqual({ headers: { 'x-tenant': 'halcyon' } })
})

test('the list of private addresses is changed by an admin, with a reason; others only read it', async () => {
  const backend = open('/deliveries/endpoints')
  click(await seen('allow-list'))
  await until(() => (find('allow-entries') as HTMLTextAreaElement | null)?.value.includes('printer.local'), 'the list')
  type('allow-entries', '10.1.0.0/16\nprinter.local\n192.168.7.0/24')
  type('allow-reason', 'The new printer behind the desk')
  await accessible()
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'put_allow_list').length === 1, 'saved')
  expect(asked(backend, 'put_allow_list')[0]!.params).toEqual({ version: 2, entries: ['10.1.0.0/16', 'printer.local', '192.168.7.0/24'], reason: 'The new printer behind the desk' })
})

test('others read the list of private addresses and are told who may change it', async () => {
  const backend = world()
  backend.on('get_allow_list', () => ({ ...allowList, refused: 'Only an admin changes this list.' }))
  open('/deliveries/endpoints', backend)
  click(await seen('allow-list'))
  await until(() => find('allow-dialog')?.textContent?.includes('Only an admin changes this list.'), 'told')
  expect((find('allow-entries') as HTMLTextAreaElement).readOnly).toBe(true)
})

test('the catalogue shows an example and the schema of a type', async () => {
  open('/deliveries/catalogue/BookingConfirmed')
  await until(() => all('hook-type').length === 7, 'seven types')
  await says('"required": [')
  await accessible()
  press('j')
  await until(() => location.hash.endsWith('/BookingCancelled'), 'the next one')
})

test('a test goes out as an example, and one is led to what became of it', async () => {
  const backend = open(`/deliveries/endpoints/${failing.destination_id}`)
  await seen('send-test')
  press('t')
  await seen('test-dialog')
  await until(() => find('test-dialog')!.textContent!.includes('"type": "BookingConfirmed"'), 'the example')
  press('Enter', { ctrlKey: true })
  await until(() => asked(backend, 'send_test').length === 1, 'sent')
  expect(asked(backend, 'send_test')[0]!.params).toEqual({ destination_id: failing.destination_id, event_name: 'BookingConfirmed' })
  await until(() => location.hash.startsWith('#/deliveries/01937c50'), 'at the delivery')
})

// ---- states and ways -----------------------------------------------------------------------------------

test('loading, empty and failed, each with the next step', async () => {
  const backend = world()
  backend.hang('list_deliveries', 'list_endpoints', 'list_inbox')
  open('/deliveries', backend)
  await until(() => find('deliveries')?.getAttribute('aria-busy') === 'true', 'waits')
  await accessible()
})

test('the first endpoint is one press away', async () => {
  const backend = quiet()
  backend.on('list_deliveries', (p) => ({ ...listDeliveries(p), rows: [], next: null }))
  backend.on('list_endpoints', () => ({ rows: [], delivered_today: 0, refused: null, run_refused: null }))
  open('/deliveries', backend)
  click(await seen('first-endpoint'))
  await seen('endpoint-drawer')
})

test('a log that cannot be read says why and tries again', async () => {
  const backend = quiet()
  backend.fail('list_deliveries', appError('internal', 'The log could not be read.', { hint: 'Try again.' }))
  open('/deliveries', backend)
  await says('The log could not be read.')
  await accessible()
  backend.mend('list_deliveries')
  click([...document.querySelectorAll<HTMLElement>('button')].find((button) => button.textContent?.includes('Try again'))!)
  await until(() => all('delivery-row').length > 15, 'rows')
})

test('while the desk is silent nothing can be sent, and it says so', async () => {
  const backend = quiet()
  open(`/deliveries/${retrying.delivery_id}`, backend)
  await until(() => all('try').length === 3, 'the delivery')
  backend.cut()
  await until(() => find('redeliver')?.getAttribute('aria-disabled') === 'true', 'off', 12_000)
  press('r')
  expect(asked(backend, 'redeliver')).toHaveLength(0)
})

test('a booking shows what left and what came in for it, both ways', async () => {
  const backend = open(`/bookings/${retrying.reference}`)
  await until(() => all('left').length > 0 && all('came').length > 0, 'both directions')
  const { filter } = asked(backend, 'list_deliveries').find((call) => (call.params as ListDeliveries).filter.booking_id)!.params as ListDeliveries
  expect(filter.booking_id).toBe(retrying.booking_id)
  await accessible()
  press('g')
  press('w')
  await until(() => location.hash === `#/deliveries?booking=${retrying.booking_id}`, 'its deliveries')
  await until(() => find('filter-booking')?.textContent?.includes(retrying.reference!), 'as a clause')
})

test('everything in German too, and nothing is left over', async () => {
  const { setPrefs } = await import('../src/lib/prefs.svelte')
  setPrefs({ language: 'de' })
  open(`/deliveries/endpoints/${failing.destination_id}`)
  await until(() => find('endpoint-story')?.textContent?.includes('Er antwortete 5-mal hintereinander „503“,'), 'die Geschichte')
  expect(document.body.innerText).not.toMatch(/\bundefined\b|\{[a-z_]+\}/)
})

// ---- links ---------------------------------------------------------------------------------------------

test('a link that names none, or one that is gone, says so in plain words and leads to the list', async () => {
  const backend = open('/deliveries/msg_27UH4WbU6Z5A5EzD8u03', quiet())
  await says('There is no such delivery')
  expect(asked(backend, 'get_delivery')).toHaveLength(0)
  await accessible()
  backend.fail('get_delivery', appError('request.not_found', 'That delivery is not here any more.'))
  location.hash = '#/deliveries/01937c50-1a2b-7000-8000-00000000dead'
  await until(() => asked(backend, 'get_delivery').length === 1, 'asked for it')
  await says('There is no such delivery')
  click(find('delivery')!.querySelector<HTMLElement>('.empty button')!)
  await until(() => location.hash === '#/deliveries', 'at the list')
  location.hash = '#/deliveries/endpoints/ledgerly'
  await says('There is no such endpoint')
})

test('the list follows by itself while nobody reads, and stands still once live is off', async () => {
  const backend = quiet()
  open('/deliveries', backend)
  await until(() => all('delivery-row').length > 15, 'rows')
  let n = 0
  backend.on('list_deliveries', (p) => {
    const reply = listDeliveries(p)
    const fresh = Array.from({ length: n }, (_, i) => ({ ...deliveryRows[1]!, delivery_id: `01937c50-1a2b-7000-8000-${String(900 - i).padStart(12, '0')}` })).reverse()
    return p.after === null ? { ...reply, rows: [...fresh, ...reply.rows] } : reply
  })
  n = 1
  backend.hint('deliveries')
  await until(() => all('delivery-row')[0]!.dataset.id?.endsWith('900'), 'the new one is the first')
  expect(find('live')!.getAttribute('aria-pressed')).toBe('true')
  press('l')
  await until(() => find('live')!.getAttribute('aria-pressed') === 'false', 'not live')
  const before = asked(backend, 'list_deliveries').filter((call) => (call.params as ListDeliveries).limit > 1).length
  n = 2
  backend.hint('deliveries')
  await until(() => asked(backend, 'status').length >= 0, 'a turn')
  await new Promise((resolve) => requestAnimationFrame(resolve))
  expect(asked(backend, 'list_deliveries').filter((call) => (call.params as ListDeliveries).limit > 1)).toHaveLength(before)
  click(find('live')!)
  backend.hint('deliveries')
  await until(() => all('delivery-row')[0]!.dataset.id?.endsWith('899'), 'it follows again')
})

/** What this computer keeps of the log's views; those of other lists may be there from before. */
const kept = () => (JSON.parse(localStorage.getItem('bizing-desk.deliveries')!).views.sofia as SavedView[]).filter((view) => view.tab === 'log')

test('a kept view asks again what was asked, shows as chosen, and is forgotten when its owner says so', async () => {
  localStorage.setItem('bizing-desk.deliveries', '{}')
  memory.save('sofia', { name: 'What gave up', tab: 'log', query: 'states=gave_up' })
  expect(kept()).toHaveLength(1)
  const backend = open('/deliveries', quiet())
  click(await seen('views'))
  click(await seen('own-view'))
  await until(() => location.hash === '#/deliveries?states=gave_up', 'its address')
  await until(() => asked(backend, 'list_deliveries').some((call) => (call.params as ListDeliveries).filter.states.join() === 'gave_up'), 'asked')
  await until(() => find('views')!.textContent!.includes('What gave up'), 'chosen')
  click(find('views')!)
  click((await seen('own-view')).parentElement!.querySelectorAll('button')[1]!)
  await until(() => memory.views('sofia', 'log').length === 0, 'forgotten')
  expect(kept()).toHaveLength(0)
})

// ---- cards, notices and trouble ------------------------------------------------------------------------

test('an address of a chat program is sent messages that it shows, unless somebody chooses otherwise', async () => {
  const backend = open('/deliveries/endpoints', quiet())
  click(await seen('new-endpoint'))
  await seen('endpoint-drawer')
  expect(find('shape-event')!.getAttribute('aria-checked')).toBe('true')
  type('endpoint-url', 'https://hooks.slack.com/services/T0/B0/x')
  await until(() => find('shape-slack')!.getAttribute('aria-checked') === 'true', 'it is Slack')
  expect(find('endpoint-drawer')!.textContent).toContain('a message that Slack shows')
  await accessible()
  find('shape-slack')!.focus()
  find('shape-slack')!.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }))
  await until(() => find('shape-discord')!.getAttribute('aria-checked') === 'true', 'by the keyboard')
  type('endpoint-url', 'https://example.com/in')
  expect(find('shape-discord')!.getAttribute('aria-checked')).toBe('true')
  click(await seen('star-Payment*'))
  await until(() => find('endpoint-save')!.getAttribute('aria-disabled') !== 'true', 'it can be saved')
  click(find('endpoint-save')!)
  await until(() => asked(backend, 'put_endpoint').length === 1, 'saved')
  expect((asked(backend, 'put_endpoint')[0]!.params as PutEndpoint).shape).toBe('discord')
})

test('who is told of endpoints is written down, one a line and with a reason', async () => {
  const backend = open('/deliveries/endpoints', quiet())
  await until(() => all('endpoint-row').length > 2, 'endpoints')
  click(await seen('notice-list'))
  await until(() => (find('notice-entries') as HTMLTextAreaElement | null)?.value.includes('hooks.slack.com'), 'the list')
  await accessible()
  backend.fail('put_notice_list', appError('request.invalid', '`nobody` is neither an e-mail address nor the address of a chat program (`https://…`).', { field: 'entries' }))
  type('notice-entries', 'nobody')
  type('notice-reason', 'Those who look after it now')
  click(find('notice-go')!)
  await says('is neither an e-mail address')
})

test('whoever may not change it sees how many are told, and not whom', async () => {
  const backend = quiet()
  backend.on('get_notice_list', () => ({ version: 3, count: 2, entries: [], mail_set: false, problems: [], changed_by: 'sofia', changed_at: '2026-11-20T10:00:00Z', reason: null, refused: 'An admin makes and changes endpoints.' }))
  open('/deliveries/endpoints', backend)
  await until(() => all('endpoint-row').length > 2, 'endpoints')
  click(await seen('notice-list'))
  await until(() => find('notice-dialog')?.textContent?.includes('2 addresses are told. Only admins see which.'), 'told')
  expect(find('notice-entries')).toBeNull()
})

test('an endpoint that turned itself off is told once, and stays in the status bar until somebody decides', async () => {
  localStorage.removeItem('bizing-desk.told')
  const backend = quiet()
  const row = endpointRows[0]!
  const trouble = { destination_id: row.destination_id, name: row.name, off: 'days_of_failures', since: '2026-11-19T10:00:00Z', off_at: null, error: 'answered 500', news: 41 }
  backend.on('status', () => ({ ...status, endpoints_in_trouble: [trouble] }))
  open('/bookings', backend)
  await says(`${row.name} turned itself off. Events are no longer owed to it.`)
  expect((await seen('status-endpoints')).textContent).toContain('An endpoint is off')
  click(find('status-endpoints')!)
  const link = await seen('trouble-look')
  await accessible()
  click(link)
  await until(() => location.hash === `#/deliveries/endpoints/${row.destination_id}`, 'at the endpoint')
  expect(toldOnce.news('sofia', [trouble]).length + toldOnce.news('sofia', [trouble]).length).toBeLessThan(2)
  expect(toldOnce.news('sofia', [{ ...trouble, news: 42 }])).toHaveLength(1)
})

test('a large message warns whoever looks at it', async () => {
  const backend = quiet()
  const detail = deliveryDetail(delivered.delivery_id)!
  backend.on('get_delivery', () => ({ ...detail, bodies: detail.bodies.map((one) => ({ ...one, body: JSON.stringify({ type: 'BookingCancelled', data: { reason: 'x'.repeat(30_000) } }) })) }))
  open(`/deliveries/${delivered.delivery_id}`, backend)
  expect((await seen('try-large')).textContent).toContain('Many receivers take up to 20 kB')
  expect(find('try-peer')!.textContent).toContain('by TLS 1.3')
})
