//! What it means when an audit of the doctor finds something, in a sentence. The command line says more: which, and what to do.

import { t, type PlainKey } from '../../i18n'

const words: Record<string, PlainKey> = {
  'money.captured_equals_events': 'audit.captured',
  'money.refunds_within_captured': 'audit.refunds',
  'money.effect_unresolved_too_long': 'audit.unresolved',
  'ledger.equals_bookings': 'audit.ledger',
  'hold.live_claim_of_ended_booking': 'audit.kept_slot',
  'hold.confirmed_booking_without_claim': 'audit.no_slot',
  'hold.overlap': 'audit.overlap',
  'stream.version_gaps': 'audit.gaps',
  'stream.head_matches': 'audit.head',
  'stream.hash_chain': 'audit.chain',
  'store.partition_ahead': 'audit.partition',
  'log.assumptions': 'audit.assumptions',
  'server.old_snapshot': 'audit.snapshot',
  'backup.good_one_is_old': 'audit.backup',
  'saga.parked': 'audit.parked_saga',
  'saga.stuck_lease': 'audit.stuck_saga',
  'saga.terminal_with_open_effect': 'audit.open_effect',
  'delivery.stuck': 'audit.stuck_message',
  'delivery.unclear': 'audit.unclear',
  'delivery.owed_missing': 'audit.not_owed',
  'inbox.stuck': 'audit.inbox',
  'projection.parked': 'audit.parked_view',
  'projection.lag': 'audit.lag',
  'projection.ahead': 'audit.ahead',
  'customer.named_after_erasure': 'audit.named',
  'workers.none_alive': 'audit.no_worker',
  'connections.sum': 'audit.connections',
}

/** Empty for an audit that this window does not know: its name then stands alone. */
export function meaning(audit: string): string {
  const key = words[audit]
  return key ? t(key) : ''
}
