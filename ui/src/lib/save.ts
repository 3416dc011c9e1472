//! Texts as files on this computer.

/** Characters of one file. What is not yet a file is held in memory. */
const FILE_CHARS = 48_000_000

function save(parts: Blob[], name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(new Blob(parts, { type: 'application/x-ndjson' }))
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

/** Lines of any number: they go into several files, one after the other, so that no more than one is ever held. */
export class LineFiles {
  /** Files that are saved. */
  files = 0
  private parts: Blob[] = []
  private held = 0

  /** `name` is without its ending. */
  constructor(
    private readonly name: string,
    private readonly chars = FILE_CHARS,
  ) {}

  /** Whole lines: no line is ever cut between two files. */
  write(lines: string): void {
    if (!lines) return
    this.parts.push(new Blob([lines]))
    this.held += lines.length
    if (this.held >= this.chars) this.end()
  }

  end(): void {
    if (!this.held) return
    this.files += 1
    save(this.parts, `${this.name}${this.files > 1 ? `-${this.files}` : ''}.ndjson`)
    this.parts = []
    this.held = 0
  }
}
