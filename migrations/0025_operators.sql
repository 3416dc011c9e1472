-- What people may do with a saga: preview, command, approval; the policies by which a saga asks a person; the cases that
-- need attention. Every human act is a row of saga.command with its reason, refused ones too.
--
-- Plan and apply are one function: `saga.plan` reads the facts and says what would happen, a person sees it, and
-- `api.command_saga` makes the plan again under the saga's row lock. Another plan has another hash, and is refused.
--
-- Locks: saga.instance, saga.attempt, saga.command and saga.attention get columns without a rewrite and triggers; the
-- three new indexes of saga.instance hold writers off while they are built (about one second for a million sagas).

-- ---- the row --------------------------------------------------------------------------------------------------------

alter table saga.instance
  add column park_code text,                 -- why a person is needed, in one word; park_reason says it in a sentence
  add column by_fence bigint,                -- the fence under which the newest version was written
  add column take_overs smallint not null default 0,  -- claims from a dead owner since the newest version
  add column snoozed_until timestamptz,
  add constraint park_code_of_parked check (park_code is null or state = 'parked');
create index instance_live on saga.instance (created_at, saga_id) where finished_at is null;
create index instance_over on saga.instance (finished_at, saga_id) where finished_at is not null;
create index instance_effect_age on saga.effect (saga_id) where resolved_at is null;

-- As before, and: who writes a version names the fence under which it acts, and an old one is refused here too.
create or replace function saga.guard_transition() returns trigger language plpgsql as $$
begin
  if old.finished_at is not null and new.state <> old.state and new.state <> 'parked' then
    raise exception 'saga %: % is terminal', old.saga_id, old.state using errcode = 'check_violation'; end if;   -- only re-open (-> parked) leaves a terminal state
  if new.version < old.version or new.fence < old.fence then
    raise exception 'saga %: version/fence may not go back', old.saga_id using errcode = 'check_violation'; end if;
  if new.version <> old.version and new.by_fence is distinct from new.fence then
    raise exception 'saga %: written under fence %, which is not %', old.saga_id, new.by_fence, new.fence using errcode = 'check_violation'; end if;
  if new.state <> old.state and new.version = old.version then
    raise exception 'saga %: state change without version bump', old.saga_id using errcode = 'check_violation'; end if;
  if old.direction = 'C' and new.direction = 'F' and new.state <> 'parked' and old.state <> 'parked' then
    raise exception 'saga %: compensation never turns forward by itself', old.saga_id using errcode = 'check_violation'; end if;
  if new.state <> old.state and not ((old.state, new.state) in (
     ('running','waiting'),('running','compensating'),('running','parked'),('running','completed'),
     ('waiting','running'),('waiting','compensating'),('waiting','parked'),('waiting','completed'),('waiting','compensated'),
     ('compensating','waiting'),('compensating','parked'),('compensating','compensated'),
     ('parked','running'),('parked','compensating'),('parked','waiting'),('parked','resolved'),
     ('completed','parked'),('compensated','parked'),('resolved','parked'))) then
    raise exception 'saga %: % -> % is not a legal transition', old.saga_id, old.state, new.state using errcode = 'check_violation'; end if;
  return new;
end $$;

-- A straggler writes no history either.
create function saga.guard_attempt() returns trigger language plpgsql as $$
begin
  if new.fence < (select fence from saga.instance where saga_id = new.saga_id) then
    raise exception 'saga %: a try under fence %, which is over', new.saga_id, new.fence using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger guard before insert on saga.attempt for each row execute function saga.guard_attempt();

-- Parked is an open case, and only a decision closes it.
create function saga.keep_case() returns trigger language plpgsql as $$
begin
  if new.state = 'parked' and old.state <> 'parked' then
    insert into saga.attention (case_id, saga_id, kind, severity, fact)
      values (gen_random_uuid(), new.saga_id, 'parked', 1, jsonb_build_object('code', new.park_code, 'cursor', new."cursor", 'direction', new.direction))
      on conflict do nothing;
  elsif old.state = 'parked' and new.state <> 'parked' then
    update saga.attention set closed_at = now(), closed_reason = new.state where saga_id = new.saga_id and kind = 'parked' and closed_at is null;
  end if;
  return null;
end $$;
create trigger keep_case after update of state on saga.instance for each row
  when (old.state is distinct from new.state and (old.state = 'parked' or new.state = 'parked')) execute function saga.keep_case();
insert into saga.attention (case_id, saga_id, kind, severity, fact)
  select gen_random_uuid(), saga_id, 'parked', 1, jsonb_build_object('code', park_code, 'cursor', "cursor", 'direction', direction)
    from saga.instance where state = 'parked' on conflict do nothing;
-- A case of no one saga: a provider that refuses everybody.
create unique index attention_one_open_of_all on saga.attention (kind) where saga_id is null and closed_at is null;

-- ---- policies -------------------------------------------------------------------------------------------------------

-- Each change is a new version with its reason; the newest one counts.
create table saga.policy (
  version int primary key,
  value jsonb not null,
  reason text not null check (char_length(reason) >= 10),
  changed_by text not null default session_user,
  changed_at timestamptz not null default now(),
  constraint policy_whole check (
    value->>'notify_on_exhausted' in ('compensate', 'park', 'continue')
    and jsonb_typeof(value->'approval_minor') = 'object' and jsonb_typeof(value->'approval_minor'->'*') = 'number'
    and (value->>'blast_sagas')::int between 2 and 1000 and (value->>'blast_minutes')::int between 1 and 1440
    and (value->>'late_hours')::int between 0 and 720)
);
insert into saga.policy (version, value, reason) values (1, '{
  "notify_on_exhausted": "compensate",
  "approval_minor": {"*": 15000},
  "blast_sagas": 3, "blast_minutes": 10, "late_hours": 24}', 'as delivered');
create view read.saga_policy_v1 as select version, value, reason, changed_by, changed_at from saga.policy;

create function api.put_saga_policy(p_expected int, p_value jsonb, p_reason text) returns text language plpgsql security definer
  set search_path = pg_catalog, saga as $$
declare
  newest int;
begin
  if char_length(btrim(coalesce(p_reason, ''))) < 10 then return 'reason'; end if;
  lock table saga.policy in share row exclusive mode;
  select max(version) into newest from saga.policy;
  if newest <> p_expected then return 'changed'; end if;
  insert into saga.policy (version, value, reason) values (newest + 1, p_value, btrim(p_reason));
  return 'done';
end $$;

-- ---- actions --------------------------------------------------------------------------------------------------------

create table saga.action (
  action text primary key,
  group_name text not null check (group_name in ('staff', 'manager', 'admin')),
  needs_reason boolean not null,
  needs_preview boolean not null,            -- only with the hash of the plan that was seen
  ordinal int not null unique
);
insert into saga.action values
  ('retry',         'staff',   false, false, 1),   -- try again what failed, with the same key where the outcome is open
  ('compensate',    'manager', true,  true,  2),   -- turn round and take everything back, from here
  ('skip',          'manager', true,  true,  3),   -- the customer was told by hand: the booking stands
  ('resolve_step',  'manager', true,  true,  4),   -- say with evidence what became of a call
  ('resolve',       'manager', true,  true,  5),   -- end it by hand, with evidence
  ('reopen',        'manager', true,  true,  6),   -- an ended saga needs a decision after all
  ('pause',         'manager', true,  false, 7),
  ('resume',        'manager', false, false, 8),
  ('extend_hold',   'staff',   true,  false, 9),
  ('assign',        'staff',   false, false, 10),
  ('snooze',        'staff',   false, false, 11),
  ('note',          'staff',   false, false, 12),
  ('release_lease', 'admin',   true,  false, 13);

alter table saga.command add column plan jsonb, add column expires_at timestamptz, add column after_attempt int;
create index command_waits on saga.command (requested_at) where status = 'awaiting_approval';

-- ---- plan -----------------------------------------------------------------------------------------------------------

-- What is true of a saga now, in one read. Money and booking as the events tell them.
create function saga.facts(p_saga uuid) returns jsonb language plpgsql stable security definer set search_path = pg_catalog, saga as $$
declare
  i saga.instance;
  facts jsonb;
begin
  select * into i from saga.instance where saga_id = p_saga;
  if not found then return null; end if;
  with e as (
    select e.version, t.name, e.data from core.streams s join core.events e using (stream_no) join core.event_types t using (type_no)
     where s.stream_id = 'booking-' || i.booking_id
  ), m as (
    select coalesce(sum((data#>>'{amount_received,amount_minor}')::bigint) filter (where name = 'PaymentReceived'), 0) as captured,
           coalesce(sum((data#>>'{amount,amount_minor}')::bigint) filter (where name = 'PaymentRefunded'), 0) as refunded,
           coalesce(max(version) filter (where name = 'PaymentAuthorized'), 0) as authorised_at,
           coalesce(max(version) filter (where name in ('PaymentVoided', 'PaymentReceived')), 0) as unauthorised_at,
           coalesce(max(version) filter (where name = 'RefundRequested'), 0) as asked_at,
           coalesce(max(version) filter (where name in ('PaymentRefunded', 'RefundFailed')), 0) as answered_at,
           coalesce(max(version) filter (where name = 'RefundFailed'), 0) as failed_at,
           bool_or(name = 'BookingConfirmed') as confirmed,
           bool_or(name in ('BookingCancelled', 'BookingExpired')) as cancelled,
           max(version) as stream_version
      from e
  )
  select jsonb_build_object(
    'captured_minor', m.captured, 'refunded_minor', m.refunded,
    'authorised_minor', case when m.authorised_at > m.unauthorised_at
       then (select (data#>>'{amount_capturable,amount_minor}')::bigint from e where e.version = m.authorised_at) else 0 end,
    'refund_pending', m.asked_at > m.answered_at, 'refund_failed', m.failed_at > 0 and m.failed_at > m.asked_at,
    'confirmed', coalesce(m.confirmed, false) and not coalesce(m.cancelled, false), 'cancelled', coalesce(m.cancelled, false),
    'stream_version', coalesce(m.stream_version, 0)) into facts from m;
  return facts || jsonb_build_object(
    'saga_id', i.saga_id, 'definition', i.definition || '@' || i.def_version, 'version', i.version, 'state', i.state, 'direction', i.direction,
    'cursor', i."cursor", 'paused', i.paused_at is not null, 'leased', coalesce(i.lease_expires_at > now(), false), 'park_code', i.park_code,
    'finished', i.finished_at is not null, 'failing', i.error_class is not null, 'currency', i.currency,
    'cancel_requested', i.cancel_requested_at is not null, 'hold_expires_at', i.hold_expires_at,
    'claims', (select count(*) from booking.inventory_claim c where c.booking_id = i.booking_id and c.released_at is null),
    'message', (select d.state from delivery.deliveries d where d.stream_id = 'booking-' || i.booking_id and d.template = 'booking_confirmed'
                 order by d.position desc limit 1),
    'effects', coalesce((select jsonb_agg(jsonb_build_array(f.step, f.direction, f.generation, f.outcome) order by f.intended_at, f.generation)
                           from saga.effect f where f.saga_id = i.saga_id), '[]'),
    'asked', exists (select 1 from saga.effect f where f.saga_id = i.saga_id and f.step = 'payment' and f.direction = 'F' and f.outcome in ('intended', 'unknown', 'confirmed')),
    'open_effect', (select f.effect_id from saga.effect f where f.saga_id = i.saga_id and f.resolved_at is null order by f.intended_at limit 1),
    'last_effect', (select jsonb_build_object('effect_id', f.effect_id, 'outcome', f.outcome, 'step', f.step, 'direction', f.direction, 'operation', f.operation)
                      from saga.effect f where f.saga_id = i.saga_id order by f.intended_at desc, f.generation desc limit 1),
    'owner_alive', coalesce((select w.heartbeat_at > now() - interval '60 seconds' from saga.worker w where w.worker_id = i.lease_owner), false));
end $$;

-- What undoing from the saga's place would do, in strict reverse. The executor's own plan (plan.rs) goes the same way;
-- a test holds one against the other.
create function saga.undo_operations(f jsonb) returns jsonb language plpgsql immutable set search_path = pg_catalog as $$
declare
  at int := (f->>'cursor')::int;
  ops jsonb := '[]';
  kept bigint := (f->>'captured_minor')::bigint - (f->>'refunded_minor')::bigint;
begin
  if at >= 4 and f->>'direction' = 'F' then
    ops := ops || jsonb_build_object('step', 'notify', 'op', case when f->>'message' in ('delivered', 'unclear') then 'correct' else 'nothing' end);
  end if;
  if at >= 3 then
    ops := ops || jsonb_build_object('step', 'confirm', 'op', case when (f->>'confirmed')::boolean then 'cancel_booking' else 'nothing' end);
  end if;
  if at >= 2 then
    ops := ops || case when kept > 0
      then jsonb_build_object('step', 'capture', 'op', 'refund', 'amount_minor', kept, 'currency', f->'currency')
      else jsonb_build_object('step', 'capture', 'op', case when jsonb_path_exists(f->'effects', '$[*] ? (@[0] == "capture" && @[1] == "F" && (@[3] == "intended" || @[3] == "unknown"))')
                                                            then 'look_first' else 'nothing' end) end;
  end if;
  if at >= 1 then
    ops := ops || case when (f->>'captured_minor')::bigint = 0 and (f->>'asked')::boolean
      then jsonb_build_object('step', 'payment', 'op', 'void', 'amount_minor', (f->>'authorised_minor')::bigint, 'currency', f->'currency')
      else jsonb_build_object('step', 'payment', 'op', 'nothing') end;
  end if;
  if at >= 0 then
    ops := ops || jsonb_build_object('step', 'hold', 'op', case when (f->>'claims')::int > 0 then 'release' else 'nothing' end, 'claims', f->'claims');
  end if;
  return ops;
end $$;

-- Whether anybody but this login could approve.
create function saga.others_may_approve(p_by text) returns boolean language sql stable security definer set search_path = pg_catalog, saga as $$
  select exists (select 1 from pg_catalog.pg_roles r where r.rolcanlogin and not r.rolsuper and r.rolname <> p_by
                   and pg_catalog.pg_has_role(r.oid, admin.role_of('manager'), 'member'))
$$;

-- What an action would do now, or why it cannot: facts in, plan out. Nothing in it depends on the clock, so that the same
-- facts have the same hash.
create function saga.plan(f jsonb, p_action text, p_params jsonb, p_by text) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  refused text;
  ops jsonb := '[]';
  refund bigint := 0;
  kept bigint := (f->>'captured_minor')::bigint - (f->>'refunded_minor')::bigint;
  state text := f->>'state';
  forward boolean := f->>'direction' = 'F';
  at int := (f->>'cursor')::int;
  last jsonb := f->'last_effect';
  policy saga.policy;
  threshold bigint;
  decides boolean := false;
begin
  case p_action
    when 'retry' then
      if (f->>'finished')::boolean then refused := 'finished';
      elsif (f->>'paused')::boolean then refused := 'paused';
      elsif (f->>'leased')::boolean then refused := 'at_work';
      elsif state <> 'parked' and not (f->>'failing')::boolean then refused := 'nothing_failed';
      elsif state = 'parked' and forward and at = 4 and f->>'message' = 'unclear' then refused := 'message_unclear';
      end if;
      ops := jsonb_build_array(jsonb_build_object('step', at, 'op', case when forward and at = 4 then 'send_again' else 'try_again' end));
    when 'compensate' then
      if (f->>'finished')::boolean then refused := 'finished';
      elsif not forward then refused := 'undoing';
      elsif (f->>'leased')::boolean then refused := 'at_work';
      elsif (f->>'paused')::boolean then refused := 'paused';
      end if;
      ops := saga.undo_operations(f);
      refund := kept;
      decides := true;
    when 'skip' then
      if state <> 'parked' then refused := 'not_parked';
      elsif not forward or at <> 4 then refused := 'not_skippable';
      elsif not (f->>'confirmed')::boolean then refused := 'not_confirmed';
      end if;
      ops := jsonb_build_array(jsonb_build_object('step', 'notify', 'op', 'told_by_hand'));
    when 'resolve_step' then
      if state <> 'parked' then refused := 'not_parked';
      elsif f->>'open_effect' is null and not (not forward and (last->>'outcome' = 'rejected' or (f->>'refund_failed')::boolean)) then refused := 'outcome_known';
      elsif coalesce(p_params->>'outcome', '') not in ('done', 'not_done', '') then refused := 'outcome';
      end if;
      ops := jsonb_build_array(jsonb_build_object('step', coalesce(last->>'step', ''), 'op', coalesce(p_params->>'outcome', 'done'), 'effect_id', coalesce(f->>'open_effect', last->>'effect_id'),
        'operation', last->'operation'));
      -- Money that is said to have gone back: a second pair of eyes above the threshold.
      if coalesce(p_params->>'outcome', 'done') = 'done' and not forward and at = 2 then
        refund := kept; decides := true;
        ops := ops || jsonb_build_object('step', 'capture', 'op', 'record_refund', 'amount_minor', kept, 'currency', f->'currency');
      end if;
    when 'resolve' then
      if state <> 'parked' then refused := 'not_parked'; end if;
      ops := jsonb_build_array(
        jsonb_build_object('op', 'end'),
        jsonb_build_object('step', 'capture', 'op', 'keep_money', 'amount_minor', kept, 'currency', f->'currency'),
        jsonb_build_object('step', 'confirm', 'op', case when (f->>'confirmed')::boolean then 'booking_stands' when (f->>'cancelled')::boolean then 'booking_cancelled' else 'no_booking' end),
        jsonb_build_object('step', 'hold', 'op', case when (f->>'claims')::int > 0 then 'slot_stays' else 'slot_free' end));
      refund := kept;
      decides := true;
    when 'reopen' then
      if not (f->>'finished')::boolean then refused := 'not_finished'; end if;
      ops := jsonb_build_array(jsonb_build_object('op', 'park'));
    when 'pause' then
      if (f->>'finished')::boolean then refused := 'finished';
      elsif (f->>'paused')::boolean then refused := 'paused';
      elsif state = 'parked' then refused := 'parked';
      end if;
      ops := jsonb_build_array(jsonb_build_object('op', 'pause', 'hold_expires_at', f->'hold_expires_at'));
    when 'resume' then
      if not (f->>'paused')::boolean then refused := 'not_paused'; end if;
    when 'extend_hold' then
      if state <> 'waiting' or not forward or at > 1 then refused := 'not_waiting';
      elsif f->>'hold_expires_at' is null or (f->>'claims')::int = 0 then refused := 'no_hold';
      end if;
      ops := jsonb_build_array(jsonb_build_object('step', 'hold', 'op', 'extend', 'hold_expires_at', f->'hold_expires_at'));
    when 'release_lease' then
      if not (f->>'leased')::boolean then refused := 'not_leased';
      elsif (f->>'owner_alive')::boolean then refused := 'owner_alive';
      end if;
    when 'assign', 'snooze' then
      if (f->>'finished')::boolean then refused := 'finished'; end if;
    when 'note' then null;
    else refused := 'unknown_action';
  end case;

  select * into policy from saga.policy order by version desc limit 1;
  threshold := coalesce((policy.value#>>array['approval_minor', f->>'currency'])::bigint, (policy.value#>>'{approval_minor,*}')::bigint);
  return jsonb_build_object('action', p_action, 'params', p_params - 'evidence', 'refused', refused, 'operations', ops,
    'refund_minor', case when p_action = 'compensate' then greatest(refund, 0) else 0 end, 'kept_minor', kept, 'currency', f->'currency',
    'needs_approval', decides and refused is null and saga.others_may_approve(p_by)
                      and case when p_action = 'resolve' then kept <> 0 else refund >= threshold end,
    'threshold_minor', threshold, 'policy_version', policy.version, 'facts', f - 'owner_alive');
end $$;

create function saga.plan_hash(p_plan jsonb) returns text language sql immutable set search_path = pg_catalog as $$
  select encode(sha256(convert_to(p_plan::text, 'UTF8')), 'hex')
$$;

-- A plan to look at, with its hash. Changes nothing.
create function api.preview_saga(p_saga uuid, p_action text, p_params jsonb) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  facts jsonb := saga.facts(p_saga);
  plan jsonb;
begin
  if facts is null then return null; end if;
  plan := saga.plan(facts, p_action, coalesce(p_params, '{}'), session_user);
  return plan || jsonb_build_object('hash', saga.plan_hash(plan));
end $$;

-- The plan of a request as it is now, for the second person.
create function api.preview_saga_command(p_command uuid) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  c saga.command;
  plan jsonb;
begin
  select * into c from saga.command where command_id = p_command;
  if not found then return null; end if;
  plan := saga.plan(saga.facts(c.saga_id), c.action, c.params, c.requested_by);
  return plan || jsonb_build_object('hash', saga.plan_hash(plan), 'asked_hash', encode(c.plan_hash, 'hex'));
end $$;

-- Every action with the reason why it cannot be done now; null: it can.
create function api.saga_actions(p_saga uuid) returns table (action text, group_name text, refused text, needs_approval boolean)
language plpgsql stable security definer set search_path = pg_catalog, saga as $$
#variable_conflict use_column
declare
  facts jsonb := saga.facts(p_saga);
begin
  return query
    select a.action, a.group_name,
           case when not admin.caller_is(a.group_name) then 'needs_' || a.group_name else p.plan->>'refused' end,
           coalesce((p.plan->>'needs_approval')::boolean, false)
      from saga.action a cross join lateral (select saga.plan(facts, a.action, '{}', session_user) as plan) p
     where facts is not null order by a.ordinal;
end $$;

-- ---- apply ----------------------------------------------------------------------------------------------------------

-- Carries out a command that is allowed, in the caller's transaction. The caller holds the saga's row.
create function saga.apply(p_command uuid) returns void language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  c saga.command;
  i saga.instance;
  was jsonb;
  at_step text;
  no int;
  effect uuid;
  evidence text;
  extended timestamptz;
begin
  select * into c from saga.command where command_id = p_command;
  select * into i from saga.instance where saga_id = c.saga_id for update;
  was := jsonb_build_object('state', i.state, 'cursor', i."cursor", 'direction', i.direction, 'version', i.version, 'park_code', i.park_code, 'park_reason', i.park_reason,
    'error_class', i.error_class, 'error_message', i.error_message);
  select d.spec#>>array['steps', i."cursor"::text, 'name'] into at_step from saga.definition d where d.name = i.definition and d.version = i.def_version;
  select coalesce(max(a.no), 0) into no from saga.attempt a where a.saga_id = i.saga_id;
  evidence := c.params->>'evidence';

  -- One move for what puts a saga back to work: another owner's write is over from here on.
  if c.action in ('retry', 'compensate', 'skip', 'resolve_step') then
    if c.action = 'retry' and i.state = 'parked' and i.direction = 'F' and i."cursor" = 4 then
      update delivery.deliveries d set state = 'scheduled', finished_at = null, next_at = now(), give_up_at = now() + interval '30 minutes', fence = d.fence + 1
       where d.delivery_id = (select x.delivery_id from delivery.deliveries x where x.stream_id = 'booking-' || i.booking_id and x.template = 'booking_confirmed'
                               order by x.position desc limit 1) and d.state = 'gave_up';
    end if;
    if c.action = 'resolve_step' then
      effect := (c.plan#>>'{operations,0,effect_id}')::uuid;
      update saga.effect e set outcome = case when c.params->>'outcome' = 'done' then 'confirmed' else 'not_executed' end, resolved_at = now(), resolved_via = 'operator',
             response = jsonb_build_object('evidence', evidence, 'reason', c.reason, 'by', c.requested_by, 'approved_by', c.approved_by)
       where e.effect_id = effect and e.saga_id = i.saga_id;
    end if;
    update saga.instance x
       set state = case when c.action = 'compensate' or x.direction = 'C' then 'compensating' when x.state = 'waiting' then 'waiting' else 'running' end,
           direction = case when c.action = 'compensate' then 'C' else x.direction end,
           version = x.version + 1, fence = x.fence + 1, by_fence = x.fence + 1, lease_owner = null, lease_expires_at = null, wake_at = now(), attempt = 0,
           park_reason = null, park_code = null, parked_at = null, snoozed_until = null, error_class = null, error_message = null, take_overs = 0,
           await_key = case when x.state = 'waiting' and c.action = 'retry' then x.await_key end, updated_at = now(),
           context = x.context || jsonb_build_object('hands_on', true)
             || case when c.action = 'compensate' then jsonb_build_object('undo_from', x."cursor", 'undo', jsonb_build_object('code', 'asked', 'by', c.requested_by, 'text', c.reason)) else '{}' end
             -- What was refused for good may be tried again, once more, as a new generation.
             || case when c.action = 'retry' then jsonb_build_object('again', coalesce((select max(e.generation) from saga.effect e
                  where e.saga_id = x.saga_id and e.step = at_step and e.direction = x.direction), -1)) else '{}' end
     where x.saga_id = i.saga_id;
    if c.action = 'skip' then
      update saga.instance x set state = 'completed', outcome = 'completed_with_warnings', "cursor" = 5, version = x.version + 1, by_fence = x.fence, finished_at = now(), updated_at = now()
       where x.saga_id = i.saga_id;
    end if;
    insert into saga.attempt (saga_id, no, step, direction, kind, effect_id, fence, started_at, ended_at, result, output)
      select x.saga_id, no + 1, at_step, i.direction, case when c.action = 'skip' then 'skip' else 'operator' end, effect, x.fence, now(), clock_timestamp(),
             case c.action when 'compensate' then 'undo_asked' when 'skip' then 'told_by_hand' when 'resolve_step' then 'resolved' else 'retry_asked' end,
             jsonb_build_object('by', c.requested_by, 'reason', c.reason, 'command_id', c.command_id, 'evidence', evidence)
        from saga.instance x where x.saga_id = i.saga_id;
  elsif c.action = 'resolve' then
    update saga.instance x
       set state = 'resolved', outcome = 'resolved_manually', resolved_by = c.requested_by, version = x.version + 1, fence = x.fence + 1, by_fence = x.fence + 1,
           resolution = jsonb_build_object('reason', c.reason, 'evidence', evidence, 'approved_by', c.approved_by, 'facts', c.plan->'facts'),
           park_reason = null, park_code = null, parked_at = null, snoozed_until = null, lease_owner = null, lease_expires_at = null, finished_at = now(), updated_at = now()
     where x.saga_id = i.saga_id;
  elsif c.action = 'reopen' then
    update saga.instance x
       set state = 'parked', park_code = 'reopened', park_reason = c.reason, parked_at = now(), finished_at = null, outcome = null, version = x.version + 1,
           -- Beyond the last step there is nothing to look at; the last one is where a person begins.
           "cursor" = greatest(0, least(x."cursor", 4)),
           fence = x.fence + 1, by_fence = x.fence + 1, updated_at = now(), context = x.context || '{"hands_on": true}'
     where x.saga_id = i.saga_id;
  elsif c.action = 'pause' then
    -- A call that is under way is asked about again when the saga goes on: its answer is not lost, and not written late.
    update saga.instance x set paused_at = now(), paused_by = c.requested_by, pause_reason = c.reason, version = x.version + 1, fence = x.fence + 1, by_fence = x.fence + 1,
           lease_owner = null, lease_expires_at = null, updated_at = now() where x.saga_id = i.saga_id;
  elsif c.action = 'resume' then
    update saga.instance x set paused_at = null, paused_by = null, pause_reason = null, version = x.version + 1, by_fence = x.fence, updated_at = now()
     where x.saga_id = i.saga_id;
  elsif c.action = 'extend_hold' then
    extended := least(i.hold_expires_at + make_interval(mins => (c.params->>'minutes')::int), i.created_at + interval '7 days');
    update booking.inventory_claim k set expires_at = extended where k.booking_id = i.booking_id and k.released_at is null and k.expires_at > now();
    if not found then raise exception 'the hold is over' using errcode = 'check_violation'; end if;
    update saga.instance x set hold_expires_at = extended, version = x.version + 1, fence = x.fence + 1, by_fence = x.fence + 1, lease_owner = null, lease_expires_at = null,
           updated_at = now() where x.saga_id = i.saga_id;
  elsif c.action = 'assign' then
    update saga.instance x set assigned_to = nullif(btrim(c.params->>'to'), ''), updated_at = now() where x.saga_id = i.saga_id;
  elsif c.action = 'snooze' then
    update saga.instance x set snoozed_until = (c.params->>'until')::timestamptz, updated_at = now() where x.saga_id = i.saga_id;
  elsif c.action = 'release_lease' then
    update saga.instance x set lease_owner = null, lease_expires_at = null, fence = x.fence + 1 where x.saga_id = i.saga_id;
  end if;

  update saga.command k
     set status = 'applied', applied_at = now(), before = was, after_attempt = (select max(a.no) from saga.attempt a where a.saga_id = i.saga_id),
         (applied_version, after) = (select x.version, jsonb_build_object('state', x.state, 'cursor', x."cursor", 'direction', x.direction, 'version', x.version,
            'assigned_to', x.assigned_to, 'hold_expires_at', x.hold_expires_at) from saga.instance x where x.saga_id = i.saga_id)
   where k.command_id = p_command;
end $$;

-- What the parameters lack; null: nothing.
create function saga.lacks(p_action text, p_params jsonb, p_reason text) returns text language sql immutable set search_path = pg_catalog, saga as $$
  select case
    when p_action in ('resolve', 'resolve_step') and char_length(btrim(coalesce(p_params->>'evidence', ''))) < 3 then 'evidence'
    when p_action = 'resolve_step' and coalesce(p_params->>'outcome', '') not in ('done', 'not_done') then 'outcome'
    when p_action = 'extend_hold' and not case when p_params->>'minutes' ~ '^[0-9]{1,4}$' then (p_params->>'minutes')::int between 5 and 1440 else false end then 'minutes'
    when p_action = 'snooze' and p_params->>'until' is null then 'until'
    when p_action = 'note' and char_length(btrim(coalesce(p_reason, ''))) < 1 then 'reason'
  end
$$;

-- The one door of people to a saga. Answers {status, refusal?, plan?}: applied, awaiting_approval, refused, repeated,
-- reused (the id of another command), reason, lacks, not_found. Who may not at all gets an error.
create function api.command_saga(p_command uuid, p_saga uuid, p_action text, p_version int, p_hash text, p_params jsonb, p_reason text, p_client jsonb)
returns jsonb language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  a saga.action;
  known saga.command;
  i saga.instance;
  params jsonb := coalesce(p_params, '{}');
  why text := btrim(coalesce(p_reason, ''));
  plan jsonb;
  refusal text;
  waits boolean;
begin
  select * into a from saga.action where action = p_action;
  if not found then raise exception 'no such action: %', p_action using errcode = 'invalid_parameter_value'; end if;
  if not admin.caller_is(a.group_name) then
    raise exception '% may not %', session_user, p_action using errcode = 'insufficient_privilege';
  end if;
  select * into i from saga.instance where saga_id = p_saga for update;
  if not found then return '{"status": "not_found"}'; end if;
  select * into known from saga.command where command_id = p_command;
  if found then
    if (known.saga_id, known.action, known.params) is distinct from (p_saga, p_action, params) then return '{"status": "reused"}'; end if;
    return jsonb_build_object('status', case known.status when 'applied' then 'repeated' else known.status end, 'refusal', known.refusal);
  end if;
  if a.needs_reason and char_length(why) < 10 then return '{"status": "reason"}'; end if;
  if saga.lacks(p_action, params, why) is not null then
    return jsonb_build_object('status', 'lacks', 'refusal', saga.lacks(p_action, params, why));
  end if;

  plan := saga.plan(saga.facts(p_saga), p_action, params, session_user);
  refusal := plan->>'refused';
  if i.version is distinct from p_version and a.action not in ('assign', 'snooze', 'note') then refusal := 'changed';
  elsif refusal is null and a.needs_preview and p_hash is distinct from saga.plan_hash(plan) then refusal := 'plan_changed';
  end if;
  waits := refusal is null and (plan->>'needs_approval')::boolean;
  insert into saga.command (command_id, saga_id, action, expected_version, plan_hash, params, reason, requested_by, client, status, plan, refusal, expires_at)
    values (p_command, p_saga, p_action, p_version, decode(saga.plan_hash(plan), 'hex'), params, why, session_user, coalesce(p_client, '{}'),
            case when refusal is not null then 'refused' when waits then 'awaiting_approval' else 'pending' end, plan, refusal,
            case when waits then now() + interval '24 hours' end);
  if refusal is not null then
    return jsonb_build_object('status', 'refused', 'refusal', refusal, 'by', case when refusal in ('changed', 'plan_changed') then saga.changed_by(p_saga) end);
  end if;
  if waits then return '{"status": "awaiting_approval"}'; end if;
  perform saga.apply(p_command);
  return '{"status": "applied"}';
end $$;

-- Who changed a saga last, for whoever lost the race.
create function saga.changed_by(p_saga uuid) returns jsonb language sql stable security definer set search_path = pg_catalog, saga as $$
  select jsonb_build_object('who', requested_by, 'action', action, 'seconds', extract(epoch from now() - applied_at)::int)
    from saga.command where saga_id = p_saga and status = 'applied' and action not in ('assign', 'snooze', 'note') and applied_at > now() - interval '1 hour'
   order by applied_at desc limit 1
$$;

-- A second person says yes or no, having seen the plan as it is now. Nobody decides about their own request: a check of
-- the table says so too.
create function api.decide_saga_command(p_command uuid, p_approve boolean, p_hash text, p_reason text) returns jsonb language plpgsql security definer
  set search_path = pg_catalog, saga as $$
declare
  c saga.command;
  i saga.instance;
  plan jsonb;
begin
  select * into c from saga.command where command_id = p_command;
  if not found then return '{"status": "not_found"}'; end if;
  select * into i from saga.instance where saga_id = c.saga_id for update;
  select * into c from saga.command where command_id = p_command for update;
  if c.status <> 'awaiting_approval' then return jsonb_build_object('status', 'decided', 'refusal', c.status); end if;
  if c.requested_by = session_user then return '{"status": "own"}'; end if;
  if c.expires_at < now() then
    update saga.command set status = 'expired' where command_id = p_command;
    return '{"status": "expired"}';
  end if;
  if not p_approve then
    if char_length(btrim(coalesce(p_reason, ''))) < 10 then return '{"status": "reason"}'; end if;
    update saga.command set status = 'rejected', approved_by = session_user, approved_at = now(), refusal = btrim(p_reason) where command_id = p_command;
    return '{"status": "rejected"}';
  end if;
  plan := saga.plan(saga.facts(c.saga_id), c.action, c.params, c.requested_by);
  if decode(saga.plan_hash(plan), 'hex') is distinct from c.plan_hash or p_hash is distinct from saga.plan_hash(plan) then
    update saga.command set status = 'refused', refusal = 'plan_changed', approved_by = session_user, approved_at = now() where command_id = p_command;
    return jsonb_build_object('status', 'refused', 'refusal', 'plan_changed', 'by', saga.changed_by(c.saga_id));
  end if;
  update saga.command set status = 'approved', approved_by = session_user, approved_at = now() where command_id = p_command;
  perform saga.apply(p_command);
  return '{"status": "applied"}';
end $$;

-- ---- what people read -----------------------------------------------------------------------------------------------

create view read.sagas_v2 as
  select saga_id, definition, def_version, state, direction, "cursor", pivot_passed_at, version, lease_owner, lease_expires_at,
         wake_at, attempt, await_key, await_until, hold_expires_at, auth_expires_at, cancel_requested_at, cancel_requested_by, paused_at, paused_by, pause_reason,
         park_reason, park_code, parked_at, error_class, error_message, outcome, resolved_by, resolution, booking_id, customer_id, amount_minor, currency,
         context, assigned_to, snoozed_until, take_overs, fence, correlation_id, started_by, created_at, updated_at, finished_at
    from saga.instance;
-- The outcome of what was asked is that of the next try, and unknown until it ended: asking is not succeeding.
create view read.saga_commands_v2 as
  select c.command_id, c.saga_id, c.batch_id, c.action, c.params, c.reason, c.requested_by, c.requested_at,
         case when c.status = 'awaiting_approval' and c.expires_at < now() then 'expired' else c.status end as status,
         c.approved_by, c.approved_at, c.applied_at, c.applied_version, c.before, c.after, c.refusal, c.plan, encode(c.plan_hash, 'hex') as plan_hash, c.expires_at,
         a.result as outcome, a.error_class as outcome_class, a.ended_at as outcome_at
    from saga.command c
    left join lateral (select t.result, t.error_class, t.ended_at from saga.attempt t
                        where c.status = 'applied' and c.action in ('retry', 'compensate', 'resolve_step') and t.saga_id = c.saga_id and t.no > c.after_attempt and t.kind in ('auto', 'reconcile')
                        order by t.no limit 1) a on true;
create view read.saga_signals_v1 as select signal_id, saga_id, correlation_key, type, received_at, consumed_at, ignored_reason from saga.signal;
create view read.saga_attention_v1 as select case_id, saga_id, kind, severity, fact, opened_at, acked_by, acked_at, closed_at, closed_reason from saga.attention;
create view read.provider_gates_v1 as select provider, state, open_until, reason, max_in_flight, rate_per_s from saga.provider_gate;
create view read.saga_workers_v1 as select worker_id, host, app_version, supports, kind, heartbeat_at, draining from saga.worker;

revoke all on function saga.guard_transition(), saga.guard_attempt(), saga.keep_case(), saga.facts(uuid), saga.undo_operations(jsonb), saga.others_may_approve(text),
  saga.plan(jsonb, text, jsonb, text), saga.plan_hash(jsonb), saga.apply(uuid), saga.lacks(text, jsonb, text), saga.changed_by(uuid),
  api.put_saga_policy(int, jsonb, text), api.preview_saga(uuid, text, jsonb), api.preview_saga_command(uuid), api.saga_actions(uuid),
  api.command_saga(uuid, uuid, text, int, text, jsonb, text, jsonb), api.decide_saga_command(uuid, boolean, text, text) from public;
grant execute on function api.preview_saga(uuid, text, jsonb), api.preview_saga_command(uuid), api.saga_actions(uuid) to bizing_viewer;
grant execute on function api.command_saga(uuid, uuid, text, int, text, jsonb, text, jsonb) to bizing_staff;
grant execute on function api.decide_saga_command(uuid, boolean, text, text) to bizing_manager;
grant execute on function api.put_saga_policy(int, jsonb, text) to bizing_admin;
grant select on read.sagas_v2, read.saga_commands_v2, read.saga_signals_v1, read.saga_attention_v1, read.provider_gates_v1, read.saga_workers_v1, read.saga_policy_v1
  to bizing_viewer, bizing_worker;
grant select on saga.policy, saga.action to bizing_worker;
