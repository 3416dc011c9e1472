//! What the filters show, on its way into files: a piece at a time, so that it can be watched and stopped.

import type { EventFilter, EventLines, ExportEvents } from '../../backend/types'
import { LineFiles } from '../../lib/save'
import type { Desk } from '../../live/desk'

export interface Exported {
  events: number
  files: number
}

export class EventExport {
  running = $state(false)
  events = $state(0)
  /** Of the log, as far as it was looked at. */
  percent = $state(0)
  /** Of the newest run. One that finds another here was stopped. */
  private turn = 0

  constructor(private readonly desk: Desk) {}

  /** `null`: it was stopped. Files that were full by then stay. */
  async run(filter: EventFilter, name: string): Promise<Exported | null> {
    const files = new LineFiles(name)
    const turn = ++this.turn
    this.running = true
    this.events = this.percent = 0
    try {
      let ask: ExportEvents | null = { filter, after: 0, upto: null }
      while (ask) {
        const piece: EventLines = await this.desk.call('export_events', ask)
        if (turn !== this.turn) return null
        const { lines, events, after, upto } = piece
        files.write(lines)
        this.events += events
        this.percent = upto ? Math.floor((after / upto) * 100) : 100
        ask = after < upto ? { filter, after, upto } : null
      }
      files.end()
      return { events: this.events, files: files.files }
    } finally {
      if (turn === this.turn) this.running = false
    }
  }

  stop(): void {
    this.turn += 1
    this.running = false
  }
}
