-- A provider that refuses everybody is one case, not one for each saga: nothing is asked of it until one saga, sent ahead,
-- was answered. Then the others follow at the provider's rate.
--
-- One decision for many sagas stands below.
--
-- Locks: saga.provider_gate and saga.batch get columns; the index on saga.instance holds writers off while it is built.

alter table saga.provider_gate
  add column probe_saga uuid,                -- the one that is sent ahead
  add column failures int not null default 0,
  add column failing_since timestamptz;
-- Sagas whose next step asks a provider, by when they are due.
create index instance_asks on saga.instance (wake_at) where finished_at is null and "cursor" in (1, 2);

-- ---- one decision for many ------------------------------------------------------------------------------------------
--
-- A batch is the set that a person saw, frozen: each saga with its version and the hash of its plan. What comes later never
-- joins, what changed meanwhile is refused by name. Workers carry it out, a few at a time; each item is its own
-- transaction with the next, so a kill loses nothing and repeats nothing.

create table saga.batch_item (
  batch_id uuid not null references saga.batch,
  saga_id uuid not null references saga.instance,
  ordinal int not null,
  expected_version int not null,
  plan_hash bytea not null,
  status text not null default 'pending' check (status in ('pending', 'applied', 'refused')),
  refusal text,
  command_id uuid references saga.command,
  done_at timestamptz,
  primary key (batch_id, saga_id),
  check ((status = 'refused') = (refusal is not null)),
  check ((status = 'applied') = (command_id is not null))
);
create index batch_item_open on saga.batch_item (batch_id, ordinal) where status = 'pending';
alter table saga.batch add column failures smallint not null default 0, add column ended_at timestamptz, add column stopped_by text,
  add constraint batch_state check (state in ('previewed', 'running', 'stopped', 'done', 'rejected'));
create index batch_open on saga.batch (requested_at) where state = 'running';

-- What an action would do to each of these sagas. Changes nothing.
create function api.preview_saga_batch(p_action text, p_sagas uuid[]) returns table (saga_id uuid, plan jsonb, hash text)
language plpgsql stable security definer set search_path = pg_catalog, saga as $$
#variable_conflict use_column
begin
  if p_action not in ('retry', 'compensate', 'skip') or cardinality(p_sagas) > 500 then
    raise exception 'no batch of % for % sagas', p_action, cardinality(p_sagas) using errcode = 'invalid_parameter_value';
  end if;
  return query
    select x.id, x.plan, saga.plan_hash(x.plan)
      from (select u.id, u.o, saga.plan(saga.facts(u.id), p_action, '{}', session_user) as plan
              from unnest(p_sagas) with ordinality as u(id, o) where exists (select 1 from saga.instance i where i.saga_id = u.id)) x
     order by x.o;
end $$;

-- Whether anybody else could say yes to what the caller asks.
create function api.others_may_approve() returns boolean language sql stable security definer set search_path = pg_catalog, saga as $$
  select saga.others_may_approve(session_user)
$$;

-- Freezes the set that was seen and begins. Answers {status}: started, awaiting_approval, repeated, reused, reason, typed, empty.
create function api.start_saga_batch(p_batch uuid, p_action text, p_sagas uuid[], p_versions int[], p_hashes text[], p_typed int, p_reason text)
returns jsonb language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  a saga.action;
  known saga.batch;
  totals jsonb;
  waits boolean;
  policy saga.policy;
begin
  select * into a from saga.action where action = p_action and action in ('retry', 'compensate', 'skip');
  if not found then raise exception 'no such batch: %', p_action using errcode = 'invalid_parameter_value'; end if;
  -- Many at once is a manager's act, whatever it is.
  if not admin.caller_is('manager') then
    raise exception '% may not decide for many', session_user using errcode = 'insufficient_privilege';
  end if;
  select * into known from saga.batch where batch_id = p_batch;
  if found then
    return jsonb_build_object('status', case when known.requested_by = session_user and known.action = p_action then 'repeated' else 'reused' end);
  end if;
  if coalesce(cardinality(p_sagas), 0) = 0 or cardinality(p_sagas) > 500 then return '{"status": "empty"}'; end if;
  if char_length(btrim(coalesce(p_reason, ''))) < 10 then return '{"status": "reason"}'; end if;
  select * into policy from saga.policy order by version desc limit 1;
  -- The sum is of what would be done now; each item is planned again when its turn comes.
  select jsonb_object_agg(t.currency, t.minor),
         bool_or(t.minor >= coalesce((policy.value#>>array['approval_minor', t.currency])::bigint, (policy.value#>>'{approval_minor,*}')::bigint))
           and saga.others_may_approve(session_user)
    into totals, waits
    from (select p.plan->>'currency' as currency, sum((p.plan->>'refund_minor')::bigint) as minor
            from (select saga.plan(saga.facts(u.id), p_action, '{}', session_user) as plan from unnest(p_sagas) u(id)) p
           where p.plan->>'refused' is null and (p.plan->>'refund_minor')::bigint > 0 group by 1) t;
  if (cardinality(p_sagas) >= 10 or totals is not null) and p_typed is distinct from cardinality(p_sagas) then return '{"status": "typed"}'; end if;
  insert into saga.batch (batch_id, action, filter, reason, requested_by, preview, frozen_count, approval, state)
    values (p_batch, p_action, jsonb_build_object('sagas', p_sagas), btrim(p_reason), session_user, jsonb_build_object('refund_minor', coalesce(totals, '{}')),
            cardinality(p_sagas), case when waits then 'pending' else 'not_needed' end, 'running');
  insert into saga.batch_item (batch_id, saga_id, ordinal, expected_version, plan_hash)
    select p_batch, id, o, v, decode(h, 'hex') from unnest(p_sagas, p_versions, p_hashes) with ordinality as u(id, v, h, o);
  return jsonb_build_object('status', case when waits then 'awaiting_approval' else 'started' end);
end $$;

-- Yes or no by a second person, or a stop by anybody who may decide for many. What is done stays done.
create function api.change_saga_batch(p_batch uuid, p_action text) returns jsonb language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  b saga.batch;
begin
  select * into b from saga.batch where batch_id = p_batch for update;
  if not found then return '{"status": "not_found"}'; end if;
  if p_action in ('approve', 'reject') then
    if b.approval <> 'pending' or b.state <> 'running' then return jsonb_build_object('status', 'decided', 'refusal', b.approval); end if;
    if b.requested_by = session_user then return '{"status": "own"}'; end if;
    if b.requested_at < now() - interval '24 hours' then
      update saga.batch set approval = 'expired', state = 'stopped', ended_at = now() where batch_id = p_batch;
      return '{"status": "expired"}';
    end if;
    update saga.batch set approval = case p_action when 'approve' then 'approved' else 'rejected' end, approved_by = session_user, approved_at = now(),
           state = case p_action when 'approve' then 'running' else 'rejected' end, ended_at = case p_action when 'reject' then now() end
     where batch_id = p_batch;
  elsif p_action = 'stop' then
    if b.state <> 'running' then return '{"status": "over"}'; end if;
    update saga.batch set state = 'stopped', stopped_by = session_user, ended_at = now() where batch_id = p_batch;
  elsif p_action = 'go_on' then
    if b.state <> 'stopped' then return '{"status": "over"}'; end if;
    update saga.batch set state = 'running', stopped_by = null, ended_at = null, failures = 0 where batch_id = p_batch;
  else
    raise exception 'no such change of a batch: %', p_action using errcode = 'invalid_parameter_value';
  end if;
  return '{"status": "done"}';
end $$;

-- A worker's turn: the next items of the oldest open batch, as many as its throttle leaves. Returns how many were done.
create function saga.work_batches(p_limit int) returns int language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  b saga.batch;
  t saga.batch_item;
  i saga.instance;
  plan jsonb;
  why_not text;
  command uuid;
  done int := 0;
begin
  select * into b from saga.batch where state = 'running' and approval in ('not_needed', 'approved') order by requested_at limit 1 for update skip locked;
  if not found then return 0; end if;
  while done < p_limit loop
    -- So many of this batch may be on their way: each counts until its next try has ended.
    exit when (select count(*) from saga.batch_item x join saga.command c using (command_id)
                where x.batch_id = b.batch_id and x.status = 'applied' and c.action <> 'skip' and x.done_at > now() - interval '1 minute'
                  and not exists (select 1 from saga.attempt a where a.saga_id = x.saga_id and a.no > c.after_attempt)) >= b.max_parallel;
    select * into t from saga.batch_item x where x.batch_id = b.batch_id and x.status = 'pending' order by x.ordinal limit 1;
    if not found then
      update saga.batch set state = 'done', ended_at = now() where batch_id = b.batch_id;
      exit;
    end if;
    select * into i from saga.instance x where x.saga_id = t.saga_id for update;
    plan := saga.plan(saga.facts(t.saga_id), b.action, '{}', b.requested_by);
    why_not := case when i.version <> t.expected_version then 'changed'
                    when plan->>'refused' is not null then plan->>'refused'
                    when decode(saga.plan_hash(plan), 'hex') <> t.plan_hash then 'plan_changed' end;
    if why_not is null then
      command := gen_random_uuid();
      insert into saga.command (command_id, saga_id, batch_id, action, expected_version, plan_hash, reason, requested_by, status, plan, approved_by, approved_at)
        values (command, t.saga_id, b.batch_id, b.action, t.expected_version, t.plan_hash, b.reason, b.requested_by, 'pending', plan, b.approved_by, b.approved_at);
      perform saga.apply(command);
      update saga.batch_item x set status = 'applied', command_id = command, done_at = now() where x.batch_id = b.batch_id and x.saga_id = t.saga_id;
      update saga.batch set failures = 0 where batch_id = b.batch_id;
      b.failures := 0;
    else
      update saga.batch_item x set status = 'refused', refusal = why_not, done_at = now() where x.batch_id = b.batch_id and x.saga_id = t.saga_id;
      -- What somebody else changed meanwhile is no failure of ours.
      b.failures := case when why_not in ('changed', 'plan_changed', 'finished', 'undoing') then b.failures else b.failures + 1 end;
      update saga.batch set failures = b.failures, state = case when b.failures >= stop_after_failures then 'stopped' else state end,
             ended_at = case when b.failures >= stop_after_failures then now() end where batch_id = b.batch_id;
    end if;
    done := done + 1;
    exit when b.failures >= b.stop_after_failures;
  end loop;
  return done;
end $$;

create view read.saga_batches_v1 as
  select b.batch_id, b.action, b.reason, b.requested_by, b.requested_at, b.preview->'refund_minor' as refund_minor, b.frozen_count, b.approval, b.approved_by, b.approved_at, b.state,
         b.ended_at, b.stopped_by, n.applied, n.refused, n.pending
    from saga.batch b cross join lateral (
      select count(*) filter (where status = 'applied') as applied, count(*) filter (where status = 'refused') as refused, count(*) filter (where status = 'pending') as pending
        from saga.batch_item x where x.batch_id = b.batch_id) n;
create view read.saga_batch_items_v1 as
  select batch_id, saga_id, ordinal, status, refusal, command_id, done_at from saga.batch_item;

revoke all on function api.others_may_approve(), api.preview_saga_batch(text, uuid[]), api.start_saga_batch(uuid, text, uuid[], int[], text[], int, text), api.change_saga_batch(uuid, text),
  saga.work_batches(int) from public;
grant execute on function api.others_may_approve(), api.preview_saga_batch(text, uuid[]) to bizing_viewer;
grant execute on function api.start_saga_batch(uuid, text, uuid[], int[], text[], int, text), api.change_saga_batch(uuid, text) to bizing_manager;
grant execute on function saga.work_batches(int) to bizing_worker;
grant select on read.saga_batches_v1, read.saga_batch_items_v1 to bizing_viewer, bizing_worker;
