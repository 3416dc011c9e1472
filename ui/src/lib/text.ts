/** Whether `text` has `part` in it, however it is written. */
export function contains(text: string | null, part: string): boolean {
  return plain(text ?? '').includes(plain(part))
}

/** "Åkesson" is found by "akesson": nobody types marks in a hurry. */
function plain(text: string): string {
  return text.normalize('NFD').replace(/\p{M}/gu, '').toLocaleLowerCase()
}
