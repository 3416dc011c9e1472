//! Where the nodes of a conversation stand. What one thing caused first continues below it, so that the story reads
//! downwards; what it caused besides hangs to the right. Every arrow goes down or right.

import type { CauseGraph, CauseHow, CauseNode } from '../../backend/types'

export interface Placed {
  node: CauseNode
  column: number
  row: number
}
export interface Line {
  from: Placed
  to: Placed
  how: CauseHow
}
export interface Layout {
  placed: Placed[]
  lines: Line[]
  columns: number
  rows: number
}

export function layOut(graph: CauseGraph): Layout {
  const nodes = new Map(graph.nodes.map((node) => [node.id, node]))
  const edges = graph.edges.filter((edge) => nodes.has(edge.from) && nodes.has(edge.to) && edge.from !== edge.to)
  const parent = new Map<string, string>()
  // One cause decides the place: the one that is known before the one that was matched.
  for (const edge of [...edges].sort((a, b) => Number(a.how === 'matched') - Number(b.how === 'matched'))) {
    if (!parent.has(edge.to) && !above(edge.from, edge.to, parent)) parent.set(edge.to, edge.from)
  }
  const children = new Map<string, string[]>()
  for (const { id } of graph.nodes) {
    const cause = parent.get(id)
    if (cause !== undefined) children.set(cause, [...(children.get(cause) ?? []), id])
  }

  const placed = new Map<string, Placed>()
  const taken = new Set<string>()
  const depths = new Map<string, number>()
  const free = (column: number, row: number) => {
    while (taken.has(`${column}/${row}`)) row++
    return row
  }
  let bottom = 0
  const put = (first: string, column: number, row: number) => {
    // Without recursion: a conversation may be a thousand events deep.
    const waiting: [id: string, column: number, row: number][] = [[first, column, row]]
    while (waiting.length) {
      const [id, at, from] = waiting.pop()!
      const row = free(at, from)
      taken.add(`${at}/${row}`)
      placed.set(id, { node: nodes.get(id)!, column: at, row })
      bottom = Math.max(bottom, row + 1)
      const [trunk, ...branches] = order(children.get(id) ?? [], children, depths)
      for (const branch of branches.reverse()) waiting.push([branch, at + 1, row + (at === 0 ? 0 : 1)])
      if (trunk !== undefined) waiting.push([trunk, at, row + 1])
    }
  }
  for (const { id } of graph.nodes) if (!parent.has(id)) put(id, 0, bottom)

  const all = graph.nodes.map((node) => placed.get(node.id)!).filter(Boolean)
  return {
    placed: all,
    lines: edges.map((edge) => ({ from: placed.get(edge.from)!, to: placed.get(edge.to)!, how: edge.how })),
    columns: Math.max(1, ...all.map((p) => p.column + 1)),
    rows: bottom,
  }
}

/** The trunk goes on with whatever goes on longest; among equals with what came first. */
function order(ids: string[], children: Map<string, string[]>, depths: Map<string, number>): string[] {
  const deepest = [...ids].sort((a, b) => depth(b, children, depths) - depth(a, children, depths))[0]
  return deepest === undefined ? [] : [deepest, ...ids.filter((id) => id !== deepest)]
}

function depth(id: string, children: Map<string, string[]>, known: Map<string, number>): number {
  const stack = [id]
  while (stack.length) {
    const at = stack.at(-1)!
    const below = children.get(at) ?? []
    const missing = below.filter((child) => !known.has(child))
    if (missing.length) stack.push(...missing)
    else {
      known.set(at, 1 + Math.max(0, ...below.map((child) => known.get(child)!)))
      stack.pop()
    }
  }
  return known.get(id)!
}

/** True when `id` stands above `from` already: an arrow back would make a ring. */
function above(from: string, id: string, parent: Map<string, string>): boolean {
  for (let at: string | undefined = from; at !== undefined; at = parent.get(at)) if (at === id) return true
  return false
}

export type Direction = 'up' | 'down' | 'left' | 'right'

/** The node that an arrow key goes to: along the lines first, else the nearest in that direction. */
export function neighbour(layout: Layout, id: string, direction: Direction): string | null {
  const here = layout.placed.find((p) => p.node.id === id)
  if (!here) return layout.placed[0]?.node.id ?? null
  const joined = new Set(
    layout.lines.flatMap((line) => (line.from === here ? [line.to.node.id] : line.to === here ? [line.from.node.id] : [])),
  )
  const ahead = layout.placed.filter((p) => {
    if (p === here) return false
    if (direction === 'up') return p.row < here.row
    if (direction === 'down') return p.row > here.row
    return direction === 'left' ? p.column < here.column : p.column > here.column
  })
  const cost = (p: Placed) => {
    const along = direction === 'up' || direction === 'down' ? Math.abs(p.row - here.row) : Math.abs(p.column - here.column)
    const across = direction === 'up' || direction === 'down' ? Math.abs(p.column - here.column) : Math.abs(p.row - here.row)
    return along + across * 2 - (joined.has(p.node.id) ? 1.5 : 0)
  }
  return ahead.sort((a, b) => cost(a) - cost(b))[0]?.node.id ?? null
}
