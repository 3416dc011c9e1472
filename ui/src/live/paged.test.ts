import { expect, test } from 'vitest'
import { PagedFeed, type Page } from './paged.svelte'

interface Row {
  id: string
  state: string
}
/** A list that grows at its head and whose rows change, read by key as the desk reads it. */
class List {
  rows: Row[]
  asked = 0
  fails = false
  constructor(count: number) {
    this.rows = Array.from({ length: count }, (_, i) => ({ id: `r${String(count - i).padStart(4, '0')}`, state: 'a' }))
  }
  read = async (after: string | null, limit: number): Promise<Page<Row>> => {
    this.asked++
    if (this.fails) throw new Error('silent')
    const from = after === null ? 0 : this.rows.findIndex((row) => row.id < after)
    const rows = (from < 0 ? [] : this.rows.slice(from, from + limit)).map((row) => ({ ...row }))
    return { rows, next: from >= 0 && from + limit < this.rows.length ? rows.at(-1)!.id : null }
  }
}
const settled = () => new Promise((resolve) => setTimeout(resolve, 5))

async function started(count: number): Promise<[PagedFeed<Row, Page<Row>>, List]> {
  const list = new List(count)
  const feed = new PagedFeed<Row, Page<Row>>((row) => row.id)
  feed.ask('all', list.read)
  await settled()
  return [feed, list]
}

test('pages are read as they come into sight, and no row twice', async () => {
  const [feed] = await started(350)
  expect(feed.rows).toHaveLength(100)
  feed.need(60, 120)
  await settled()
  expect(feed.rows).toHaveLength(200)
  feed.need(250, 340)
  await settled()
  expect(feed.rows).toHaveLength(350)
  expect(new Set(feed.rows.map((row) => row.id)).size).toBe(350)
  expect(feed.ended).toBe(true)
})

test('what is new waits, and moves nothing that is being read', async () => {
  const [feed, list] = await started(250)
  list.rows.unshift({ id: 'r0252', state: 'new' }, { id: 'r0251', state: 'new' })
  const before = feed.rows.map((row) => row.id)
  await feed.tail()
  expect(feed.rows.map((row) => row.id)).toEqual(before)
  expect(feed.fresh.map((row) => row.id)).toEqual(['r0252', 'r0251'])
  feed.absorb()
  expect(feed.rows.slice(0, 3).map((row) => row.id)).toEqual(['r0252', 'r0251', 'r0250'])
  expect(feed.fresh).toHaveLength(0)
  await feed.tail()
  expect(feed.fresh).toHaveLength(0)
})

test('a row that changes is changed where it stands, also on a later page that is in sight', async () => {
  const [feed, list] = await started(300)
  feed.need(90, 190)
  await settled()
  list.rows[5]!.state = 'b'
  list.rows[150]!.state = 'c'
  await feed.tail()
  expect(feed.rows[5]!.state).toBe('b')
  expect(feed.rows[150]!.state).toBe('c')
})

test('a row that no longer fits stays and is marked, until somebody takes in what is new', async () => {
  const [feed, list] = await started(40)
  const [gone] = list.rows.splice(3, 1)
  await feed.tail()
  expect(feed.rows).toHaveLength(40)
  expect([...feed.gone]).toEqual([gone!.id])
  feed.absorb()
  await settled()
  expect(feed.rows).toHaveLength(39)
  expect(feed.gone.size).toBe(0)
})

test('when more came than one page holds, the list is read anew instead of with a hole', async () => {
  const [feed, list] = await started(120)
  for (let i = 121; i <= 800; i++) list.rows.unshift({ id: `r${String(i).padStart(4, '0')}`, state: 'new' })
  await feed.tail()
  expect(feed.freshMore).toBe(true)
  feed.absorb()
  await settled()
  expect(feed.rows[0]!.id).toBe('r0800')
  expect(feed.fresh).toHaveLength(0)
})

test('a list that could not be read says so, and is read when somebody asks again', async () => {
  const list = new List(10)
  list.fails = true
  const feed = new PagedFeed<Row, Page<Row>>((row) => row.id)
  feed.ask('all', list.read)
  await settled()
  expect(feed.error).toBeInstanceOf(Error)
  expect(feed.answered).toBe(false)
  list.fails = false
  await feed.tail()
  await settled()
  expect(feed.rows).toHaveLength(10)
  expect(feed.error).toBeNull()
})

test('an answer to an older question is nobody’s', async () => {
  const slow = new List(5)
  const quick = new List(7)
  const feed = new PagedFeed<Row, Page<Row>>((row) => row.id)
  feed.ask('slow', async (after, limit) => {
    await new Promise((resolve) => setTimeout(resolve, 20))
    return slow.read(after, limit)
  })
  feed.ask('quick', quick.read)
  await new Promise((resolve) => setTimeout(resolve, 40))
  expect(feed.rows).toHaveLength(7)
})
