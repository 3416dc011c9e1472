//! Why somebody does what cannot be undone by pressing again. The desk asks for as much; the window says so before.

import { t } from '../i18n'

export const LEAST = 10
/** As much as the database takes. */
export const MOST = 1000
export const MOST_EVIDENCE = 500

/** What is missing before the reason is long enough, or null. */
export function tooShort(reason: string, least = LEAST): string | null {
  const left = least - reason.trim().length
  return left > 0 ? t('cancel.more', { n: left }) : null
}
