-- A decision for many stops when what it asks for goes wrong again and again, takes turns with others, and ends. Its second person
-- sees it as it is now and says why not; a request that nobody answered in a day is over for everybody.
--
-- Replaced: `saga.work_batches`, `api.preview_saga_batch`, `api.start_saga_batch`, `saga.forget_evidence` and the views of 0080,
-- `api.change_saga_batch` of 0026.
--
-- Locks: saga.batch and saga.batch_item against everything for a moment.

alter table saga.batch add column refusal text, add column worked_at timestamptz;
-- What came of an item that was applied; null: not known yet.
alter table saga.batch_item add column became text check (became in ('well', 'parked'));
create index batch_item_under_way on saga.batch_item (batch_id, done_at) where status = 'applied' and became is null;

-- ---- the set ---------------------------------------------------------------------------------------------------------

create function saga.most_of_a_batch() returns int language sql immutable set search_path = pg_catalog as $$ select 1000 $$;

-- As in 0080, for more.
create or replace function api.preview_saga_batch(p_action text, p_sagas uuid[]) returns table (saga_id uuid, plan jsonb, hash text)
language plpgsql stable security definer set search_path = pg_catalog, saga as $$
#variable_conflict use_column
declare
  denied text := saga.denied(p_action, true);
begin
  if not saga.for_many(p_action) or cardinality(p_sagas) > saga.most_of_a_batch() then
    raise exception 'no batch of % for % sagas', p_action, cardinality(p_sagas) using errcode = 'invalid_parameter_value';
  end if;
  return query
    select x.id, x.plan || case when denied is not null then jsonb_build_object('refused', denied, 'needs_approval', false) else '{}' end, saga.plan_hash(x.plan)
      from (select u.id, u.o, saga.plan(saga.facts(u.id), p_action, '{}', session_user) as plan
              from unnest(p_sagas) with ordinality as u(id, o) where exists (select 1 from saga.instance i where i.saga_id = u.id)) x
     order by x.o;
end $$;

-- As in 0080, for more.
create or replace function api.start_saga_batch(p_batch uuid, p_action text, p_sagas uuid[], p_versions int[], p_hashes text[], p_params jsonb[], p_typed int, p_reason text)
returns jsonb language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  a saga.action;
  known saga.batch;
  totals jsonb;
  kept jsonb;
  waits boolean;
  policy saga.policy;
begin
  select * into a from saga.action where action = p_action and saga.for_many(action);
  if not found then raise exception 'no such batch: %', p_action using errcode = 'invalid_parameter_value'; end if;
  if saga.denied(p_action, true) is not null then
    raise exception '% may not decide for many', session_user using errcode = 'insufficient_privilege';
  end if;
  select * into known from saga.batch where batch_id = p_batch;
  if found then
    return jsonb_build_object('status', case when known.requested_by = session_user and known.action = p_action then 'repeated' else 'reused' end);
  end if;
  if coalesce(cardinality(p_sagas), 0) = 0 or cardinality(p_sagas) > saga.most_of_a_batch() then return '{"status": "empty"}'; end if;
  if p_action not in ('assign', 'resume') and char_length(btrim(coalesce(p_reason, ''))) < 10 then return '{"status": "reason"}'; end if;
  if exists (select 1 from unnest(p_sagas, p_params) as u(id, params)
              where saga.lacks(p_action, coalesce(params, '{}'), p_reason) = 'evidence' or char_length(params->>'evidence') > 500) then
    return '{"status": "evidence"}';
  end if;
  select * into policy from saga.policy order by version desc limit 1;
  -- The sums are of what would be done now; each item is planned again when its turn comes.
  with p as materialized (select saga.plan(saga.facts(u.id), p_action, '{}', session_user) as plan from unnest(p_sagas) u(id)),
  ok as (select plan, plan->>'currency' as currency from p where plan->>'refused' is null),
  r as (select currency, sum((plan->>'refund_minor')::bigint) as minor from ok where (plan->>'refund_minor')::bigint > 0 group by 1),
  k as (select currency, sum((plan->>'kept_minor')::bigint) as minor from ok where p_action = 'resolve' and (plan->>'kept_minor')::bigint > 0 group by 1)
  select (select jsonb_object_agg(currency, minor) from r), (select jsonb_object_agg(currency, minor) from k),
         coalesce((select bool_or(minor >= coalesce((policy.value#>>array['approval_minor', currency])::bigint, (policy.value#>>'{approval_minor,*}')::bigint)) from r), false)
             and saga.others_may_approve(session_user)
           or coalesce((select bool_or((plan->>'needs_approval')::boolean) from ok), false)
    into totals, kept, waits;
  if p_action not in ('assign', 'pause', 'resume') and (cardinality(p_sagas) >= 10 or totals is not null or kept is not null) and p_typed is distinct from cardinality(p_sagas) then
    return '{"status": "typed"}';
  end if;
  insert into saga.batch (batch_id, action, filter, reason, requested_by, preview, frozen_count, approval, state)
    values (p_batch, p_action, jsonb_build_object('sagas', p_sagas), btrim(coalesce(p_reason, '')), session_user,
            jsonb_build_object('refund_minor', coalesce(totals, '{}'), 'kept_minor', coalesce(kept, '{}')),
            cardinality(p_sagas), case when waits then 'pending' else 'not_needed' end, 'running');
  insert into saga.batch_item (batch_id, saga_id, ordinal, expected_version, plan_hash, params)
    select p_batch, id, o, v, decode(h, 'hex'), coalesce(p, '{}') from unnest(p_sagas, p_versions, p_hashes, p_params) with ordinality as u(id, v, h, p, o);
  return jsonb_build_object('status', case when waits then 'awaiting_approval' else 'started' end);
end $$;

-- ---- a second person -------------------------------------------------------------------------------------------------

-- Why an item cannot be done as it was asked for, by its plan as it is now.
create function saga.item_refused(p_action text, p_item saga.batch_item, p_version int, p_plan jsonb) returns text language sql immutable set search_path = pg_catalog, saga as $$
  -- Who looks after it and a pause are for the saga wherever it is by then: they take nothing back and move no money.
  select case when p_action not in ('assign', 'pause') and p_version <> p_item.expected_version then 'changed'
              when p_plan->>'refused' is not null then p_plan->>'refused'
              when p_action not in ('assign', 'pause') and decode(saga.plan_hash(p_plan), 'hex') <> p_item.plan_hash then 'plan_changed' end
$$;

-- What is left of it, planned again as it is now for whoever asked, with why one would be left out.
create function api.preview_asked_batch(p_batch uuid) returns table (saga_id uuid, plan jsonb, hash text) language sql stable security definer
  set search_path = pg_catalog, saga as $$
  select x.saga_id, p.plan || jsonb_build_object('refused', saga.item_refused(b.action, x, i.version, p.plan)), saga.plan_hash(p.plan)
    from saga.batch b join saga.batch_item x using (batch_id) join saga.instance i using (saga_id)
   cross join lateral (select saga.plan(saga.facts(x.saga_id), b.action, x.params, b.requested_by) as plan offset 0) p
   where b.batch_id = p_batch and x.status = 'pending'
   order by x.ordinal
$$;

-- Nobody said yes or no in time.
create function saga.expired(p_approval text, p_requested_at timestamptz) returns boolean language sql stable set search_path = pg_catalog as $$
  select p_approval = 'pending' and p_requested_at < now() - interval '24 hours'
$$;

-- Yes or no by a second person, or a stop by anybody who may decide for many. What is done stays done. Answers {status}: done,
-- not_found, decided, own, expired, over, reason.
create function api.change_saga_batch(p_batch uuid, p_action text, p_reason text) returns jsonb language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  b saga.batch;
begin
  if p_action not in ('approve', 'reject', 'stop', 'go_on', 'end') then
    raise exception 'no such change of a batch: %', p_action using errcode = 'invalid_parameter_value';
  end if;
  select * into b from saga.batch where batch_id = p_batch for update;
  if not found then return '{"status": "not_found"}'; end if;
  if saga.expired(b.approval, b.requested_at) then
    update saga.batch set approval = 'expired', state = 'stopped', ended_at = now() where batch_id = p_batch;
    return '{"status": "expired"}';
  end if;
  if p_action in ('approve', 'reject') then
    if b.approval <> 'pending' or b.state <> 'running' then return jsonb_build_object('status', 'decided', 'refusal', b.approval); end if;
    if b.requested_by = session_user then return '{"status": "own"}'; end if;
    if p_action = 'reject' and char_length(btrim(coalesce(p_reason, ''))) < 10 then return '{"status": "reason"}'; end if;
    update saga.batch set approval = case p_action when 'approve' then 'approved' else 'rejected' end, approved_by = session_user, approved_at = now(),
           state = case p_action when 'approve' then 'running' else 'rejected' end, ended_at = case p_action when 'reject' then now() end,
           refusal = case p_action when 'reject' then btrim(p_reason) end
     where batch_id = p_batch;
  elsif p_action = 'stop' then
    if b.state <> 'running' then return '{"status": "over"}'; end if;
    update saga.batch set state = 'stopped', stopped_by = session_user, ended_at = now() where batch_id = p_batch;
  elsif b.state <> 'stopped' or b.approval not in ('not_needed', 'approved') then
    return '{"status": "over"}';
  elsif p_action = 'go_on' then
    update saga.batch set state = 'running', stopped_by = null, ended_at = null, failures = 0 where batch_id = p_batch;
  else
    -- What is left stays as it is, each with its line.
    update saga.batch_item x set status = 'refused', refusal = 'batch_ended', done_at = now() where x.batch_id = p_batch and x.status = 'pending';
    update saga.batch set state = 'done', stopped_by = session_user, ended_at = now() where batch_id = p_batch;
  end if;
  return '{"status": "done"}';
end $$;

-- As windows of before ask, which know no reason for a no.
create or replace function api.change_saga_batch(p_batch uuid, p_action text) returns jsonb language sql security definer set search_path = pg_catalog, saga as $$
  select api.change_saga_batch(p_batch, p_action, 'no reason was given')
$$;

-- ---- a worker's turn -------------------------------------------------------------------------------------------------

-- What came of those that were asked, in the order in which they were. Returns how many went wrong in a row by now: each that waits
-- for a person again counts, one that went well begins anew.
create function saga.settle_items(b saga.batch) returns smallint language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  t record;
  failures smallint := b.failures;
begin
  for t in
    select x.saga_id, case when i.state = 'parked' then 'parked' else 'well' end as became
      from saga.batch_item x join saga.instance i using (saga_id)
     where x.batch_id = b.batch_id and x.status = 'applied' and x.became is null
       and (i.finished_at is not null or i.state = 'parked' or b.action = 'retry' and i.state = 'waiting' and i.direction = 'F' and i.error_class is null)
     order by x.done_at, x.ordinal
  loop
    failures := case t.became when 'well' then 0 else failures + 1 end;
    update saga.batch_item x set became = t.became where x.batch_id = b.batch_id and x.saga_id = t.saga_id;
  end loop;
  return failures;
end $$;

-- How many of it are on their way. Each counts until what came of it is known, or it waits for somebody else, but for no more than a
-- minute: one that is tried again later must not hold up the rest.
create function saga.under_way(p_batch uuid) returns bigint language sql stable security definer set search_path = pg_catalog, saga as $$
  select count(*) from saga.batch_item x join saga.instance i using (saga_id)
   where x.batch_id = p_batch and x.status = 'applied' and x.became is null and x.done_at > now() - interval '1 minute'
     and i.paused_at is null and not (i.state = 'waiting' and i.error_class is null)
$$;

-- A worker's turn: the next items of one open batch, as many as its throttle leaves. Returns how many were done; its end counts too.
-- As in 0080, and: batches take turns, so that a long one does not hold up those that came later; and one of which one after the
-- other waits for a person again stops.
create or replace function saga.work_batches(p_limit int) returns int language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  b saga.batch;
  t saga.batch_item;
  i saga.instance;
  plan jsonb;
  why_not text;
  command uuid;
  followed boolean;
  most int;
  done int := 0;
begin
  -- What asks nobody goes first, so that a pause does not wait behind a long undoing.
  select * into b from saga.batch where state = 'running' and approval in ('not_needed', 'approved')
   order by action in ('assign', 'pause') desc, worked_at nulls first, requested_at limit 1 for update skip locked;
  if not found then return 0; end if;
  followed := b.action in ('retry', 'compensate');
  if followed then b.failures := saga.settle_items(b); end if;
  most := case when b.action in ('assign', 'pause') then p_limit * 10 else p_limit end;
  while done < most and b.failures < b.stop_after_failures loop
    exit when followed and saga.under_way(b.batch_id) >= b.max_parallel;
    select * into t from saga.batch_item x where x.batch_id = b.batch_id and x.status = 'pending' order by x.ordinal limit 1;
    exit when not found;
    select * into i from saga.instance x where x.saga_id = t.saga_id for update;
    plan := saga.plan(saga.facts(t.saga_id), b.action, t.params, b.requested_by);
    why_not := saga.item_refused(b.action, t, i.version, plan);
    if why_not is null then
      command := gen_random_uuid();
      insert into saga.command (command_id, saga_id, batch_id, action, expected_version, plan_hash, params, reason, requested_by, status, plan, approved_by, approved_at)
        values (command, t.saga_id, b.batch_id, b.action, t.expected_version, t.plan_hash, t.params, b.reason, b.requested_by, 'pending', plan, b.approved_by, b.approved_at);
      perform saga.apply(command);
      -- What it needed of its own stands in the audit from here on.
      update saga.batch_item x set status = 'applied', command_id = command, done_at = clock_timestamp(), params = '{}', became = case when not followed then 'well' end
       where x.batch_id = b.batch_id and x.saga_id = t.saga_id;
      if not followed then b.failures := 0; end if;
    else
      update saga.batch_item x set status = 'refused', refusal = why_not, done_at = now() where x.batch_id = b.batch_id and x.saga_id = t.saga_id;
      -- What somebody else changed meanwhile is no failure of ours.
      b.failures := case when why_not in ('changed', 'plan_changed', 'finished', 'undoing', 'parked', 'paused', 'not_parked', 'not_paused') then b.failures else b.failures + 1 end;
    end if;
    done := done + 1;
  end loop;
  if not exists (select 1 from saga.batch_item x where x.batch_id = b.batch_id and x.status = 'pending') then
    if not followed or saga.under_way(b.batch_id) = 0 then b.state := 'done'; end if;
  elsif b.failures >= b.stop_after_failures then
    b.state := 'stopped';
  end if;
  update saga.batch x set failures = b.failures, worked_at = clock_timestamp(), state = b.state, ended_at = case when b.state <> 'running' then now() end
   where x.batch_id = b.batch_id;
  return done + case when b.state <> 'running' then 1 else 0 end;
end $$;

-- ---- what is read ----------------------------------------------------------------------------------------------------

-- As in 0080, and: a refusal may name a person too.
create or replace function saga.forget_evidence() returns trigger language plpgsql security definer set search_path = pg_catalog, saga, core as $$
begin
  update saga.batch_item m set params = core.without_addresses(m.params::text)::jsonb
    from saga.instance i where i.customer_id = new.subject_id and m.saga_id = i.saga_id and m.params::text like '%@%';
  update saga.batch b set refusal = core.without_addresses(b.refusal)
   where b.refusal like '%@%' and exists (select 1 from saga.batch_item m join saga.instance i using (saga_id) where m.batch_id = b.batch_id and i.customer_id = new.subject_id);
  return null;
end $$;

create or replace view read.saga_batches_v1 as
  select b.batch_id, b.action, b.reason, b.requested_by, b.requested_at, b.preview->'refund_minor' as refund_minor, b.frozen_count,
         case when saga.expired(b.approval, b.requested_at) then 'expired' else b.approval end as approval, b.approved_by, b.approved_at,
         case when saga.expired(b.approval, b.requested_at) then 'stopped' else b.state end as state,
         case when saga.expired(b.approval, b.requested_at) then b.requested_at + interval '24 hours' else b.ended_at end as ended_at,
         b.stopped_by, n.applied, n.refused, n.pending, coalesce(b.preview->'kept_minor', '{}') as kept_minor, n.parked, b.refusal
    from saga.batch b cross join lateral (
      select count(*) filter (where status = 'applied') as applied, count(*) filter (where status = 'refused') as refused, count(*) filter (where status = 'pending') as pending,
             count(*) filter (where became = 'parked') as parked
        from saga.batch_item x where x.batch_id = b.batch_id) n;

revoke all on function saga.most_of_a_batch(), saga.item_refused(text, saga.batch_item, int, jsonb), saga.settle_items(saga.batch), saga.under_way(uuid),
  saga.expired(text, timestamptz), api.preview_asked_batch(uuid), api.change_saga_batch(uuid, text, text) from public;
-- The view asks it for whoever reads.
grant execute on function saga.expired(text, timestamptz) to bizing_viewer, bizing_worker;
grant execute on function api.preview_asked_batch(uuid) to bizing_viewer;
grant execute on function api.change_saga_batch(uuid, text, text) to bizing_manager;
