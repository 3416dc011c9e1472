//! What cancelling will do, in its order, told from what is known now. The desk decides again when it does it.

import type { BookingPage } from '../../backend/types'
import { t } from '../../i18n'
import { money, range } from '../../i18n/format'
import type { Line } from '../../ui/ReasonDialog.svelte'

export function plan(page: BookingPage): Line[] {
  const { row, money: line, customer } = page
  const lines: Line[] = [
    {
      icon: 'ban',
      what: t('plan.ends'),
      so: t('plan.ends.so', { range: range(row.starts, row.ends), who: row.resources.map((r) => r.name).join(', ') }),
      amount: null,
    },
  ]
  if (line.kept.amount_minor > 0) {
    lines.push({ icon: 'undo-2', what: t('plan.refund'), so: t('plan.refund.so'), amount: money(line.kept) })
  } else if (line.unknown || row.payment === 'unknown') {
    lines.push({ icon: 'circle-question-mark', what: t('plan.unknown'), so: t('plan.unknown.so'), amount: null })
  } else if (line.authorised.amount_minor > 0 && row.payment === 'authorised') {
    lines.push({ icon: 'undo-2', what: t('plan.void'), so: t('plan.void.so'), amount: money(line.authorised) })
  } else if (page.pay_url !== null) {
    lines.push({ icon: 'link', what: t('plan.link'), so: t('plan.link.so'), amount: null })
  }
  lines.push(
    customer.email
      ? { icon: 'mail', what: t('plan.mail', { to: customer.email }), so: t('plan.mail.so'), amount: null }
      : { icon: 'mail-x', what: t('plan.no_mail'), so: t('plan.no_mail.so'), amount: null },
  )
  return lines
}
