-- What people write when they decide has an upper length, whoever's hand it comes from: a reason 1,000 signs, evidence 500. A
-- constraint `<field>_length` is told to the writer at that field (`app::error`).
--
-- A word of before that is longer is cut to it, so that its row can still be changed, as when a customer is erased.
--
-- Locks: the tables of what people asked, each against writers while it is read once; they are small.

update saga.command set reason = left(reason, 1000) where char_length(reason) > 1000;
update saga.command set refusal = left(refusal, 1000) where char_length(refusal) > 1000;
update saga.command set params = params || jsonb_build_object('evidence', left(params->>'evidence', 500)) where char_length(params->>'evidence') > 500;
update saga.batch set reason = left(reason, 1000) where char_length(reason) > 1000;
update saga.policy set reason = left(reason, 1000) where char_length(reason) > 1000;
update saga.provider_change set reason = left(reason, 1000) where char_length(reason) > 1000;
update saga.attention set closed_reason = left(closed_reason, 1100) where char_length(closed_reason) > 1100;
update read.rebuilds set reason = left(reason, 1000) where char_length(reason) > 1000;
update read.projection_skips set reason = left(reason, 1000) where char_length(reason) > 1000;
update read.projection_log set reason = left(reason, 1000) where char_length(reason) > 1000;
update read.generations set paused_why = left(paused_why, 1000) where char_length(paused_why) > 1000;
update delivery.retention set reason = left(reason, 1000) where char_length(reason) > 1000;
update delivery.allow_list set reason = left(reason, 1000) where char_length(reason) > 1000;

-- What a decision needs besides is small too: nothing else has a place there.
alter table saga.command
  add constraint reason_length check (char_length(reason) <= 1000),
  add constraint refusal_length check (char_length(refusal) <= 1000),
  add constraint evidence_length check (char_length(params->>'evidence') <= 500),
  add constraint params_length check (octet_length(params::text) <= 8000) not valid,
  add constraint client_length check (octet_length(client::text) <= 2000) not valid;
alter table saga.batch add constraint reason_length check (char_length(reason) <= 1000);
alter table saga.batch_item
  add constraint evidence_length check (char_length(params->>'evidence') <= 500),
  add constraint params_length check (octet_length(params::text) <= 8000);
alter table saga.policy
  add constraint reason_length check (char_length(reason) <= 1000),
  add constraint value_length check (octet_length(value::text) <= 20000) not valid;
alter table saga.provider_change add constraint reason_length check (char_length(reason) <= 1000);
alter table saga.attention add constraint reason_length check (char_length(closed_reason) <= 1100);
alter table admin.ask
  drop constraint ask_reason,
  add constraint ask_reason check (kind in ('stripe.saga', 'stripe.case') or char_length(reason) >= 10 is true),
  add constraint reason_length check (char_length(reason) <= 1000);
alter table read.rebuilds add constraint reason_length check (char_length(reason) <= 1000);
alter table read.projection_skips add constraint reason_length check (char_length(reason) <= 1000);
alter table read.projection_log add constraint reason_length check (char_length(reason) <= 1000);
alter table read.generations add constraint reason_length check (char_length(paused_why) <= 1000);
alter table delivery.retention add constraint reason_length check (char_length(reason) <= 1000);
alter table delivery.allow_list add constraint reason_length check (char_length(reason) <= 1000);
