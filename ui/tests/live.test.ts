import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { QueryClient, QueryObserver } from '@tanstack/svelte-query'
import { Unreachable } from '../src/backend/backend'
import { retryingPage, row, status } from '../src/backend/fixtures'
import { world } from '../src/backend/world'
import { Connection, ROUND_MS } from '../src/live/connection.svelte'
import { keys } from '../src/live/topics'
import { filterOf } from '../src/views/sagas/filter'
import { all, click, find, open, press, says, seen, type, until } from './desk'

describe('with a clock of its own', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  async function running(backend = world()) {
    const live = new Connection(backend, new QueryClient())
    const stop = live.start()
    live.watchDatabase(true)
    await vi.advanceTimersByTimeAsync(2500)
    expect(live.state).toBe('live')
    return { backend, live, stop }
  }

  test('a database that hangs is shown within five seconds, and its return at once', async () => {
    const { backend, live, stop } = await running()
    backend.hang('status')
    await vi.advanceTimersByTimeAsync(5000)
    expect(live.state).toBe('stale')
    const heard: string[] = []
    live.onChange((topic) => heard.push(topic))
    backend.mend('status')
    live.tryNow()
    await vi.advanceTimersByTimeAsync(200)
    expect(live.state).toBe('live')
    expect(heard).toContain('*')
    stop()
  })

  test('a read that was never answered does not end the pulse', async () => {
    const { backend, live, stop } = await running()
    backend.hang('status')
    await vi.advanceTimersByTimeAsync(5000)
    backend.mend('status')
    await vi.advanceTimersByTimeAsync(18_000)
    expect(live.state).toBe('live')
    stop()
  })

  test('a refusal to connect is shown at once', async () => {
    const { backend, live, stop } = await running()
    backend.cut()
    await vi.advanceTimersByTimeAsync(2100)
    expect(live.state).toBe('stale')
    backend.join()
    await vi.advanceTimersByTimeAsync(2100)
    expect(live.state).toBe('live')
    stop()
  })

  test('a restored database is read anew, whatever was on screen', async () => {
    const { backend, live, stop } = await running()
    const heard: string[] = []
    live.onChange((topic) => heard.push(topic))
    await vi.advanceTimersByTimeAsync(2100)
    expect(heard).not.toContain('*')
    backend.on('status', () => ({ ...status, log_id: '01937c31-0000-7000-8000-000000000002' }))
    await vi.advanceTimersByTimeAsync(2100)
    expect(heard).toContain('*')
    stop()
  })

  test('a database that is down is not live, though the desk itself answers', async () => {
    const { backend, live, stop } = await running()
    backend.on('status', () => ({ ...status, database: { ...status.database, state: 'down', problem: 'connection refused' } }))
    await vi.advanceTimersByTimeAsync(2100)
    expect(live.state).toBe('stale')
    await vi.advanceTimersByTimeAsync(20_000)
    expect(live.state).toBe('stale')
    stop()
  })

  test('without hints everything is asked for again every two seconds', async () => {
    const { backend, live, stop } = await running()
    backend.muted = true
    await vi.advanceTimersByTimeAsync(6000)
    expect(live.hintsAlive).toBe(false)
    expect(live.state).toBe('live')
    const heard: string[] = []
    live.onChange((topic) => heard.push(topic))
    await vi.advanceTimersByTimeAsync(6000)
    expect(heard.filter((topic) => topic === '*').length).toBeGreaterThanOrEqual(3)
    stop()
  })

  test('a hint that was lost is noticed by the log that moved', async () => {
    const { backend, live, stop } = await running()
    const heard: string[] = []
    live.onChange((topic) => heard.push(topic))
    await vi.advanceTimersByTimeAsync(6000)
    expect(heard).toEqual([])
    backend.on('status', () => ({ ...status, position: 4119 }))
    await vi.advanceTimersByTimeAsync(2200)
    expect(heard).toEqual(['*'])
    stop()
  })

  test('hints that come together become one round of questions', async () => {
    const { backend, live, stop } = await running()
    const heard: string[] = []
    live.onChange((topic) => heard.push(topic))
    for (let i = 0; i < 50; i++) backend.hint('bookings')
    await vi.advanceTimersByTimeAsync(100)
    expect(heard).toEqual(['bookings'])
    stop()
  })

  /** A list on screen, and how often it was asked for. */
  function listed(client: QueryClient) {
    const seen = { asked: 0, saw: 0, now: 0 }
    const query = new QueryObserver(client, {
      queryKey: keys.sagaList(filterOf(new URLSearchParams('tab=running'), '')),
      queryFn: () => {
        seen.asked += 1
        return seen.now
      },
      staleTime: Infinity,
    })
    const stop = query.subscribe((answer) => (seen.saw = answer.data ?? seen.saw))
    return { seen, stop }
  }

  test('under a storm of hints a view is read five times a second at most, and ends with the newest', async () => {
    const client = new QueryClient()
    const backend = world()
    const live = new Connection(backend, client)
    const stop = live.start()
    live.watchDatabase(true)
    const { seen, stop: unseen } = listed(client)
    await vi.advanceTimersByTimeAsync(2500)
    const before = seen.asked
    // A change every 5 ms for three seconds, told for several topics each.
    for (let i = 1; i <= 600; i++) {
      seen.now = i
      backend.hint('sagas')
      backend.hint(`booking:${i}`)
      await vi.advanceTimersByTimeAsync(5)
    }
    const asked = seen.asked - before
    expect(asked).toBeLessThanOrEqual(3 * 5 + 1)
    expect(asked).toBeGreaterThanOrEqual(10)
    await vi.advanceTimersByTimeAsync(ROUND_MS + 10)
    expect(seen.saw).toBe(600)
    unseen()
    stop()
  })

  test('while nobody looks nothing is read for a hint, and once when somebody does', async () => {
    const client = new QueryClient()
    const backend = world()
    const live = new Connection(backend, client)
    const stop = live.start()
    live.watchDatabase(true)
    const { seen, stop: unseen } = listed(client)
    await vi.advanceTimersByTimeAsync(2500)
    const before = seen.asked
    const visibility = vi.spyOn(document, 'visibilityState', 'get').mockReturnValue('hidden')
    for (let i = 1; i <= 500; i++) {
      seen.now = i
      backend.hint('sagas')
      backend.hint(`booking:${i}`)
      await vi.advanceTimersByTimeAsync(5)
    }
    expect(seen.asked).toBe(before)
    visibility.mockReturnValue('visible')
    document.dispatchEvent(new Event('visibilitychange'))
    await vi.advanceTimersByTimeAsync(ROUND_MS + 10)
    expect(seen.asked).toBe(before + 1)
    expect(seen.saw).toBe(500)
    visibility.mockRestore()
    unseen()
    stop()
  })
})

test('stale keeps what is on screen and what is typed, and says since when', async () => {
  const backend = open('/bookings')
  await until(() => all('booking-row').length > 10, 'rows')
  press('n')
  await seen('customer-search')
  type('customer-search', 'Zoë Nakamura')
  click(await seen('customer-new'))
  backend.on('status', () => {
    throw new Unreachable('gone')
  })
  await seen('stale')
  expect(find('stale')!.textContent).toMatch(/As it was at \d\d:\d\d:\d\d/)
  expect(all('booking-row').length).toBeGreaterThan(10)
  expect((find('customer-name') as HTMLInputElement).value).toBe('Zoë Nakamura')
  expect(find('book')!.getAttribute('aria-disabled')).toBe('true')
  await says('No answer comes, so nothing can be changed now.')
  backend.mend('status')
  await until(() => !find('stale'), 'the return')
  expect((find('customer-name') as HTMLInputElement).value).toBe('Zoë Nakamura')
}, 30_000)

test('with hints cut a change is on screen within two seconds', async () => {
  const backend = open('/bookings')
  await until(() => all('booking-row').length > 10, 'rows')
  backend.muted = true
  // Silence is noticed after two missing heartbeats.
  await until(() => document.body.innerText.includes('Checked every 2 s'), 'the silence', 12_000)
  const rows = Array.from({ length: 48 }, (_, i) => (i === 3 ? { ...row(3), state: 'expired' as const } : row(i)))
  backend.on('list_bookings', () => ({ rows, next: null, total: 48, matched: 48, position: 4118 }))
  await until(() => all('booking-row')[3]!.textContent!.includes('Expired'), 'the change', 2600)
}, 30_000)

test('a booking’s page goes stale in place', async () => {
  const backend = open(`/bookings/${retryingPage().row.reference}`)
  await seen('headline')
  backend.on('status', () => {
    throw new Unreachable('gone')
  })
  await seen('stale')
  expect(find('headline')!.textContent).toContain('Confirmed, paid €80.00.')
  expect(find('cancel-booking')!.getAttribute('aria-disabled')).toBe('true')
}, 20_000)
