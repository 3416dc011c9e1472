//! A saga with everything known of it, as a file for whoever helps. Who the customer is does not leave the desk.

import type { SagaPage } from '../../backend/types'

const HIDDEN = '(left out)'

export function caseOf(page: SagaPage): Record<string, unknown> {
  const copy = structuredClone(page)
  copy.email = copy.email === null ? null : HIDDEN
  copy.row.booking.customer.name = HIDDEN
  const text = JSON.stringify(copy).replace(/[^\s"<>,;:()\\]+@[^\s"<>,;:()\\]+/g, '(address)')
  return { kind: 'bizing-desk saga case', version: 1, ...(JSON.parse(text) as Record<string, unknown>) }
}

export function saveCase(page: SagaPage): void {
  const blob = new Blob([JSON.stringify(caseOf(page), null, 2)], { type: 'application/json' })
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = `saga-${page.row.booking.reference}.json`
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}
