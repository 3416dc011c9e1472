//! Logins as people read them. The desk's private database makes two logins by itself, one for who sits here and one for
//! the work in the background; their names say nothing to anybody.

import type { Session } from '../backend/types'
import { t } from '../i18n'
import { names } from './names.svelte'

/** What the desk calls whoever sits at a computer whose login has no name; each language has its own word for it. */
const UNNAMED = 'You'

export function me({ login, display_name }: Session): string {
  return login.startsWith('bizing_desk_') && [login, UNNAMED].includes(display_name) ? t('me.you') : display_name
}

export function person(login: string, session: Session): string {
  if (login === session.login) return me(session)
  if (login.startsWith('bizing_work_')) return t('me.work')
  if (login.startsWith('bizing_desk_')) return t('me.desk')
  return names.of(login) ?? login
}

/** Both, where a page of facts has room for it. */
export function inFull(login: string | null): string {
  const name = login && names.of(login)
  return name && name !== login ? `${name} (${login})` : (login ?? '')
}

/** Their login, where something else is shown: two people may share a name. */
export function beside(login: string | null | undefined, session: Session): string | undefined {
  return login && person(login, session) !== login ? login : undefined
}
