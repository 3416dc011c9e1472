//! Die Wörter der Anfechtungen.

import type { disputes as english } from './en-disputes'
import type { Catalogue } from './index'

export const disputes: Pick<Catalogue, keyof typeof english> = {
  'state.payment.disputed': 'Angefochten',
  'state.payment.dispute_lost': 'Anfechtung verloren',
  'says.money.disputed': 'die Bank des Kunden ficht die {amount} an',
  'says.money.dispute_lost': 'die Bank hat die {amount} zurückgeholt',
  'story.disputed': 'Die Bank des Kunden ficht {amount} an',
  'story.inquiry': 'Die Bank des Kunden fragt nach {amount}',
  'story.dispute_withdrawn': 'Die Bank hat {amount} zurückgeholt',
  'story.dispute_fee': 'Gebühr von Stripe {amount}',
  'story.dispute_reinstated': 'Die Bank hat {amount} zurückgegeben',
  'story.dispute_closed': 'Die Anfechtung ist vorbei: {outcome}',
  'disputes': 'Anfechtungen',
  'dispute.until': 'Belege bis {time}',
  'dispute.due': 'Belege bis {day}, noch {time}',
  'dispute.overdue': 'Die Zeit für Belege ist seit {day} vorbei',
  'dispute.answered': 'Belege sind eingereicht',
  'dispute.unseen': 'Noch nicht angesehen',
  'dispute.so': 'Eine Anfechtung wird bei Stripe beantwortet, mit dem, was die Geschichte der Buchung zeigt. Bis sie vorbei ist, wird nichts daneben erstattet.',
  'dispute.is.needs_response': 'Braucht eine Antwort',
  'dispute.is.under_review': 'Die Bank prüft die Belege',
  'dispute.is.warning_needs_response': 'Die Bank fragt, kein Geld hat sich bewegt',
  'dispute.is.warning_closed': 'die Anfrage führte zu nichts',
  'dispute.is.won': 'gewonnen',
  'dispute.is.lost': 'verloren',
  'dispute.is.prevented': 'vorher beigelegt',
  'dispute.why.fraudulent': 'angeblich Betrug',
  'dispute.why.not_received': 'angeblich nicht erhalten',
  'dispute.why.unacceptable': 'angeblich nicht wie vereinbart',
  'dispute.why.credit_not_processed': 'eine Erstattung fehlt angeblich',
  'dispute.why.duplicate': 'angeblich doppelt berechnet',
  'dispute.why.unrecognized': 'vom Kunden nicht erkannt',
  'dispute.why.canceled': 'angeblich storniert',
  'dispute.why.general': 'ohne Grund',
}
