//! Wall times of the place as instants, by the zone data of the webview: the desk asks for instants, people for wall times.

const made = new Map<string, Intl.DateTimeFormat>()
function parts(zone: string): Intl.DateTimeFormat {
  const known = made.get(zone)
  if (known) return known
  const format = new Intl.DateTimeFormat('en-GB', {
    timeZone: zone,
    hourCycle: 'h23',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  })
  made.set(zone, format)
  return format
}

/** `2026-11-24T11:42:12` */
export function wallIn(utc: number, zone: string): string {
  const found = Object.fromEntries(parts(zone).formatToParts(new Date(utc)).map((part) => [part.type, part.value]))
  return `${found.year}-${found.month}-${found.day}T${found.hour}:${found.minute}:${found.second}`
}

/** The instant when the clock on the wall shows this. Of a time that comes twice, the first. */
export function utcOf(wall: string, zone: string): string {
  const shown = Date.parse(`${wall.length === 16 ? `${wall}:00` : wall}Z`)
  const offset = (at: number) => Date.parse(`${wallIn(at, zone)}Z`) - at
  // The offset may change between the guess and the truth: the second look settles it.
  const guess = shown - offset(shown)
  return new Date(shown - offset(guess)).toISOString()
}
