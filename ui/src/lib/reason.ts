//! Why somebody does what cannot be undone by pressing again. The desk asks for as much; the window says so before.

import { t } from '../i18n'

export const LEAST = 10

/** What is missing before the reason is long enough, or null. */
export function tooShort(reason: string, least = LEAST): string | null {
  const left = least - reason.trim().length
  return left > 0 ? t('cancel.more', { n: left }) : null
}
