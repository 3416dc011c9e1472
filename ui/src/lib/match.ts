//! What a payload must say, in one line: `price.amount_minor >= 10000 and mode = link`. It becomes the JSON that the desk
//! understands, and JSON may be typed as it is.

export type Found = { ok: Record<string, unknown> | null } | { wrong: 'json' | 'object' | 'line'; at: string }

const OPERATORS: Record<string, string> = { '>=': '$gte', '<=': '$lte', '!=': '$neq', '>': '$gt', '<': '$lt', 'starts with': '$startsWith', in: '$in' }
const CONDITION = /^\s*([\w$.-]+)\s*(>=|<=|!=|==|=|:|>|<|\bstarts with\b|\bin\b)\s*(.+?)\s*$/i

/** `whole`: only what is contained can be asked for, so there is no "more than". */
export function parseMatch(text: string, whole = false): Found {
  const typed = text.trim()
  if (!typed) return { ok: null }
  if (typed.startsWith('{')) {
    try {
      return { ok: JSON.parse(typed) as Record<string, unknown> }
    } catch {
      return { wrong: 'json', at: typed }
    }
  }
  const result: Record<string, unknown> = {}
  for (const part of conditions(typed)) {
    const found = CONDITION.exec(part)
    if (!found) return { wrong: 'line', at: part.trim() }
    const [, path, operator, raw] = found
    const value = valueOf(raw!)
    const op = OPERATORS[operator!.toLowerCase()]
    if (op && whole) return { wrong: 'object', at: operator! }
    if (!put(result, path!.split('.'), op ? { [op]: value } : value, op !== undefined)) return { wrong: 'line', at: part.trim() }
  }
  return { ok: result }
}

/** The line that means `value`, or its JSON where no line can. */
export function printMatch(value: Record<string, unknown> | null): string {
  if (value === null) return ''
  const found: string[] = []
  return flat(value, [], found) ? found.join(' and ') : JSON.stringify(value)
}

function flat(value: Record<string, unknown>, path: string[], found: string[]): boolean {
  for (const [key, inner] of Object.entries(value)) {
    if (key.startsWith('$') || key.includes('.')) return false
    const at = [...path, key]
    if (Array.isArray(inner)) return false
    if (typeof inner !== 'object' || inner === null) {
      found.push(`${at.join('.')} = ${said(inner)}`)
      continue
    }
    const keys = Object.keys(inner)
    const words = keys.map((name) => Object.entries(OPERATORS).find(([, op]) => op === name)?.[0])
    if (keys.length && words.every((word) => word !== undefined)) {
      keys.forEach((name, i) => found.push(`${at.join('.')} ${words[i]} ${said((inner as Record<string, unknown>)[name])}`))
    } else if (!flat(inner as Record<string, unknown>, at, found)) return false
  }
  return true
}

function said(value: unknown): string {
  return typeof value === 'string' && /^[\p{L}_][\p{L}\w./@-]*$/u.test(value) && !/^(true|false|null)$/.test(value) ? value : JSON.stringify(value)
}

/** Cut at "and" and at commas, but not within quotes or brackets. */
function conditions(text: string): string[] {
  const found: string[] = ['']
  let quote = false
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!
    if (char === '"' && text[i - 1] !== '\\') quote = !quote
    if (!quote && char === '[') depth++
    if (!quote && char === ']') depth--
    const word = !quote && depth === 0 ? /^(\s+and\s+|\s*,\s*)/i.exec(text.slice(i)) : null
    if (word) {
      found.push('')
      i += word[0].length - 1
    } else found[found.length - 1] += char
  }
  return found
}

function valueOf(raw: string): unknown {
  try {
    return JSON.parse(raw)
  } catch {
    return raw
  }
}

function put(into: Record<string, unknown>, path: string[], value: unknown, merge: boolean): boolean {
  const [key, ...rest] = path
  if (!key) return false
  if (rest.length === 0) {
    const before = into[key]
    if (before === undefined) into[key] = value
    else if (merge && typeof before === 'object' && before !== null) Object.assign(before, value)
    else return false
    return true
  }
  const inner = (into[key] ??= {})
  return typeof inner === 'object' && inner !== null && put(inner as Record<string, unknown>, rest, value, merge)
}
