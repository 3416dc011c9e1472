-- Decisions for many sagas reach further: who looks after them, a pause and its end, and their end with evidence, each with its own.
-- And a preview says first whether the one who looks may do it at all.
--
-- Replaced: `api.preview_saga` of 0025, `api.preview_saga_batch`, `api.start_saga_batch` and `saga.work_batches` of 0026.
--
-- Locks: saga.batch and saga.batch_item against everything for a moment.

-- ---- who may ---------------------------------------------------------------------------------------------------------

-- Why the caller may not do this, whatever the saga: needs_manager. Null: may. Many at once is a manager's act, but for saying who
-- looks after them, which changes nothing else.
create function saga.denied(p_action text, p_many boolean) returns text language sql stable security definer set search_path = pg_catalog, saga as $$
  select 'needs_' || g.name
    from saga.action a cross join lateral (select case when p_many and a.action <> 'assign' and a.group_name = 'staff' then 'manager' else a.group_name end as name) g
   where a.action = p_action and not admin.caller_is(g.name)
$$;

create or replace function api.preview_saga(p_saga uuid, p_action text, p_params jsonb) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  facts jsonb := saga.facts(p_saga);
  plan jsonb;
  denied text := saga.denied(p_action, false);
begin
  if facts is null then return null; end if;
  plan := saga.plan(facts, p_action, coalesce(p_params, '{}'), session_user);
  return plan || jsonb_build_object('hash', saga.plan_hash(plan))
              || case when denied is not null then jsonb_build_object('refused', denied, 'needs_approval', false) else '{}' end;
end $$;

-- ---- one decision for many -------------------------------------------------------------------------------------------

alter table saga.batch_item add column params jsonb not null default '{}';
-- As for one: who looks after them needs no reason, nor does letting them go on.
alter table saga.batch drop constraint batch_reason_check,
  add constraint batch_reason_check check (length(reason) >= 10 or action in ('assign', 'resume'));

create function saga.for_many(p_action text) returns boolean language sql immutable set search_path = pg_catalog as $$
  select p_action in ('retry', 'compensate', 'skip', 'assign', 'pause', 'resume', 'resolve')
$$;

create or replace function api.preview_saga_batch(p_action text, p_sagas uuid[]) returns table (saga_id uuid, plan jsonb, hash text)
language plpgsql stable security definer set search_path = pg_catalog, saga as $$
#variable_conflict use_column
declare
  denied text := saga.denied(p_action, true);
begin
  if not saga.for_many(p_action) or cardinality(p_sagas) > 500 then
    raise exception 'no batch of % for % sagas', p_action, cardinality(p_sagas) using errcode = 'invalid_parameter_value';
  end if;
  return query
    select x.id, x.plan || case when denied is not null then jsonb_build_object('refused', denied, 'needs_approval', false) else '{}' end, saga.plan_hash(x.plan)
      from (select u.id, u.o, saga.plan(saga.facts(u.id), p_action, '{}', session_user) as plan
              from unnest(p_sagas) with ordinality as u(id, o) where exists (select 1 from saga.instance i where i.saga_id = u.id)) x
     order by x.o;
end $$;

-- Freezes the set that was seen and begins; what one saga needs of its own stands beside it: {evidence}, {to}. Answers {status}:
-- started, awaiting_approval, repeated, reused, reason, evidence, typed, empty.
create function api.start_saga_batch(p_batch uuid, p_action text, p_sagas uuid[], p_versions int[], p_hashes text[], p_params jsonb[], p_typed int, p_reason text)
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
  if coalesce(cardinality(p_sagas), 0) = 0 or cardinality(p_sagas) > 500 then return '{"status": "empty"}'; end if;
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

-- As windows of before ask.
create or replace function api.start_saga_batch(p_batch uuid, p_action text, p_sagas uuid[], p_versions int[], p_hashes text[], p_typed int, p_reason text)
returns jsonb language sql security definer set search_path = pg_catalog, saga as $$
  select api.start_saga_batch(p_batch, p_action, p_sagas, p_versions, p_hashes, null::jsonb[], p_typed, p_reason)
$$;

-- As in 0026, and: what asks nobody goes first, so that a pause does not wait behind a long undoing. Who looks after it and a pause
-- are for the saga wherever it is by then, as they take nothing back and move no money; only what cannot be any more is left out.
create or replace function saga.work_batches(p_limit int) returns int language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  b saga.batch;
  t saga.batch_item;
  i saga.instance;
  plan jsonb;
  why_not text;
  command uuid;
  anywhere boolean;
  most int;
  done int := 0;
begin
  select * into b from saga.batch where state = 'running' and approval in ('not_needed', 'approved')
   order by action in ('assign', 'pause') desc, requested_at limit 1 for update skip locked;
  if not found then return 0; end if;
  anywhere := b.action in ('assign', 'pause');
  most := case when anywhere then p_limit * 10 else p_limit end;
  while done < most loop
    -- So many of this batch may be on their way: each counts until its next try has ended.
    exit when b.action in ('retry', 'compensate') and (select count(*) from saga.batch_item x join saga.command c using (command_id)
                where x.batch_id = b.batch_id and x.status = 'applied' and x.done_at > now() - interval '1 minute'
                  and not exists (select 1 from saga.attempt a where a.saga_id = x.saga_id and a.no > c.after_attempt)) >= b.max_parallel;
    select * into t from saga.batch_item x where x.batch_id = b.batch_id and x.status = 'pending' order by x.ordinal limit 1;
    if not found then
      update saga.batch set state = 'done', ended_at = now() where batch_id = b.batch_id;
      exit;
    end if;
    select * into i from saga.instance x where x.saga_id = t.saga_id for update;
    plan := saga.plan(saga.facts(t.saga_id), b.action, t.params, b.requested_by);
    why_not := case when not anywhere and i.version <> t.expected_version then 'changed'
                    when plan->>'refused' is not null then plan->>'refused'
                    when not anywhere and decode(saga.plan_hash(plan), 'hex') <> t.plan_hash then 'plan_changed' end;
    if why_not is null then
      command := gen_random_uuid();
      insert into saga.command (command_id, saga_id, batch_id, action, expected_version, plan_hash, params, reason, requested_by, status, plan, approved_by, approved_at)
        values (command, t.saga_id, b.batch_id, b.action, t.expected_version, t.plan_hash, t.params, b.reason, b.requested_by, 'pending', plan, b.approved_by, b.approved_at);
      perform saga.apply(command);
      -- What it needed of its own stands in the audit from here on.
      update saga.batch_item x set status = 'applied', command_id = command, done_at = now(), params = '{}' where x.batch_id = b.batch_id and x.saga_id = t.saga_id;
      update saga.batch set failures = 0 where batch_id = b.batch_id;
      b.failures := 0;
    else
      update saga.batch_item x set status = 'refused', refusal = why_not, done_at = now() where x.batch_id = b.batch_id and x.saga_id = t.saga_id;
      -- What somebody else changed meanwhile is no failure of ours.
      b.failures := case when why_not in ('changed', 'plan_changed', 'finished', 'undoing', 'parked', 'paused', 'not_parked', 'not_paused') then b.failures else b.failures + 1 end;
      update saga.batch set failures = b.failures, state = case when b.failures >= stop_after_failures then 'stopped' else state end,
             ended_at = case when b.failures >= stop_after_failures then now() end where batch_id = b.batch_id;
    end if;
    done := done + 1;
    exit when b.failures >= b.stop_after_failures;
  end loop;
  return done;
end $$;

-- Evidence may name a person.
create function saga.forget_evidence() returns trigger language plpgsql security definer set search_path = pg_catalog, saga, core as $$
begin
  update saga.batch_item m set params = core.without_addresses(m.params::text)::jsonb
    from saga.instance i where i.customer_id = new.subject_id and m.saga_id = i.saga_id and m.params::text like '%@%';
  return null;
end $$;
create trigger forget_evidence after update of key on core.subject_keys for each row when (new.key is null) execute function saga.forget_evidence();

create or replace view read.saga_batches_v1 as
  select b.batch_id, b.action, b.reason, b.requested_by, b.requested_at, b.preview->'refund_minor' as refund_minor, b.frozen_count, b.approval, b.approved_by, b.approved_at, b.state,
         b.ended_at, b.stopped_by, n.applied, n.refused, n.pending, coalesce(b.preview->'kept_minor', '{}') as kept_minor
    from saga.batch b cross join lateral (
      select count(*) filter (where status = 'applied') as applied, count(*) filter (where status = 'refused') as refused, count(*) filter (where status = 'pending') as pending
        from saga.batch_item x where x.batch_id = b.batch_id) n;
create or replace view read.saga_batch_items_v1 as
  select m.batch_id, m.saga_id, m.ordinal, m.status, m.refusal, m.command_id, m.done_at, coalesce(c.params->>'evidence', m.params->>'evidence') as evidence
    from saga.batch_item m left join saga.command c using (command_id);

revoke all on function saga.denied(text, boolean), saga.for_many(text), saga.forget_evidence(),
  api.start_saga_batch(uuid, text, uuid[], int[], text[], jsonb[], int, text) from public;
grant execute on function api.start_saga_batch(uuid, text, uuid[], int[], text[], jsonb[], int, text) to bizing_staff;
