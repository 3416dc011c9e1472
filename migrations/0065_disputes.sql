-- Disputes: the bank of who paid asks for the money back. What the provider tells rings; a worker looks at the dispute itself and
-- writes what is new into the booking's stream. A person has a case with the last day for evidence until the dispute is over.
--
-- Locks: none on existing tables; `delivery.hand_over` is replaced (from 0046).

insert into core.event_types (name, schema_version)
  values ('PaymentDisputed', 1), ('DisputeFundsWithdrawn', 1), ('DisputeFundsReinstated', 1), ('DisputeClosed', 1);
insert into core.event_rights (name, group_name)
  values ('PaymentDisputed', 'worker'), ('DisputeFundsWithdrawn', 'worker'), ('DisputeFundsReinstated', 'worker'), ('DisputeClosed', 'worker');

-- One row a dispute, from the first time that anything was told of it. `told` counts that, so that what is told during a look is
-- looked at once more.
create table saga.disputes (
  dispute_id text primary key,
  saga_id uuid not null references saga.instance,
  booking_id uuid not null,
  told bigint not null default 1,
  look_at timestamptz default now(),         -- null: it is over
  tries int not null default 0,              -- looks in a row without an answer
  told_at timestamptz not null default now(),
  seen_at timestamptz,
  status text,                               -- as the provider has it; null: not seen yet
  reason text,
  amount_minor bigint,
  currency text,
  evidence_due_at timestamptz,
  submissions int,
  closed_at timestamptz,
  problem text
);
create index disputes_due on saga.disputes (look_at) where look_at is not null;
create index disputes_booking on saga.disputes (booking_id);
create index disputes_open on saga.disputes (evidence_due_at) where closed_at is null;
create view read.disputes_v1 as
  select dispute_id, saga_id, booking_id, told_at, seen_at, status, reason, amount_minor, currency, evidence_due_at, submissions, closed_at, problem
    from saga.disputes;
grant select, insert, update on saga.disputes to bizing_worker;
grant select on read.disputes_v1 to bizing_viewer, bizing_worker;

-- As in 0046. What is told of a dispute concerns a saga that is over as well: it is looked at for itself.
create or replace function delivery.hand_over(p_due bigint[], p_known text[]) returns void language sql security definer
  set search_path = pg_catalog, delivery, saga as $$
  with due as materialized (
    select i.inbox_id, i.source, i.external_id, i.kind, i.object_id, i.tries, i.problem,
           i.payload #>> '{data,object,metadata,saga_id}' as named, i.payload #>> '{data,object,payment_intent}' as intent,
           i.payload #>> '{data,object,charge}' as charge
      from delivery.inbox i where i.inbox_id = any(p_due)),
  found as materialized (
    select d.inbox_id, d.source, d.external_id, d.kind, d.object_id, s.saga_id, s.booking_id, s.finished_at is not null as over,
           exists (select from delivery.inbox_commands c where c.inbox_id = d.inbox_id) as again, d.kind like 'charge.dispute.%' as contests
      from due d
      left join lateral (
        select i.saga_id, i.booking_id, i.finished_at from saga.instance i
         where i.saga_id = (case when d.named ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then d.named::uuid end)
        union all
        select i.saga_id, i.booking_id, i.finished_at
          from saga.effect e join saga.instance i using (saga_id)
         where e.provider_object = any(array[d.object_id, d.intent, d.charge])
         limit 1) s on true),
  contested as (
    insert into saga.disputes (dispute_id, saga_id, booking_id)
      select distinct on (f.object_id) f.object_id, f.saga_id, f.booking_id from found f
       where f.contests and f.saga_id is not null and f.object_id is not null order by f.object_id
      on conflict (dispute_id) do update set told = disputes.told + 1, told_at = now(), look_at = now(), tries = 0),
  signalled as (
    insert into saga.signal (signal_id, correlation_key, type, payload, saga_id)
      select f.external_id, f.source || ':' || coalesce(f.object_id, ''), f.kind, '{}', f.saga_id from found f where f.saga_id is not null
      on conflict (signal_id) do update set consumed_at = null, consumed_version = null
        where exists (select from found f where f.external_id = excluded.signal_id and f.again)),
  -- In one order, since two workers may hand over events about the same sagas.
  asleep as materialized (
    select i.saga_id from saga.instance i
     where i.saga_id = any(array(select f.saga_id from found f where f.saga_id is not null and not f.contests)) and i.state = 'waiting' and saga.step_at(saga.spec_of(i.definition, i.def_version), i."cursor" + 1) is not null and i.wake_at > now()
     order by i.saga_id for no key update),
  woken as (update saga.instance i set wake_at = now() from asleep a where i.saga_id = a.saga_id)
  update delivery.inbox i
     set processed_at = now(), problem = null, saga_id = f.saga_id, booking_id = f.booking_id,
         state = case when f.saga_id is null then case when f.kind = any(p_known) then 'not_ours' else 'kept' end
                      when f.over and not f.contests then 'nothing_new' else 'done' end
    from found f where i.inbox_id = f.inbox_id
$$;
