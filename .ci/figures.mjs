// One figure, through the same door as the window. BIZING_URL is the line that `serve` printed.
const began = performance.now()
const url = new URL(process.env.BIZING_URL)
const entered = await fetch(url, { redirect: 'manual' })
const cookie = entered.headers.get('set-cookie').split(';')[0]

async function ask(command, request = {}) {
  const answer = await fetch(new URL(`/rpc/${command}`, url), {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-bizing-desk': '1', cookie },
    body: JSON.stringify(request),
  })
  const body = await answer.json()
  if (!answer.ok) throw new Error(JSON.stringify(body))
  return body
}
const pause = (ms) => new Promise((done) => setTimeout(done, ms))
async function reached(phase) {
  while ((await ask('host_state')).phase.is !== phase) await pause(10)
}
const ms = (n) => `${n.toFixed(0)} ms`

const figures = {
  async first() {
    await reached('choose')
    await ask('choose_start', { choice: 'explore' })
    await reached('ready')
    const list = { search: null, states: [], payments: [], service_id: null, resource_id: null, from: null, to: null }
    while ((await ask('list_bookings', { ...list, sort: 'starts', descending: false, after: null, limit: 1 })).total === 0) await pause(10)
    console.log(`first start, new database, to the demo's first list: ${ms(performance.now() - began)}`)
  },
  async warm() {
    await reached('ready')
    console.log(`warm start to ready: ${ms(performance.now() - began)}`)
  },
  async bookings() {
    const { services } = await ask('catalogue')
    const times = []
    for (let day = 1; day < 30 && times.length < 40; day++) {
      const date = new Date(Date.now() + day * 86_400_000).toISOString().slice(0, 10)
      for (const service of services) {
        const time = (await ask('free_times', { service_id: service.service_id, date, staff_id: null })).times[0]
        if (!time || times.length >= 40) continue
        const clicked = performance.now()
        const booked = await ask('create_booking', {
          command_id: crypto.randomUUID(),
          customer: { is: 'new', name: 'Figure', email: `figure${times.length}@example.com`, phone: null },
          service_id: service.service_id,
          staff_id: time.staff.id,
          room_id: time.room?.id ?? null,
          starts: time.starts.wall.slice(0, 16),
          fold: null,
          payment_mode: 'card_on_file',
          payment_method: 'pm_card_visa',
        })
        while ((await ask('get_booking', { booking: booked.booking_id })).row.state !== 'confirmed') await pause(2)
        times.push(performance.now() - clicked)
      }
    }
    times.sort((a, b) => a - b)
    const at = (share) => ms(times[Math.floor(times.length * share)])
    console.log(`click to confirmed, ${times.length} bookings on a saved card: p50 ${at(0.5)}, p90 ${at(0.9)}`)
  },
}
await figures[process.argv[2]]()
