//! Which event types an endpoint takes: names, beginnings with a star, or all.

/** `Payment*` takes every type that begins so, later ones too. */
export function takes(pattern: string, type: string): boolean {
  return pattern.endsWith('*') ? type.startsWith(pattern.slice(0, -1)) : type === pattern
}

/** Those of today that any of the patterns takes. */
export function covers(patterns: string[], types: string[]): string[] {
  return types.filter((type) => patterns.some((pattern) => takes(pattern, type)))
}

/** Words of types that several share: what a star is good for. */
export function beginnings(types: string[]): string[] {
  const counts = new Map<string, number>()
  for (const type of types) {
    const word = /^[A-Z][a-z]+/.exec(type)?.[0]
    if (word && word !== type) counts.set(word, (counts.get(word) ?? 0) + 1)
  }
  return [...counts].filter(([, n]) => n > 1).map(([word]) => `${word}*`)
}

/** What a star takes already need not be named. */
export function add(patterns: string[], pattern: string): string[] {
  if (patterns.some((one) => takes(one, pattern))) return patterns
  return [...patterns.filter((one) => !takes(pattern, one)), pattern]
}

export function valid(pattern: string): boolean {
  return /^([A-Za-z][A-Za-z0-9._]*\*?|\*)$/.test(pattern)
}
