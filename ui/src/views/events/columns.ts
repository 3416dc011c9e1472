//! Which columns fit, and how wide they are.

export type Column = 'position' | 'time' | 'type' | 'stream' | 'actor' | 'conversation'

const order: [column: Column, width: string, from: number][] = [
  ['position', '104px', 0],
  ['time', '118px', 0],
  ['type', 'minmax(0, 1.6fr)', 0],
  ['stream', 'minmax(0, 1fr)', 560],
  ['actor', 'minmax(0, 0.7fr)', 760],
  ['conversation', '130px', 900],
]

export function fitting(width: number): Column[] {
  return order.filter(([, , from]) => width >= from).map(([column]) => column)
}

export function template(shown: Column[], width: number): string {
  return order
    .filter(([column]) => shown.includes(column))
    .map(([, wide]) => (width < 440 && wide.endsWith('px') ? '92px' : wide))
    .join(' ')
}
