//! What went wrong, in words: the desk's own when it answered, the window's when nobody did.

import { DeskError, TokenNeeded, Unreachable } from '../backend/backend'
import type { AppError } from '../backend/types'
import { t } from '../i18n'

export interface Explained {
  message: string
  hint: string | null
  code: string
  id: string | null
  field: string | null
}

export function explain(error: unknown): Explained {
  if (error instanceof DeskError) return explainApp(error.app)
  if (error instanceof TokenNeeded) return own(t('error.token'), t('error.token.hint'), 'window.token_needed')
  if (error instanceof Unreachable) return own(t('error.unreachable'), t('error.unreachable.hint'), 'window.unreachable')
  return own(t('error.window'), t('error.window.hint'), String(error))
}

/** It was asked for by its id, and there is none. */
export const notThere = (error: unknown): boolean => error instanceof DeskError && error.app.code === 'request.not_found'

export function explainApp(app: AppError): Explained {
  return { message: app.message, hint: app.hint, code: app.code, id: app.correlation_id, field: app.field }
}

function own(message: string, hint: string, code: string): Explained {
  return { message, hint, code, id: null, field: null }
}

/** The first sentence stands out; what follows it is read by those who want to. */
export function lead(message: string): [first: string, rest: string] {
  const end = message.search(/[.!?](\s|$)/)
  return end < 0 ? [message, ''] : [message.slice(0, end + 1), message.slice(end + 1).trim()]
}
