import type { Action } from '../backend/types'
import { t } from '../i18n'

/** Why an action cannot be taken, or null. One that is not on offer at all needs a right or another state. */
export function refusalOf(actions: Action[], name: string, refusal: string | null): string | null {
  if (refusal) return refusal
  const action = actions.find((a) => a.name === name)
  return action ? action.refused : t('action.not_offered')
}
