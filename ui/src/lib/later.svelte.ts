/** A value that follows another one once that has been still for a moment: what somebody types, as a question. */
export function later<T>(read: () => T, ms: number): { readonly value: T } {
  let value = $state.raw(read())
  $effect(() => {
    const next = read()
    const timer = setTimeout(() => (value = next), ms)
    return () => clearTimeout(timer)
  })
  return {
    get value() {
      return value
    },
  }
}
