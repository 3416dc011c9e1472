//! Which event types an endpoint takes: names, beginnings with a star, or all.

/** `Payment*` takes every type that begins so, later ones too. */
export function takes(pattern: string, type: string): boolean {
  return pattern.endsWith('*') ? type.startsWith(pattern.slice(0, -1)) : type === pattern
}

/** Those of today that any of the patterns takes. */
export function covers(patterns: string[], types: string[]): string[] {
  return types.filter((type) => patterns.some((pattern) => takes(pattern, type)))
}

/** Words of types that several share, as many as they share (`NoShow*`, as `No*` would take notifications too): what a star is good for. */
export function beginnings(types: string[]): string[] {
  const shared = new Map<string, string[][]>()
  for (const type of types) {
    const words = type.match(/[A-Z][a-z]+/g) ?? []
    if (words.length > 1) shared.set(words[0]!, [...(shared.get(words[0]!) ?? []), words])
  }
  return [...shared.values()].filter((all) => all.length > 1).map((all) => `${common(all).join('')}*`)
}

function common([first = [], ...rest]: string[][]): string[] {
  const end = first.findIndex((word, i) => rest.some((words) => words[i] !== word))
  return end < 0 ? first : first.slice(0, end)
}

/** What a star takes already need not be named. */
export function add(patterns: string[], pattern: string): string[] {
  if (patterns.some((one) => takes(one, pattern))) return patterns
  return [...patterns.filter((one) => !takes(pattern, one)), pattern]
}

export function valid(pattern: string): boolean {
  return /^([A-Za-z][A-Za-z0-9._]*\*?|\*)$/.test(pattern)
}
