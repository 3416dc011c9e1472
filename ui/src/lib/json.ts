export interface Part {
  kind: 'key' | 'string' | 'number' | 'other' | 'plain'
  text: string
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(true|false|null)/g

/** Pretty JSON, line by line and coloured by kind; text only, so nothing in a payload can become markup. */
export function lines(value: unknown): Part[][] {
  return JSON.stringify(value, null, 2)
    .split('\n')
    .map((line) => {
      const parts: Part[] = []
      let end = 0
      for (const match of line.matchAll(TOKEN)) {
        if (match.index > end) parts.push({ kind: 'plain', text: line.slice(end, match.index) })
        const [whole, string, colon, num] = match
        if (string !== undefined && colon !== undefined) {
          parts.push({ kind: 'key', text: string }, { kind: 'plain', text: colon })
        } else {
          parts.push({ kind: string !== undefined ? 'string' : num !== undefined ? 'number' : 'other', text: whole })
        }
        end = match.index + whole.length
      }
      if (end < line.length) parts.push({ kind: 'plain', text: line.slice(end) })
      return parts
    })
}
