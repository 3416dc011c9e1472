//! The whole window over a backend in memory, for looking at states that are hard to reach:
//! `npm run dev`, then `/gallery/?scene=stale&theme=dark#/bookings`.

import { mount } from 'svelte'
import App from '../src/App.svelte'
import { appError, type ScriptedBackend } from '../src/backend/testing'
import { ready, world } from '../src/backend/world'
import { proofs } from '../src/backend/admin'
import { endpointRows } from '../src/backend/deliveries'
import { moment, NOW, status } from '../src/backend/fixtures'
import { applyPrefs, setPrefs, type Density, type Language, type Theme } from '../src/lib/prefs.svelte'
import '../src/styles/index.css'

const query = new URLSearchParams(location.search)
const scenes: Record<string, (backend: ScriptedBackend) => void> = {
  day: () => {},
  choose: (b) => b.on('host_state', () => ({ ...ready, phase: { is: 'choose' }, profile: null })),
  starting: (b) => b.on('host_state', () => ({ ...ready, phase: { is: 'starting', step: 'migrating', since: new Date(Date.now() - 4200).toISOString() } })),
  failed: (b) =>
    b.on('host_state', () => ({
      ...ready,
      profile: 'server',
      phase: {
        is: 'failed',
        since: new Date(Date.now() - 12_000).toISOString(),
        error: appError('database.wrong_password', 'The database at db.halcyon.example refused the login “sofia”: the password is wrong.', {
          hint: 'Enter the address again with the right password, or ask the admin for a new one.',
        }),
      },
    })),
  empty: (b) => b.on('list_bookings', () => ({ rows: [], next: null, total: 0, matched: 0, position: 1 })),
  loading: (b) => b.hang('list_bookings', 'get_booking', 'caught_messages'),
  error: (b) => {
    b.fail('list_bookings', appError('internal', 'The list of bookings could not be read.', { hint: 'Try again. The bookings themselves are safe.' }))
    b.fail('get_booking', appError('internal', 'The booking could not be read.', { hint: 'Try again.' }))
  },
  stale: (b) => setTimeout(() => b.hang('status', 'list_bookings', 'get_booking'), 800),
  taken: (b) => {
    const free = world()
    b.on('free_times', async (p) => {
      const reply = await free.call('free_times', p)
      return { ...reply, times: reply.times.filter((time) => b.asked('create_booking') === 0 || !time.starts.wall.includes('T13:00')) }
    })
    b.fail('create_booking', appError('booking.slot_taken', 'Wed 25 Nov 13:00 was just taken. Marek booked the Quiet room 13:00–14:00 a moment ago.', { hint: 'Nothing was charged. Choose another time.' }))
  },
  restored: (b) =>
    b.on('status', () => ({
      ...status,
      rebuild_percent: 64,
      log_change: { what: 'restored', found_at: moment('2026-11-24T11:40:00Z'), taken_at: moment('2026-11-24T03:30:00Z'), read_upto: 4118, kept_upto: 3900 },
    })),
  unsound: (b) =>
    b.on('list_proofs', () => ({
      ...proofs,
      running: { run_id: 'r', started_at: new Date().toISOString(), streams: 40, of: 160 },
      last: { ...proofs.last!, audits: ['hold.overlap', 'saga.parked', 'server.old_snapshot'].map((name) => ({ name, found: 1 })) },
    })),
  trouble: (b) =>
    b.on('status', () => ({
      ...status,
      workers: 0,
      works_here: false,
      stripe: { ...status.stripe, state: 'down', problem: 'Stripe refuses our key (401).', hint: 'An admin must enter a new key.' },
      projections: [{ ...status.projections[0]!, lag_events: 412, lag_seconds: 12 }],
      lag_cause: 'pid 4242, open for 12 s: insert into booking.hold …',
      endpoints_in_trouble: [
        { destination_id: endpointRows[0]!.destination_id, name: endpointRows[0]!.name, off: null, since: '2026-11-21T09:00:00Z', off_at: '2026-11-26T09:00:00Z', error: 'answered 503', news: 41 },
        { destination_id: endpointRows[1]!.destination_id, name: endpointRows[1]!.name, off: 'gone', since: null, off_at: null, error: 'answered 410', news: 40 },
      ],
    })),
}

const backend = world({ count: Number(query.get('count') ?? 48) })
scenes[query.get('scene') ?? 'day']?.(backend)
setPrefs({
  theme: (query.get('theme') as Theme) ?? 'light',
  density: (query.get('density') as Density) ?? 'comfortable',
  language: (query.get('lang') as Language) ?? 'en',
})
applyPrefs()
// Pictures are of one moment: the clock of the desk stands at the day's 11:42.
Object.assign(window, { gallery: backend, galleryNow: NOW })
mount(App, { target: document.getElementById('app')!, props: { backend } })
