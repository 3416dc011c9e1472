/** A login for a name: its first word, with what a login may have. `Inês Carvalho` is `ines`. */
export function loginFor(name: string): string {
  const first = name.trim().split(/\s+/)[0] ?? ''
  const plain = first
    .normalize('NFKD')
    .toLowerCase()
    .replace(/ß/g, 'ss')
    .replace(/[^a-z0-9_]/g, '')
    .replace(/^[^a-z]+/, '')
  return plain.slice(0, 31)
}
