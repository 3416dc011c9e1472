//! Logins as people read them. The desk's private database makes two logins by itself, one for who sits here and one for
//! the work in the background; their names say nothing to anybody.

import type { Session } from '../backend/types'
import { t } from '../i18n'
import { names } from './names.svelte'

export function person(login: string, session: Session): string {
  if (login === session.login) return session.profile !== 'server' && session.display_name === login ? t('me.you') : session.display_name
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
