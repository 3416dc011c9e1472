import { expect, test } from 'vitest'
import { event, listEvents, NEWEST } from '../src/backend/admin'
import { status } from '../src/backend/fixtures'
import { appError } from '../src/backend/testing'
import { world } from '../src/backend/world'
import { LineFiles } from '../src/lib/save'
import { accessible, all, click, find, open, press, says, seen, type, until } from './desk'

const rows = () => all('event-row')
const positions = () => rows().map((row) => Number(row.dataset.position))

test('the log shows its newest events first, and only the rows in sight exist', async () => {
  open('/events')
  await until(() => rows().length > 10, 'rows')
  expect(positions()[0]).toBe(NEWEST)
  expect(rows().length).toBeLessThan(60)
  await says('About 4,118,246 events, none ever changed.')
  expect(find('events')!.querySelector('[role="rowgroup"]')!.getBoundingClientRect().height).toBeGreaterThan(10_000_000)
  await accessible()
})

test('a pull of the scroll bar lands in the middle of a million events', async () => {
  const backend = open('/events')
  await until(() => rows().length > 10, 'rows')
  const before = backend.asked('list_events')
  const box = find('events')!
  box.scrollTop = box.scrollHeight / 2
  await until(() => positions().some((p) => Math.abs(p - NEWEST / 2) < NEWEST / 50), 'events of the middle')
  expect(backend.asked('list_events') - before).toBeLessThan(8)
  box.scrollTop = 0
  await until(() => positions()[0] === NEWEST, 'the newest again')
})

test('selecting an event marks its conversation, explains it and stands in the address', async () => {
  open('/events')
  await until(() => rows().length > 10, 'rows')
  click(rows()[2]!)
  await seen('why')
  await until(() => all('node').length === 11, 'the graph')
  expect(location.hash).toBe(`#/events/${NEWEST - 2}`)
  expect(rows().filter((row) => row.classList.contains('kin')).length).toBe(7)
  expect(find('event-details')!.textContent).toContain('PaymentReceived')
  expect(find('as-of')!.textContent).toContain('version 5 of 7')
  await accessible()
})

test('one event is copied by its key as it is stored, the conversation by its button', async () => {
  const written: string[] = []
  Object.defineProperty(navigator, 'clipboard', { configurable: true, value: { writeText: async (text: string) => void written.push(text) } })
  const backend = open(`/events/${NEWEST - 1}`)
  await seen('copy-event')
  press('c')
  await until(() => written.length === 1, 'the event')
  expect(backend.calls.find((call) => call.name === 'copy_events')!.params).toEqual({ copy: 'event', position: NEWEST - 1 })
  click(find('copy-conversation')!)
  await until(() => written.length === 2, 'its conversation')
})

/** What would have become files, by their names. */
function files(): Map<string, Promise<string>> {
  const saved = new Map<string, Promise<string>>()
  const blobs = new Map<string, Blob>()
  const made = URL.createObjectURL.bind(URL)
  URL.createObjectURL = (blob: Blob) => {
    const url = made(blob)
    blobs.set(url, blob)
    return url
  }
  HTMLAnchorElement.prototype.click = function () {
    saved.set(this.download, blobs.get(this.href)!.text())
  }
  return saved
}

async function openMenu() {
  ;(await seen('events-more')).focus()
  press('Enter')
  await seen('events-export')
}

test('what the filters show is exported piece by piece, in files that are never large', async () => {
  const saved = files()
  const backend = world()
  open('/events?type=BookingCancelled', backend)
  await openMenu()
  find('events-export')!.focus()
  click(find('events-export')!)
  await says('2 events exported into 1 file')
  const asked = backend.calls.filter((call) => call.name === 'export_events').map((call) => call.params as { filter: { types: string[] }; after: number; upto: number | null })
  expect(asked.map(({ after, upto }) => [after, upto])).toEqual([[0, null], [2_000_000, NEWEST]])
  expect(asked.every(({ filter }) => filter.types[0] === 'BookingCancelled')).toBe(true)
  expect(await Promise.all([...saved].map(async ([name, text]) => [name, await text]))).toEqual([['events-2026-11-24.ndjson', '{"position":1}\n{"position":2000001}\n']])
  const large = new LineFiles('log', 20)
  for (const line of ['{"position":1}\n', '{"position":2}\n', '{"position":3}\n']) large.write(line)
  large.end()
  expect([await saved.get('log.ndjson'), await saved.get('log-2.ndjson'), large.files]).toEqual(['{"position":1}\n{"position":2}\n', '{"position":3}\n', 2])
})

test('an export says how far it is, and stops where somebody says so', async () => {
  const saved = files()
  const backend = world()
  const goOn: (() => void)[] = []
  backend.on('export_events', async ({ after }) => {
    if (after > 0) await new Promise<void>((resolve) => goOn.push(resolve))
    return { lines: '{}\n', events: 1, after: after + NEWEST / 4, upto: NEWEST }
  })
  open('/events', backend)
  await openMenu()
  find('events-export')!.focus()
  click(find('events-export')!)
  await until(() => find('exporting')?.textContent?.includes('25 %') ?? false, 'a quarter')
  expect(find('exporting')!.textContent).toContain('Exporting: 1 event')
  await accessible()
  click(find('export-stop')!)
  await until(() => find('exporting') === null, 'gone')
  goOn[0]!()
  await says('Export stopped')
  expect(backend.asked('export_events')).toBe(2)
  expect(saved.size).toBe(0)
})

test('the keys walk the list and the graph', async () => {
  open('/events')
  await until(() => rows().length > 10, 'rows')
  press('j')
  press('j')
  await until(() => location.hash === `#/events/${NEWEST - 1}`, 'the second event')
  await until(() => all('node').length === 11, 'the graph')
  const here = find('graph')!.querySelector<HTMLElement>('[aria-current="true"]')!
  here.focus()
  press('ArrowUp')
  await until(() => document.activeElement !== here && document.activeElement?.classList.contains('nd'), 'the node above')
  ;(document.activeElement as HTMLElement).click()
  await until(() => location.hash === `#/events/${NEWEST - 2}`, 'its event')
  press('Escape')
})

test('the slider tells the booking at each version beside the one before', async () => {
  open(`/events/${NEWEST}`)
  await until(() => find('as-of')?.textContent?.includes('version 7 of 7'), 'the newest version')
  const slider = find('as-of-slider') as HTMLInputElement
  slider.value = '5'
  slider.dispatchEvent(new InputEvent('input', { bubbles: true }))
  await until(() => find('as-of')!.textContent!.includes('version 5 of 7') && find('as-of')!.textContent!.includes('Authorised'), 'version 5')
  click(find('as-of-open')!)
  await until(() => location.hash === `#/events/${NEWEST - 2}`, 'the event of that version')
})

test('the search says how it understood, and a type becomes a filter that can be dropped', async () => {
  const backend = open('/events')
  await until(() => rows().length > 10, 'rows')
  press('/')
  type('event-search', 'received')
  await until(() => all('reading').length > 0, 'a reading')
  expect(all('reading')[0]!.textContent).toContain('Type is')
  press('Enter')
  await until(() => rows().length > 3 && rows().every((row) => row.textContent!.includes('PaymentReceived')), 'only that type')
  expect(location.hash).toContain('type=PaymentReceived')
  expect(backend.calls.filter((c) => c.name === 'list_events').at(-1)!.params).toMatchObject({ filter: { types: ['PaymentReceived'] } })
  await accessible()
  click(document.querySelector<HTMLElement>('[aria-label^="Remove the filter"]')!)
  await until(() => positions()[0] === NEWEST, 'everything again')
})

test('a position in the search goes there', async () => {
  open('/events')
  await until(() => rows().length > 10, 'rows')
  type('event-search', '#4 000 000')
  press('Enter')
  await until(() => location.hash === '#/events/4000000' && positions().includes(4_000_000), 'the event and its row')
  await until(() => find('event-details')?.textContent?.includes(event(4_000_000).name), 'its details')
})

test('an old payload shows what reading it changed, and as it is stored', async () => {
  // The fourth conversation still asked for payments in the first version.
  const old = NEWEST - 7 * 3 - 4
  open(`/events/${old}`)
  await seen('upcast')
  expect(find('upcast')!.textContent).toContain('Stored as v1, read as v2')
  expect(find('payload')!.querySelectorAll('.add').length).toBeGreaterThan(0)
  click(find('as-stored')!)
  await until(() => find('payload')!.textContent!.includes('120.00 EUR') && find('payload')!.querySelectorAll('.add').length === 0, 'as stored')
  click(find('schema-1')!)
  await says('json-schema.org')
  await accessible()
})

test('what is new never moves a row under the pointer', async () => {
  const backend = open('/events')
  await until(() => rows().length > 10, 'rows')
  let newest = NEWEST
  backend.on('list_events', (p) => listEvents(p, newest, NEWEST))
  // Three events older than the newest are what is known; the log then grows.
  find('events')!.dispatchEvent(new PointerEvent('pointerenter'))
  newest = NEWEST + 3
  backend.hint('events')
  await seen('fresh')
  expect(positions()[0]).toBe(NEWEST)
  find('events')!.dispatchEvent(new PointerEvent('pointerleave'))
  await until(() => positions()[0] === NEWEST + 3, 'the new ones at the top')
  expect(find('fresh')).toBeNull()
  // Not live: they wait until they are asked for.
  click(find('live')!)
  newest = NEWEST + 5
  backend.hint('events')
  click(await seen('fresh'))
  await until(() => positions()[0] === NEWEST + 5, 'taken in')
})

test('the log of a filter that fits nothing says so and gives a way out', async () => {
  open('/events?type=BookingCancelled')
  await seen('empty')
  await says('No event matches')
  await accessible()
  click(all('clear-filters').at(-1)!)
  await until(() => rows().length > 10, 'everything')
})

test('an empty log, one that loads, and one that cannot be read', async () => {
  const backend = world()
  backend.on('list_events', () => ({ rows: [], more: false, searched: null, total: { count: 0, estimated: false }, matched: null, safe_position: 0, chain: null }))
  open('/events', backend)
  await says('Nothing has happened yet')
  await accessible()
})

test('a search that no index answers says how far back it came, is stopped and goes on', async () => {
  const backend = world()
  let held = true
  backend.on('list_events', async (p) => {
    const page = { ...listEvents({ ...p, filter: { ...p.filter, actor: null } }), matched: null }
    if (!p.filter.actor) return page
    const at = { ...page.rows[0]!.occurred }
    const position = (p.before ?? NEWEST + 1) - 1_000
    await until(() => !held || p.before === null, 'the next look')
    if (held || position > NEWEST - 3_000) return { ...page, rows: [], more: true, searched: { position, at } }
    return { ...page, rows: page.rows.slice(0, 3), more: false, searched: null }
  })
  open('/events?by=sofia', backend)
  await seen('none-yet')
  await says('Nothing found yet')
  await says('Searching, back to')
  await accessible()
  click(await seen('search-stop'))
  held = false
  await says('What is older was not looked at.')
  await accessible()
  click(await seen('search-on'))
  await until(() => rows().length === 3, 'what was found at last')
  expect(find('searched')).toBe(null)
})

test('a log that cannot be read says why and tries again', async () => {
  const backend = world()
  backend.fail('list_events', appError('internal', 'The log could not be read.', { hint: 'Try again.' }))
  open('/events', backend)
  await seen('error')
  await accessible()
  backend.mend('list_events')
  click(find('error')!.querySelector('button')!)
  await until(() => rows().length > 10, 'rows')
})

test('a JSON path that cannot be read is refused beside the filter', async () => {
  const backend = world()
  backend.on('list_events', (p) => {
    if (p.filter.json_path) throw Object.assign(new Error(), {})
    return listEvents(p)
  })
  const { DeskError } = await import('../src/backend/backend')
  backend.on('list_events', (p) => {
    if (p.filter.json_path) throw new DeskError(appError('request.invalid', 'The JSON path ends too early at “$.”.', { field: 'filter.json_path' }))
    return listEvents(p)
  })
  open(`/events?payload=${encodeURIComponent('$.')}`, backend)
  await says('The JSON path ends too early')
  expect(find('filter-payload')!.className).toContain('bad')
})

test('stale says so and keeps what was there', async () => {
  const backend = open('/events')
  await until(() => rows().length > 10, 'rows')
  backend.hang('status', 'list_events')
  backend.muted = true
  await until(() => find('stale'), 'stale', 9000)
  expect(rows().length).toBeGreaterThan(10)
})

test('the timeline of a booking leads to the log, and the log back to the booking', async () => {
  const backend = world()
  backend.on('status', () => ({ ...status, position: NEWEST }))
  open('/bookings/' + event(NEWEST).subject, backend)
  await seen('timeline')
  click(all('timeline-item').find((item) => item.dataset.kind === 'event')!.querySelector('button')!)
  const link = await seen('open-event')
  expect(link.getAttribute('href')).toMatch(/^#\/events\/\d+$/)
  location.hash = `#/events/${NEWEST}`
  await until(() => find('open-booking'), 'the way back')
  expect(find('open-booking')!.getAttribute('href')).toBe(`#/bookings/${event(NEWEST).subject}`)
})

test('a moment of a booking is found by its reference and a time', async () => {
  open('/events')
  await until(() => rows().length > 10, 'rows')
  click(find('state-as-of')!)
  await seen('state-dialog')
  type('state-stream', event(NEWEST).subject!)
  await accessible()
  click(find('state-go')!)
  await until(() => location.hash === `#/events/${NEWEST}`, 'its newest event of that moment')
})

test('a moment of a booking is found by a position of the log, which goes before the time', async () => {
  const backend = open('/events')
  await until(() => rows().length > 10, 'rows')
  click(find('state-as-of')!)
  await seen('state-dialog')
  type('state-stream', event(NEWEST).subject!)
  type('state-position', 'noon')
  click(find('state-go')!)
  expect(backend.asked('state_as_of')).toBe(0)
  type('state-position', '#4,101,378')
  click(find('state-go')!)
  await until(() => location.hash.startsWith('#/events/'), 'an event')
  const [asked] = backend.calls.filter((call) => call.name === 'state_as_of')
  expect(asked!.params).toEqual({ stream: event(NEWEST).subject, at: { as_of: 'position', position: 4_101_378 } })
})
