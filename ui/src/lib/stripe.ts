//! Where Stripe shows an object to whoever may sign in there. The desk never reads these pages.

import type { Session } from '../backend/types'

/** Of an id that Stripe gave: `pi_…`, `re_…`, `cs_…`, `evt_…`. What has no page of its own is searched for. */
export function dashboard(id: string, mode: Session['mode']): string {
  const kind = /^(pi|py|ch)_/.test(id) ? 'payments/' : /^evt_/.test(id) ? 'events/' : /^cs_/.test(id) ? 'checkout/sessions/' : 'search?query='
  return `https://dashboard.stripe.com/${mode === 'sandbox' ? 'test/' : ''}${kind}${encodeURIComponent(id)}`
}

/** Stripe's id in what an event or a call says: the payment before what was made of it. */
export function objectIn(data: Record<string, unknown>): string | null {
  const ids = Object.values(data).filter((value): value is string => typeof value === 'string' && /^(pi|py|ch|cs|re|pyr|du|dp)_/.test(value))
  return ids.find((id) => /^(pi|py)_/.test(id)) ?? ids[0] ?? null
}
