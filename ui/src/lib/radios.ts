/** Arrow keys in a group of `role="radio"` buttons choose, as everybody's radio buttons do; Tab enters and leaves it. */
export function radios(group: HTMLElement): () => void {
  const all = () => [...group.querySelectorAll<HTMLElement>('[role="radio"]')]
  const rove = () => {
    const buttons = all()
    const chosen = buttons.find((button) => button.getAttribute('aria-checked') === 'true') ?? buttons[0]
    for (const button of buttons) button.tabIndex = button === chosen ? 0 : -1
  }
  const press = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key]
    if (!step) return
    const buttons = all()
    const at = buttons.indexOf(event.target as HTMLElement)
    const next = buttons[(at + step + buttons.length) % buttons.length]
    if (at < 0 || !next) return
    event.preventDefault()
    event.stopPropagation()
    next.focus()
    next.click()
  }
  rove()
  const watch = new MutationObserver(rove)
  watch.observe(group, { subtree: true, childList: true, attributeFilter: ['aria-checked'] })
  group.addEventListener('keydown', press)
  return () => {
    watch.disconnect()
    group.removeEventListener('keydown', press)
  }
}
