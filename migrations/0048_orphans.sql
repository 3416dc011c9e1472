-- Orphans at the provider: what Stripe has with our marks and the ledger does not know, and the reverse. A worker walks Stripe's lists
-- of the last days, a page at a time; what does not fit is a case for a person. Nothing here moves money, in neither direction.
--
-- Locks: none on existing tables.

-- One walk at a time, by whoever holds the lease; a worker that dies goes on where the last page ended.
create table saga.sweep (
  provider text primary key,
  list text not null default 'intents' check (list in ('intents', 'refunds')),
  since timestamptz,                         -- what is created later than this is looked at; null: between two walks
  after text,                                -- the last object of the page before
  began_at timestamptz,
  ended_at timestamptz,                      -- of the last whole walk
  looked bigint not null default 0,          -- objects of this walk, or of the last one
  found int not null default 0,              -- cases that it opened
  problem text,
  asked_at timestamptz,                      -- a person wants one now
  asked_by text,
  lease_owner uuid,
  lease_expires_at timestamptz
);
insert into saga.sweep (provider) values ('stripe');
-- What this walk has seen, for the reverse question at its end.
create table saga.sweep_seen (object text primary key);

-- Takes the walk when one is due: every so often, or because somebody asked. Answers where to go on; nothing: not now.
create function saga.take_sweep(p_worker uuid, p_every interval, p_back interval, out list text, out since timestamptz, out after text)
returns setof record language sql security definer set search_path = pg_catalog, saga as $$
  update saga.sweep s
     set lease_owner = p_worker, lease_expires_at = now() + interval '60 seconds',
         list = case when s.since is null then 'intents' else s.list end, after = case when s.since is null then null else s.after end,
         began_at = case when s.since is null then now() else s.began_at end, looked = case when s.since is null then 0 else s.looked end,
         found = case when s.since is null then 0 else s.found end, asked_at = case when s.since is null then null else s.asked_at end,
         since = coalesce(s.since, now() - p_back)
   where s.provider = 'stripe' and (s.lease_expires_at is null or s.lease_expires_at < now() or s.lease_owner = p_worker)
     and (s.since is not null or s.asked_at is not null or s.ended_at is null or s.ended_at < now() - p_every)
  returning s.list, s.since, s.after
$$;

-- A page of the list: {id, kind, status, amount_minor, currency, intent, saga_id, effect_id, created}. Opens a case for each object
-- that does not fit, once: one that a person closed stays closed. An object younger than `p_grace` may still be about to be told.
create function saga.note_objects(p_worker uuid, p_rows jsonb, p_after text, p_more boolean, p_grace interval) returns int language plpgsql security definer
  set search_path = pg_catalog, saga as $$
declare
  n int;
begin
  perform 1 from saga.sweep where provider = 'stripe' and lease_owner = p_worker and lease_expires_at > now() for update;
  if not found then return -1; end if;
  insert into saga.sweep_seen select r->>'id' from jsonb_array_elements(p_rows) r on conflict do nothing;
  with rows as materialized (
    select r.*, case when r.saga_id ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then r.saga_id::uuid end as saga,
           case when r.effect_id ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then r.effect_id::uuid end as effect
      from jsonb_to_recordset(p_rows) as r(id text, kind text, status text, amount_minor bigint, currency text, intent text, saga_id text, effect_id text, created timestamptz)),
  known as materialized (
    select r.*, e.outcome, coalesce(e.saga_id, i.saga_id, p.saga_id) as of_saga
      from rows r
      left join lateral (select x.outcome, x.saga_id from saga.effect x where x.effect_id = r.effect or x.provider_object = r.id order by x.outcome = 'confirmed' desc limit 1) e on true
      left join saga.instance i on i.saga_id = r.saga
      -- A refund without our marks, of a payment that is ours.
      left join lateral (select x.saga_id from saga.effect x where r.kind = 'refund' and x.provider_object = r.intent limit 1) p on true
     where r.created < now() - p_grace),
  odd as (
    select k.*, case
             when k.outcome is null and (k.saga is not null or k.of_saga is not null) then 'unknown'
             when k.outcome in ('not_executed', 'rejected') then 'denied'      -- we believe that it never happened
           end as why
      from known k
     -- What holds no money and never will is nobody's business.
     where case k.kind when 'intent' then k.status in ('requires_capture', 'succeeded', 'processing') else k.status in ('succeeded', 'pending', 'requires_action') end),
  opened as (
    insert into saga.attention (case_id, saga_id, kind, severity, fact)
      select gen_random_uuid(), o.of_saga, 'orphan:' || o.id, 1,
             jsonb_build_object('why', o.why, 'provider', 'stripe', 'object', o.id, 'what', o.kind, 'status', o.status, 'amount_minor', o.amount_minor,
                                'currency', upper(o.currency), 'created', o.created, 'named_saga', o.saga_id, 'intent', o.intent)
        from odd o
       where o.why is not null and not exists (select 1 from saga.attention a where a.kind = 'orphan:' || o.id)
      on conflict do nothing returning 1)
  select count(*)::int into n from opened;
  update saga.sweep s
     set looked = looked + jsonb_array_length(p_rows), found = s.found + n, problem = null, lease_expires_at = now() + interval '60 seconds',
         after = case when p_more then p_after end, list = case when p_more or s.list = 'refunds' then s.list else 'refunds' end
   where provider = 'stripe';
  return n;
end $$;

-- The walk is over: what the ledger has confirmed in its time, and Stripe's list did not show. Answers how many cases it opened.
create function saga.end_sweep(p_worker uuid, p_grace interval) returns int language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  s saga.sweep;
  n int;
begin
  select * into s from saga.sweep where provider = 'stripe' and lease_owner = p_worker and lease_expires_at > now() for update;
  if not found then return -1; end if;
  with opened as (
    insert into saga.attention (case_id, saga_id, kind, severity, fact)
      select gen_random_uuid(), e.saga_id, 'orphan:' || e.provider_object, 1,
             jsonb_build_object('why', 'missing', 'provider', 'stripe', 'object', e.provider_object, 'what', case e.operation when 'refund' then 'refund' else 'intent' end,
                                'status', e.provider_status, 'created', e.resolved_at)
        from saga.effect e
       where e.provider = 'stripe' and e.outcome = 'confirmed' and e.operation in ('create_intent', 'refund') and e.resolved_via in ('response', 'lookup', 'webhook')
         -- Sent by this installation: the example's past was written, and no provider ever heard of it.
         and e.intended_at > (select n.created_at from admin.installation n)
         -- Made well within the time that was walked.
         and e.first_sent_at > s.since + p_grace and e.resolved_at < s.began_at - p_grace
         and e.provider_object is not null and not exists (select 1 from saga.sweep_seen x where x.object = e.provider_object)
         and not exists (select 1 from saga.attention a where a.kind = 'orphan:' || e.provider_object)
       -- A list that shows nothing of ours is one fault, at another account's key or Stripe's, and no hundred cases.
       order by e.resolved_at limit 20
      on conflict do nothing returning 1)
  select count(*)::int into n from opened;
  delete from saga.sweep_seen;
  update saga.sweep set since = null, after = null, list = 'intents', ended_at = now(), found = s.found + n, lease_owner = null, lease_expires_at = null where provider = 'stripe';
  return n;
end $$;

create function saga.fail_sweep(p_worker uuid, p_problem text) returns void language sql security definer set search_path = pg_catalog, saga as $$
  -- Goes on from the same page, a minute later.
  update saga.sweep set problem = left(p_problem, 500), lease_owner = null, lease_expires_at = now() + interval '60 seconds' where provider = 'stripe' and lease_owner = p_worker
$$;

-- A person wants a walk now. Answers: asked, running, no_worker.
create function api.ask_sweep() returns text language plpgsql security definer set search_path = pg_catalog, saga as $$
begin
  if not api.worker_asks('stripe') then return 'no_worker'; end if;
  update saga.sweep set asked_at = now(), asked_by = session_user where provider = 'stripe' and since is null;
  return case when found then 'asked' else 'running' end;
end $$;

-- A person has looked at it and says what it was. Answers: done, reason, not_found.
create function api.close_case(p_case uuid, p_reason text) returns text language plpgsql security definer set search_path = pg_catalog, saga as $$
begin
  if char_length(btrim(coalesce(p_reason, ''))) < 10 then return 'reason'; end if;
  update saga.attention set closed_at = now(), closed_reason = btrim(p_reason), acked_by = session_user, acked_at = now()
   where case_id = p_case and closed_at is null and kind like 'orphan:%';
  return case when found then 'done' else 'not_found' end;
end $$;

create index attention_orphans on saga.attention (opened_at) where closed_at is null and kind like 'orphan:%';
create index attention_kind on saga.attention (kind) where kind like 'orphan:%';
create view read.sweeps_v1 as
  select provider, since is not null as running, began_at, ended_at, looked, found, problem, asked_at, asked_by from saga.sweep;

revoke all on function saga.take_sweep(uuid, interval, interval), saga.note_objects(uuid, jsonb, text, boolean, interval), saga.end_sweep(uuid, interval), saga.fail_sweep(uuid, text),
  api.ask_sweep(), api.close_case(uuid, text) from public;
grant execute on function saga.take_sweep(uuid, interval, interval), saga.note_objects(uuid, jsonb, text, boolean, interval), saga.end_sweep(uuid, interval), saga.fail_sweep(uuid, text) to bizing_worker;
grant execute on function api.ask_sweep() to bizing_staff;
grant execute on function api.close_case(uuid, text) to bizing_manager;
grant select on read.sweeps_v1 to bizing_viewer, bizing_worker;
