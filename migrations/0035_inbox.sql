-- The inbox, whole: each arrival with how it came and whether it is genuine, what became of each event, quarantine for what
-- cannot be processed, and the provider's list of events read without gaps.
--
-- An event of the provider is one row of `delivery.inbox`, however often and in whatever way it comes. An arrival is one
-- coming of it, or of something that only says to be one. What was refused leaves no body behind: whoever sends it, and what
-- stands in it, is nobody's business here; its length, its hash and the names that it claims stay.
--
-- Locks: `delivery.inbox` exclusively while it gets its columns and indexes; a row in a few microseconds each.

drop view read.inbox_v1;
alter table delivery.inbox
  add state text not null default 'waiting' check (state in ('waiting', 'done', 'nothing_new', 'not_ours', 'kept', 'quarantined')),
  add tries int not null default 0,
  add next_at timestamptz not null default now(),
  add problem text,
  add saga_id uuid,
  add booking_id uuid;
update delivery.inbox i
   set state = case when i.result = 'handed to its saga' then 'done' else 'not_ours' end,
       saga_id = s.saga_id
  from delivery.inbox x left join saga.signal s on s.signal_id = x.external_id
 where x.inbox_id = i.inbox_id and i.processed_at is not null;
update delivery.inbox i set booking_id = s.booking_id from saga.instance s where s.saga_id = i.saga_id;
alter table delivery.inbox
  drop column result,
  add constraint processed check ((processed_at is null) = (state in ('waiting', 'quarantined')));
drop index delivery.inbox_open;
create index inbox_due on delivery.inbox (next_at, inbox_id) where state = 'waiting';
create index inbox_quarantined on delivery.inbox (inbox_id) where state = 'quarantined';
create index inbox_booking on delivery.inbox (booking_id) where booking_id is not null;
create index inbox_contains on delivery.inbox using gin (payload jsonb_path_ops);

create table delivery.arrivals (
  arrival_id bigint generated always as identity primary key,
  inbox_id bigint references delivery.inbox on delete set null,
  source text not null check (source in ('stripe')),
  via text not null check (via in ('webhook', 'poll')),
  received_at timestamptz not null default now(),
  external_id text,                        -- of a forged one: what it says to be
  kind text,
  object_id text,
  verdict text not null check (verdict in ('asked', 'genuine', 'too_old', 'from_the_future', 'forged', 'malformed')),
  result text not null check (result in ('kept', 'duplicate', 'not_taken')),
  bytes int,
  sha256 bytea check (octet_length(sha256) = 32),
  secret_no smallint,                      -- which of our secrets made it, from 1
  secrets smallint,
  signed_at timestamptz,
  skew_s double precision,                 -- the receiving computer's clock less the provider's, when that was known
  receiver text,
  problem text,
  constraint only_genuine_ones_are_taken check (result = 'not_taken' or verdict in ('asked', 'genuine')),
  constraint taken_ones_are_in_the_inbox check (result = 'not_taken' or external_id is not null)
);
create index arrivals_inbox on delivery.arrivals (inbox_id) where inbox_id is not null;
create index arrivals_external on delivery.arrivals (external_id) where external_id is not null;
create index arrivals_odd on delivery.arrivals (arrival_id) where result <> 'kept';
create index arrivals_at on delivery.arrivals (received_at);
create index arrivals_object on delivery.arrivals (object_id) where object_id is not null;
insert into delivery.arrivals (inbox_id, source, via, received_at, external_id, kind, object_id, verdict, result)
  select inbox_id, source, via, received_at, external_id, kind, object_id, case via when 'poll' then 'asked' else 'genuine' end, 'kept'
    from delivery.inbox order by inbox_id;

-- Who had something processed again, and why.
create table delivery.inbox_commands (
  inbox_id bigint not null references delivery.inbox on delete cascade,
  at timestamptz not null default clock_timestamp(),
  by name not null default session_user,
  reason text not null check (length(btrim(reason)) between 1 and 500),
  primary key (inbox_id, at)
);

alter table delivery.poll_cursor
  add cursor_created timestamptz,
  add polls boolean,
  add every_s int,
  add asked_at timestamptz,
  add skew_s double precision,
  add webhook_since timestamptz,
  -- A lost cursor: the whole list is read again, a page a time. `backfill_after` is how far back that is; its first event will
  -- be the cursor.
  add backfill_first text,
  add backfill_first_created timestamptz,
  add backfill_after text,
  add overlap_at timestamptz;              -- when the last minutes were read again, for events that became visible late

-- One round trip: keeps the events, and how each of them came. Duplicates by poll leave nothing behind, since every poll reads
-- some again. The first of equal ones within one call is the one that counts.
create function delivery.take_in(
  p_source text, p_via text, p_id text[], p_kind text[], p_object text[], p_version text[], p_payload jsonb[], p_created timestamptz[],
  p_bytes int, p_sha256 bytea, p_secret_no smallint, p_secrets smallint, p_signed timestamptz, p_skew double precision, p_receiver text)
returns int language sql security definer set search_path = pg_catalog, delivery as $$
  with came as (
    select x.*, row_number() over (partition by x.id order by x.no) as nth
      from unnest(p_id, p_kind, p_object, p_version, p_payload, p_created) with ordinality as x(id, kind, object, version, payload, created, no)),
  fresh as (
    insert into delivery.inbox (source, external_id, kind, object_id, api_version, payload, created_at, via)
      select p_source, c.id, c.kind, c.object, c.version, c.payload, c.created, p_via from came c where c.nth = 1 order by c.no
      on conflict (source, external_id) do nothing returning inbox_id, external_id),
  noted as (
    insert into delivery.arrivals (inbox_id, source, via, external_id, kind, object_id, verdict, result, bytes, sha256, secret_no, secrets,
                                   signed_at, skew_s, receiver)
      select coalesce(f.inbox_id, i.inbox_id), p_source, p_via, c.id, c.kind, c.object, case p_via when 'poll' then 'asked' else 'genuine' end,
             case when f.inbox_id is null or c.nth > 1 then 'duplicate' else 'kept' end, p_bytes, p_sha256, p_secret_no, p_secrets, p_signed,
             p_skew, p_receiver
        from came c
        left join fresh f on f.external_id = c.id
        left join delivery.inbox i on i.source = p_source and i.external_id = c.id
       where p_via <> 'poll' or (f.inbox_id is not null and c.nth = 1)
       order by c.no)
  select count(*)::int from fresh
$$;

-- Something that is not taken. Anybody may send such a thing, so only so many a minute are written down; the rest shows in the
-- process's own counters.
create function delivery.refuse(
  p_source text, p_verdict text, p_id text, p_kind text, p_object text, p_bytes int, p_sha256 bytea, p_secret_no smallint, p_secrets smallint,
  p_signed timestamptz, p_skew double precision, p_receiver text, p_problem text)
returns boolean language sql security definer set search_path = pg_catalog, delivery as $$
  with written as (
    insert into delivery.arrivals (source, via, external_id, kind, object_id, verdict, result, bytes, sha256, secret_no, secrets, signed_at, skew_s,
                                   receiver, problem)
      select p_source, 'webhook', left(p_id, 100), left(p_kind, 100), left(p_object, 100), p_verdict, 'not_taken', p_bytes, p_sha256, p_secret_no,
             p_secrets, p_signed, p_skew, p_receiver, left(p_problem, 500)
       where (select count(*) from (select from delivery.arrivals a where a.result <> 'kept' and a.received_at > now() - interval '1 minute' limit 121) x)
             < case when p_verdict in ('too_old', 'from_the_future') then 120 else 60 end
      returning 1)
  select exists (select from written)
$$;

-- Hands what is due to the sagas concerned, in order of arrival: by what we wrote into the object when we asked for it, else by the
-- objects that our effects know. A signal is kept until its saga consumes it, so an early one is not lost; a saga that waits is
-- woken. Order, doubles and what the payload says do not matter, since the saga asks the provider for the object itself. Therefore
-- one that cannot be processed holds up nobody, also not those about the same object.
create function delivery.process_inbox(p_limit int, p_known text[]) returns int language plpgsql security definer
  set search_path = pg_catalog, delivery, saga as $$
declare
  due bigint[];
  one bigint;
  n int := 0;
begin
  select array_agg(x.inbox_id) into due
    from (select i.inbox_id from delivery.inbox i where i.state = 'waiting' and i.next_at <= now() order by i.next_at, i.inbox_id limit p_limit for update skip locked) x;
  if due is null then
    return 0;
  end if;
  begin
    perform delivery.hand_over(due, p_known);
    return cardinality(due);
  exception when data_exception or integrity_constraint_violation or program_limit_exceeded or syntax_error_or_access_rule_violation then
    -- One of them is bad: each by itself, and the bad one later again, then never by itself.
    null;
  end;
  foreach one in array due loop
    begin
      perform delivery.hand_over(array[one], p_known);
    exception when data_exception or integrity_constraint_violation or program_limit_exceeded or syntax_error_or_access_rule_violation then
      update delivery.inbox i
         set tries = i.tries + 1, problem = left(sqlerrm, 500), next_at = now() + least(interval '1 second' * 2 ^ i.tries, interval '5 minutes'),
             state = case when i.tries + 1 >= 8 then 'quarantined' else 'waiting' end
       where i.inbox_id = one;
    end;
    n := n + 1;
  end loop;
  return n;
end $$;

create function delivery.hand_over(p_due bigint[], p_known text[]) returns void language sql security definer
  set search_path = pg_catalog, delivery, saga as $$
  with due as materialized (
    select i.inbox_id, i.source, i.external_id, i.kind, i.object_id, i.tries, i.problem,
           i.payload #>> '{data,object,metadata,saga_id}' as named, i.payload #>> '{data,object,payment_intent}' as intent,
           i.payload #>> '{data,object,charge}' as charge
      from delivery.inbox i where i.inbox_id = any(p_due)),
  found as materialized (
    select d.inbox_id, d.source, d.external_id, d.kind, d.object_id, s.saga_id, s.booking_id, s.finished_at is not null as over,
           exists (select from delivery.inbox_commands c where c.inbox_id = d.inbox_id) as again
      from due d
      left join lateral (
        select i.saga_id, i.booking_id, i.finished_at from saga.instance i
         where i.saga_id = (case when d.named ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then d.named::uuid end)
        union all
        select i.saga_id, i.booking_id, i.finished_at
          from saga.effect e join saga.instance i using (saga_id)
         where e.provider_object = any(array[d.object_id, d.intent, d.charge])
         limit 1) s on true),
  signalled as (
    insert into saga.signal (signal_id, correlation_key, type, payload, saga_id)
      select f.external_id, f.source || ':' || coalesce(f.object_id, ''), f.kind, '{}', f.saga_id from found f where f.saga_id is not null
      on conflict (signal_id) do update set consumed_at = null, consumed_version = null
        where exists (select from found f where f.external_id = excluded.signal_id and f.again)),
  -- In one order, since two workers may hand over events about the same sagas.
  asleep as materialized (
    select i.saga_id from saga.instance i
     where i.saga_id = any(array(select f.saga_id from found f where f.saga_id is not null)) and i.state = 'waiting' and i."cursor" < 4 and i.wake_at > now()
     order by i.saga_id for no key update),
  woken as (update saga.instance i set wake_at = now() from asleep a where i.saga_id = a.saga_id)
  update delivery.inbox i
     set processed_at = now(), problem = null, saga_id = f.saga_id, booking_id = f.booking_id,
         state = case when f.saga_id is null then case when f.kind = any(p_known) then 'not_ours' else 'kept' end
                      when f.over then 'nothing_new' else 'done' end
    from found f where i.inbox_id = f.inbox_id
$$;

-- Retention: an arrival is looked at for 90 days, a refused one for 30. The provider tells of nothing older than 30 days, so that
-- an event which is forgotten here cannot come again. At most so many in one call.
create function delivery.forget_arrivals(p_most int) returns int language sql security definer set search_path = pg_catalog, delivery as $$
  with old as (
    delete from delivery.arrivals a where a.arrival_id = any(array(
      select x.arrival_id from delivery.arrivals x
       where x.received_at < now() - interval '30 days' and (x.result = 'not_taken' or x.received_at < now() - interval '90 days')
       order by x.received_at limit p_most)) returning 1),
  done as (
    delete from delivery.inbox i where i.inbox_id = any(array(
      select x.inbox_id from delivery.inbox x where x.received_at < now() - interval '90 days' and x.processed_at is not null
       order by x.inbox_id limit p_most)) returning 1)
  select (select count(*) from old)::int + (select count(*) from done)::int
$$;

create view read.arrivals_v1 as
  select a.arrival_id, a.inbox_id, a.source, a.via, a.received_at, a.external_id, a.kind, a.object_id, a.verdict, a.result as arrival_result, a.bytes, a.secret_no, a.secrets, a.signed_at, a.skew_s, a.receiver,
         case when a.result = 'kept' then i.state else a.result end as result,
         coalesce(i.problem, a.problem) as problem, coalesce(i.tries, 0) as tries, i.next_at, i.api_version, i.created_at, i.processed_at,
         coalesce(i.saga_id, k.saga_id) as saga_id, coalesce(i.booking_id, k.booking_id) as booking_id
    from delivery.arrivals a
    left join delivery.inbox i on i.inbox_id = a.inbox_id
    left join delivery.inbox k on a.inbox_id is null and k.source = a.source and k.external_id = a.external_id;
create view read.inbox_v1 as
  select inbox_id, source, external_id, kind, object_id, via, created_at, received_at, processed_at, state as result, saga_id, booking_id from delivery.inbox;
create view read.inbox_commands_v1 as select inbox_id, at, by, reason from delivery.inbox_commands;
create view read.inbox_sources_v1 as
  select source, checked_at, problem, cursor, cursor_created, polls, every_s, skew_s, webhook_since, backfill_first is not null as catches_up
    from delivery.poll_cursor where source in ('stripe');

-- What stands in an event: who paid and how to reach them, so not for everybody who may look.
create function api.inbox_payload(p_inbox bigint) returns jsonb language sql stable security definer set search_path = pg_catalog, delivery as $$
  select payload from delivery.inbox where inbox_id = p_inbox
$$;
create function api.inbox_containing(p_part jsonb, p_most int) returns setof bigint language sql stable security definer
  set search_path = pg_catalog, delivery as $$
  select i.inbox_id from delivery.inbox i where i.payload @> p_part order by i.inbox_id desc limit least(p_most, 10000)
$$;

-- Once more through the same door. What the saga knows already stays as it is.
create function api.reprocess_inbox(p_arrivals bigint[], p_reason text) returns int language plpgsql security definer
  set search_path = pg_catalog, delivery as $$
declare
  n int;
begin
  if cardinality(p_arrivals) > 500 then
    raise exception 'at most 500 at once' using errcode = 'program_limit_exceeded';
  end if;
  with chosen as (
    select distinct a.inbox_id from delivery.arrivals a where a.arrival_id = any(p_arrivals) and a.inbox_id is not null),
  again as (
    update delivery.inbox i set state = 'waiting', processed_at = null, tries = 0, next_at = now(), problem = null
      from chosen c where i.inbox_id = c.inbox_id returning i.inbox_id),
  told as (insert into delivery.inbox_commands (inbox_id, reason) select inbox_id, p_reason from again returning 1)
  select count(*) into n from told;
  return n;
end $$;

-- Lets whoever polls do it now.
create function api.ask_source(p_source text) returns boolean language sql security definer set search_path = pg_catalog, delivery as $$
  with asked as (update delivery.poll_cursor set asked_at = now() where source = p_source and polls returning 1) select exists (select from asked)
$$;

revoke all on function delivery.take_in, delivery.refuse, delivery.process_inbox, delivery.hand_over, delivery.forget_arrivals,
  api.inbox_payload, api.inbox_containing, api.reprocess_inbox, api.ask_source from public;
grant execute on function delivery.take_in, delivery.refuse, delivery.process_inbox, delivery.forget_arrivals to bizing_worker;
grant execute on function api.inbox_payload, api.inbox_containing, api.ask_source to bizing_staff;
grant execute on function api.reprocess_inbox to bizing_manager;
grant select on read.arrivals_v1, read.inbox_v1, read.inbox_commands_v1, read.inbox_sources_v1 to bizing_viewer, bizing_worker;
grant select on delivery.arrivals, delivery.inbox_commands to bizing_worker;
revoke insert, update on delivery.inbox from bizing_worker;
