/** Whether `text` has `part` in it, however it is written. */
export function contains(text: string | null, part: string): boolean {
  return plain(text ?? '').includes(plain(part))
}

/** "Åkesson" is found by "akesson": nobody types marks in a hurry. */
function plain(text: string): string {
  return text.normalize('NFD').replace(/\p{M}/gu, '').toLocaleLowerCase()
}

/** What a machine reported, as a sentence among others: a capital first, a full stop last. A code keeps its letters. */
export function sentence(text: string): string {
  const trimmed = text.trim()
  const first = /^\p{Ll}[\p{L}’'-]*(?=[\s,:.]|$)/u.exec(trimmed)?.[0]
  const begun = first ? first.charAt(0).toLocaleUpperCase() + trimmed.slice(1) : trimmed
  return begun === '' || /[.!?”]$/u.test(begun) ? begun : `${begun}.`
}

/** As part of a list: without the full stop that a whole sentence ends with. */
export const clause = (text: string): string => text.trim().replace(/\.$/, '')
