-- Definitions are data: which steps a saga has, what each asks of whom, from where on there is no way back. The database
-- moves a saga only along its own definition, and two more follow: `booking_free` (nothing is asked of a provider) and
-- `cancellation` (a confirmed booking is given up under the terms of the policy: fee, partial refund, slot, message).
--
-- Locks: saga.instance gets two columns without a rewrite, filled once for what is not over (a second for 100,000), and an index.

-- ---- the row knows its step ------------------------------------------------------------------------------------------

alter table saga.instance
  add column step text,                      -- the step at work by name; null at both ends. Kept by the trigger below
  add column asks text;                      -- whom that step asks; null: nobody

-- What a definition says of a place. A name, a provider, or null beyond the ends.
create function saga.step_at(p_spec jsonb, p_cursor int) returns text language sql immutable set search_path = pg_catalog as $$
  select case when p_cursor >= 0 then p_spec#>>array['steps', p_cursor::text, 'name'] end
$$;
create function saga.asks_at(p_spec jsonb, p_cursor int) returns text language sql immutable set search_path = pg_catalog as $$
  select case when p_cursor >= 0 then p_spec#>>array['steps', p_cursor::text, 'provider'] end
$$;
create function saga.spec_of(p_definition text, p_version int) returns jsonb language sql stable set search_path = pg_catalog, saga as $$
  select spec from saga.definition where name = p_definition and version = p_version
$$;

create function saga.place_instance() returns trigger language plpgsql set search_path = pg_catalog, saga as $$
declare
  spec jsonb;
  steps int;
begin
  if tg_op = 'UPDATE' and (new."cursor", new.state, new.direction, new.definition, new.def_version)
       is not distinct from (old."cursor", old.state, old.direction, old.definition, old.def_version) then
    return new;
  end if;
  spec := saga.spec_of(new.definition, new.def_version);
  steps := jsonb_array_length(spec->'steps');
  if new."cursor" not between -1 and steps then
    raise exception 'saga %: %@% has no step %', new.saga_id, new.definition, new.def_version, new."cursor" using errcode = 'check_violation';
  end if;
  if new.state = 'completed' and new."cursor" <> steps or new.state = 'compensated' and new."cursor" <> -1 then
    raise exception 'saga %: % at step % of %', new.saga_id, new.state, new."cursor", steps using errcode = 'check_violation';
  end if;
  if tg_op = 'UPDATE' then
    if new.definition <> old.definition then
      raise exception 'saga %: it stays a %', new.saga_id, old.definition using errcode = 'check_violation';
    end if;
    if new.def_version <> old.def_version and (new.version = old.version
         or exists (select 1 from saga.effect e where e.saga_id = new.saga_id and e.resolved_at is null)) then
      raise exception 'saga %: a definition changes between two steps, with nothing open', new.saga_id using errcode = 'check_violation';
    end if;
    -- Beyond it nothing is taken back: the customer knows, and the slot may be somebody else's.
    if new.direction = 'C' and old.direction = 'F' and old."cursor" >= (spec->>'forward_only_from')::int then
      raise exception 'saga %: from step % on % only goes forward', new.saga_id, spec->>'forward_only_from', new.definition using errcode = 'check_violation';
    end if;
    -- Forward never goes back; back goes up only to the step that took the money, should it have been taken after all.
    -- Opening again is a person's act, and begins at the last step.
    if old.finished_at is null and new.def_version = old.def_version and (
         new.direction = 'F' and old.direction = 'F' and new."cursor" < old."cursor"
      or new.direction = 'C' and new."cursor" > old."cursor" and not coalesce((spec#>>array['steps', new."cursor"::text, 'pivot'])::boolean, false)) then
      raise exception 'saga %: % -> % is not a way of %@%', new.saga_id, old."cursor", new."cursor", new.definition, new.def_version using errcode = 'check_violation';
    end if;
  end if;
  new.step := saga.step_at(spec, new."cursor");
  new.asks := case when new.context->>'provider' is distinct from 'none' then saga.asks_at(spec, new."cursor") end;
  return new;
end $$;
create trigger place before insert or update on saga.instance for each row execute function saga.place_instance();
update saga.instance i set step = saga.step_at(d.spec, i."cursor"),
       asks = case when i.context->>'provider' is distinct from 'none' then saga.asks_at(d.spec, i."cursor") end
  from saga.definition d where d.name = i.definition and d.version = i.def_version and i.finished_at is null;
drop index saga.instance_asks;
create index instance_asks on saga.instance (wake_at) where finished_at is null and asks is not null;

-- What sagas run by is never edited: another way is another version.
create function saga.keep_definition() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
  raise exception 'a definition is never changed: % is another version', tg_op using errcode = 'check_violation';
end $$;
create trigger keep before update or delete on saga.definition for each row execute function saga.keep_definition();

insert into saga.definition (name, version, spec) values
  ('booking_free', 1, '{
  "steps": [
    {"name": "hold",    "kind": "local",    "undo": "release"},
    {"name": "confirm", "kind": "local",    "undo": "cancel"},
    {"name": "notify",  "kind": "delivery", "undo": "correct"}],
  "message": "booking_confirmed"}'),
  ('cancellation', 1, '{
  "steps": [
    {"name": "cancel",  "kind": "local"},
    {"name": "refund",  "kind": "external", "provider": "stripe"},
    {"name": "release", "kind": "local"},
    {"name": "notify",  "kind": "delivery"}],
  "message": "booking_cancelled",
  "forward_only_from": 1}');

-- ---- terms of a cancellation -----------------------------------------------------------------------------------------

-- Until so many hours before the start it is free; from there on, and again when it is late, a part of what was paid stays.
alter table saga.policy drop constraint policy_whole;
insert into saga.policy (version, value, reason)
  select version + 1, '{"cancel_free_hours": 24, "cancel_fee_percent": 50, "cancel_late_hours": 2, "cancel_late_percent": 100}'::jsonb || value,
         'as delivered: the terms of a cancellation'
    from saga.policy order by version desc limit 1;
alter table saga.policy add constraint policy_whole check (
    value->>'notify_on_exhausted' in ('compensate', 'park', 'continue')
    and jsonb_typeof(value->'approval_minor') = 'object' and jsonb_typeof(value->'approval_minor'->'*') = 'number'
    and (value->>'blast_sagas')::int between 2 and 1000 and (value->>'blast_minutes')::int between 1 and 1440
    and (value->>'late_hours')::int between 0 and 720
    -- Versions of before have no terms.
    and (not value ? 'cancel_free_hours' or (
      (value->>'cancel_free_hours')::int between 0 and 8760 and (value->>'cancel_fee_percent')::int between 0 and 100
      and (value->>'cancel_late_hours')::int between 0 and (value->>'cancel_free_hours')::int
      and (value->>'cancel_late_percent')::int between (value->>'cancel_fee_percent')::int and 100)));

-- The fee that stands now, of what is kept. Rounded down, and none where the policy says nothing: in doubt it goes back.
create function saga.cancel_terms(p_policy jsonb, p_kept bigint, p_starts timestamptz, p_waive boolean) returns jsonb
language sql stable set search_path = pg_catalog as $$
  with t as (select case when p_waive or not p_policy ? 'cancel_free_hours' then 0
      when now() <= p_starts - make_interval(hours => (p_policy->>'cancel_free_hours')::int) then 0
      when now() <= p_starts - make_interval(hours => (p_policy->>'cancel_late_hours')::int) then (p_policy->>'cancel_fee_percent')::int
      else (p_policy->>'cancel_late_percent')::int end as percent)
  select jsonb_build_object('percent', percent, 'fee_minor', p_kept * percent / 100, 'refund_minor', p_kept - p_kept * percent / 100, 'waived', p_waive) from t
$$;

insert into saga.action values ('cancel', 'staff', true, true, 14);   -- give up a confirmed booking under its terms

-- ---- facts -----------------------------------------------------------------------------------------------------------

-- As before, and by the names of the definition's steps; a refund that came back is money that is here again.
create or replace function saga.facts(p_saga uuid) returns jsonb language plpgsql stable security definer set search_path = pg_catalog, saga as $$
declare
  i saga.instance;
  spec jsonb;
  facts jsonb;
begin
  select * into i from saga.instance where saga_id = p_saga;
  if not found then return null; end if;
  spec := saga.spec_of(i.definition, i.def_version);
  with e as (
    select e.version, t.name, e.data from core.streams s join core.events e using (stream_no) join core.event_types t using (type_no)
     where s.stream_id = 'booking-' || i.booking_id
  ), m as (
    select coalesce(sum((data#>>'{amount_received,amount_minor}')::bigint) filter (where name = 'PaymentReceived'), 0) as captured,
           coalesce(sum((data#>>'{amount,amount_minor}')::bigint) filter (where name = 'PaymentRefunded'), 0)
             - coalesce(sum((data#>>'{amount,amount_minor}')::bigint) filter (where name = 'RefundReturned'), 0) as refunded,
           coalesce(max(version) filter (where name = 'PaymentAuthorized'), 0) as authorised_at,
           coalesce(max(version) filter (where name in ('PaymentVoided', 'PaymentReceived')), 0) as unauthorised_at,
           coalesce(max(version) filter (where name = 'RefundRequested'), 0) as asked_at,
           coalesce(max(version) filter (where name in ('PaymentRefunded', 'RefundFailed')), 0) as answered_at,
           coalesce(max(version) filter (where name in ('RefundFailed', 'RefundReturned')), 0) as failed_at,
           bool_or(name = 'BookingConfirmed') as confirmed,
           bool_or(name in ('BookingCancelled', 'BookingExpired')) as cancelled,
           max(data->>'start_utc') filter (where name = 'BookingCreated') as starts,
           max(version) as stream_version
      from e
  )
  select jsonb_build_object(
    'captured_minor', m.captured, 'refunded_minor', m.refunded,
    'authorised_minor', case when m.authorised_at > m.unauthorised_at
       then (select (data#>>'{amount_capturable,amount_minor}')::bigint from e where e.version = m.authorised_at) else 0 end,
    'refund_pending', m.asked_at > m.answered_at, 'refund_failed', m.failed_at > 0 and m.failed_at > m.asked_at,
    'confirmed', coalesce(m.confirmed, false) and not coalesce(m.cancelled, false), 'cancelled', coalesce(m.cancelled, false),
    'starts', m.starts, 'stream_version', coalesce(m.stream_version, 0)) into facts from m;
  return facts || jsonb_build_object(
    'saga_id', i.saga_id, 'definition', i.definition || '@' || i.def_version, 'version', i.version, 'state', i.state, 'direction', i.direction,
    'cursor', i."cursor", 'step', i.step, 'steps', (select jsonb_agg(s->>'name' order by o) from jsonb_array_elements(spec->'steps') with ordinality as x(s, o)),
    'undoes', (select jsonb_agg(s->'undo' order by o) from jsonb_array_elements(spec->'steps') with ordinality as x(s, o)),
    'forward_only', coalesce(i."cursor" >= (spec->>'forward_only_from')::int, false), 'terms', i.context->'terms',
    'paused', i.paused_at is not null, 'leased', coalesce(i.lease_expires_at > now(), false), 'park_code', i.park_code,
    'finished', i.finished_at is not null, 'failing', i.error_class is not null, 'currency', i.currency,
    'cancel_requested', i.cancel_requested_at is not null, 'hold_expires_at', i.hold_expires_at,
    -- The booking is being given up, or was: its own saga has nothing to say any more.
    'given_up', i.definition <> 'cancellation' and exists (select 1 from saga.instance c where c.booking_id = i.booking_id and c.definition = 'cancellation' and c.state <> 'compensated'),
    'claims', (select count(*) from booking.inventory_claim c where c.booking_id = i.booking_id and c.released_at is null),
    'message', (select d.state from delivery.deliveries d where d.stream_id = 'booking-' || i.booking_id and d.template = coalesce(spec->>'message', 'booking_confirmed')
                 order by d.position desc limit 1),
    'effects', coalesce((select jsonb_agg(jsonb_build_array(f.step, f.direction, f.generation, f.outcome) order by f.intended_at, f.generation)
                           from saga.effect f where f.saga_id = i.saga_id), '[]'),
    'asked', exists (select 1 from saga.effect f where f.saga_id = i.saga_id and f.step = 'payment' and f.direction = 'F' and f.outcome in ('intended', 'unknown', 'confirmed')),
    'open_effect', (select f.effect_id from saga.effect f where f.saga_id = i.saga_id and f.resolved_at is null order by f.intended_at limit 1),
    'last_effect', (select jsonb_build_object('effect_id', f.effect_id, 'outcome', f.outcome, 'step', f.step, 'direction', f.direction, 'operation', f.operation)
                      from saga.effect f where f.saga_id = i.saga_id order by f.intended_at desc, f.generation desc limit 1),
    'owner_alive', coalesce((select w.heartbeat_at > now() - interval '60 seconds' from saga.worker w where w.worker_id = i.lease_owner), false));
end $$;

-- What undoing from the saga's place would do, in strict reverse: each step by what its definition names as its undo. The
-- executor's own plan (plan/undo.rs) goes the same way; a test holds one against the other.
create or replace function saga.undo_operations(f jsonb) returns jsonb language plpgsql immutable set search_path = pg_catalog as $$
declare
  ops jsonb := '[]';
  kept bigint := (f->>'captured_minor')::bigint - (f->>'refunded_minor')::bigint;
  last int := least((f->>'cursor')::int, jsonb_array_length(f->'steps') - 1);
  step text;
begin
  for at in reverse last..0 loop
    step := f->'steps'->>at;
    ops := ops || case f->'undoes'->>at
      when 'correct' then case when f->>'direction' = 'F'
        then jsonb_build_object('step', step, 'op', case when f->>'message' in ('delivered', 'unclear') then 'correct' else 'nothing' end) else '[]' end
      when 'cancel' then jsonb_build_object('step', step, 'op', case when (f->>'confirmed')::boolean then 'cancel_booking' else 'nothing' end)
      when 'refund' then case when kept > 0
        then jsonb_build_object('step', step, 'op', 'refund', 'amount_minor', kept, 'currency', f->'currency')
        else jsonb_build_object('step', step, 'op', case when jsonb_path_exists(f->'effects', '$[*] ? (@[0] == "capture" && @[1] == "F" && (@[3] == "intended" || @[3] == "unknown"))')
                                                         then 'look_first' else 'nothing' end) end
      when 'void' then case when (f->>'captured_minor')::bigint = 0 and (f->>'asked')::boolean
        then jsonb_build_object('step', step, 'op', 'void', 'amount_minor', (f->>'authorised_minor')::bigint, 'currency', f->'currency')
        else jsonb_build_object('step', step, 'op', 'nothing') end
      when 'release' then jsonb_build_object('step', step, 'op', case when (f->>'claims')::int > 0 then 'release' else 'nothing' end, 'claims', f->'claims')
      else jsonb_build_object('step', step, 'op', 'nothing') end;
  end loop;
  return ops;
end $$;

-- What a cancellation would do, in its order.
create function saga.cancel_operations(f jsonb, terms jsonb) returns jsonb language sql immutable set search_path = pg_catalog as $$
  select jsonb_build_array(jsonb_build_object('step', 'cancel', 'op', 'cancel_booking'))
      || case when (terms->>'fee_minor')::bigint > 0
           then jsonb_build_array(jsonb_build_object('step', 'cancel', 'op', 'keep_fee', 'amount_minor', terms->'fee_minor', 'currency', f->'currency', 'percent', terms->'percent')) else '[]' end
      || jsonb_build_array(case when (terms->>'refund_minor')::bigint > 0
           then jsonb_build_object('step', 'refund', 'op', 'refund', 'amount_minor', terms->'refund_minor', 'currency', f->'currency')
           else jsonb_build_object('step', 'refund', 'op', 'nothing') end)
      || jsonb_build_array(jsonb_build_object('step', 'release', 'op', case when (f->>'claims')::int > 0 then 'release' else 'nothing' end, 'claims', f->'claims'),
                           jsonb_build_object('step', 'notify', 'op', 'tell_cancelled'))
$$;

-- What an action would do now, or why it cannot: facts in, plan out. The same facts have the same hash; of the clock only
-- the terms of a cancellation depend, and a fee that rose meanwhile is another plan.
create or replace function saga.plan(f jsonb, p_action text, p_params jsonb, p_by text) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  refused text;
  ops jsonb := '[]';
  refund bigint := 0;
  kept bigint := (f->>'captured_minor')::bigint - (f->>'refunded_minor')::bigint;
  state text := f->>'state';
  forward boolean := f->>'direction' = 'F';
  step text := f->>'step';
  last jsonb := f->'last_effect';
  terms jsonb;
  -- The step whose call gives money back: an undo of a booking, the way forward of a cancellation.
  refunds boolean := not (f->>'direction' = 'F') and f->>'step' = 'capture' or f->>'step' = 'refund';
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
      elsif state = 'parked' and forward and step = 'notify' and f->>'message' = 'unclear' then refused := 'message_unclear';
      end if;
      ops := jsonb_build_array(jsonb_build_object('step', step, 'op', case when forward and step = 'notify' then 'send_again' else 'try_again' end));
    when 'compensate' then
      if (f->>'finished')::boolean then refused := 'finished';
      elsif not forward then refused := 'undoing';
      elsif (f->>'forward_only')::boolean then refused := 'forward_only';
      elsif (f->>'given_up')::boolean then refused := 'given_up';
      elsif (f->>'leased')::boolean then refused := 'at_work';
      elsif (f->>'paused')::boolean then refused := 'paused';
      end if;
      ops := saga.undo_operations(f);
      refund := case when jsonb_path_exists(ops, '$[*] ? (@.op == "refund")') then kept else 0 end;
      decides := true;
    when 'skip' then
      if state <> 'parked' then refused := 'not_parked';
      elsif not forward or step is distinct from 'notify' then refused := 'not_skippable';
      elsif not (f->>'confirmed')::boolean and f->>'definition' not like 'cancellation@%' then refused := 'not_confirmed';
      end if;
      ops := jsonb_build_array(jsonb_build_object('step', 'notify', 'op', 'told_by_hand'));
    when 'resolve_step' then
      if state <> 'parked' then refused := 'not_parked';
      elsif f->>'open_effect' is null and not (refunds and (last->>'outcome' = 'rejected' or (f->>'refund_failed')::boolean)) then refused := 'outcome_known';
      elsif coalesce(p_params->>'outcome', '') not in ('done', 'not_done', '') then refused := 'outcome';
      end if;
      ops := jsonb_build_array(jsonb_build_object('step', coalesce(last->>'step', ''), 'op', coalesce(p_params->>'outcome', 'done'), 'effect_id', coalesce(f->>'open_effect', last->>'effect_id'),
        'operation', last->'operation'));
      -- Money that is said to have gone back: a second pair of eyes above the threshold.
      if coalesce(p_params->>'outcome', 'done') = 'done' and refunds then
        refund := case when step = 'refund' then (f#>>'{terms,refund_minor}')::bigint else kept end;
        decides := true;
        ops := ops || jsonb_build_object('step', step, 'op', 'record_refund', 'amount_minor', refund, 'currency', f->'currency');
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
      if not (f->>'finished')::boolean then refused := 'not_finished';
      elsif (f->>'given_up')::boolean then refused := 'given_up';
      elsif state = 'compensated' and f->>'definition' like 'cancellation@%' then refused := 'withdrawn'; end if;
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
      if state <> 'waiting' or not forward or step not in ('hold', 'payment') then refused := 'not_waiting';
      elsif f->>'hold_expires_at' is null or (f->>'claims')::int = 0 then refused := 'no_hold';
      end if;
      ops := jsonb_build_array(jsonb_build_object('step', 'hold', 'op', 'extend', 'hold_expires_at', f->'hold_expires_at'));
    when 'release_lease' then
      if not (f->>'leased')::boolean then refused := 'not_leased';
      elsif (f->>'owner_alive')::boolean then refused := 'owner_alive';
      end if;
    when 'cancel' then
      if f->>'definition' like 'cancellation@%' then refused := 'cancelling';
      elsif (f->>'given_up')::boolean then refused := 'cancelling';
      elsif not (f->>'confirmed')::boolean then refused := 'not_confirmed_yet';
      elsif not forward then refused := 'undoing';
      elsif state = 'parked' then refused := 'decide_first';
      elsif (f->>'leased')::boolean then refused := 'at_work';
      elsif (f->>'paused')::boolean then refused := 'paused';
      elsif not (f->>'finished')::boolean and step is distinct from 'notify' then refused := 'at_work';
      elsif (f->>'refund_pending')::boolean then refused := 'refund_pending';
      elsif coalesce((p_params->>'waive_fee')::boolean, false) and not admin.caller_is('manager') then refused := 'waive_manager';
      end if;
      select * into policy from saga.policy order by version desc limit 1;
      terms := saga.cancel_terms(policy.value, kept, (f->>'starts')::timestamptz, coalesce((p_params->>'waive_fee')::boolean, false));
      ops := saga.cancel_operations(f, terms);
      refund := (terms->>'refund_minor')::bigint;
      decides := true;
    when 'assign', 'snooze' then
      if (f->>'finished')::boolean then refused := 'finished'; end if;
    when 'note' then null;
    else refused := 'unknown_action';
  end case;

  select * into policy from saga.policy order by version desc limit 1;
  threshold := coalesce((policy.value#>>array['approval_minor', f->>'currency'])::bigint, (policy.value#>>'{approval_minor,*}')::bigint);
  return jsonb_build_object('action', p_action, 'params', p_params - 'evidence', 'refused', refused, 'operations', ops,
    'refund_minor', case when p_action in ('compensate', 'cancel') then greatest(refund, 0) else 0 end, 'kept_minor', kept, 'currency', f->'currency',
    'needs_approval', decides and refused is null and saga.others_may_approve(p_by)
                      and case when p_action = 'resolve' then kept <> 0 and f->>'definition' not like 'cancellation@%'
                                                   or f->>'definition' like 'cancellation@%' and kept <> coalesce((f#>>'{terms,fee_minor}')::bigint, 0)
                                                 else refund > 0 and refund >= threshold end,
    'threshold_minor', threshold, 'policy_version', policy.version, 'terms', terms, 'facts', f - 'owner_alive');
end $$;


-- ---- apply -----------------------------------------------------------------------------------------------------------

-- As before, by the definition's own steps; and a cancellation is a saga of its own.
create or replace function saga.apply(p_command uuid) returns void language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  c saga.command;
  i saga.instance;
  was jsonb;
  at_step text;
  no int;
  effect uuid;
  evidence text;
  extended timestamptz;
  spec jsonb;
  steps int;
begin
  select * into c from saga.command where command_id = p_command;
  select * into i from saga.instance where saga_id = c.saga_id for update;
  was := jsonb_build_object('state', i.state, 'cursor', i."cursor", 'direction', i.direction, 'version', i.version, 'park_code', i.park_code, 'park_reason', i.park_reason,
    'error_class', i.error_class, 'error_message', i.error_message);
  spec := saga.spec_of(i.definition, i.def_version);
  steps := jsonb_array_length(spec->'steps');
  at_step := i.step;
  select coalesce(max(a.no), 0) into no from saga.attempt a where a.saga_id = i.saga_id;
  evidence := c.params->>'evidence';

  -- One move for what puts a saga back to work: another owner's write is over from here on.
  if c.action in ('retry', 'compensate', 'skip', 'resolve_step') then
    if c.action = 'retry' and i.state = 'parked' and i.direction = 'F' and i.step = 'notify' then
      update delivery.deliveries d set state = 'scheduled', finished_at = null, next_at = now(), give_up_at = now() + interval '30 minutes', fence = d.fence + 1
       where d.delivery_id = (select x.delivery_id from delivery.deliveries x where x.stream_id = 'booking-' || i.booking_id and x.template = coalesce(spec->>'message', 'booking_confirmed')
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
      update saga.instance x set state = 'completed', outcome = 'completed_with_warnings', "cursor" = steps, version = x.version + 1, by_fence = x.fence, finished_at = now(), updated_at = now()
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
           "cursor" = greatest(0, least(x."cursor", steps - 1)),
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
  elsif c.action = 'cancel' then
    -- A booking that only waits to be told is over with this: the cancellation tells the customer itself.
    if i.finished_at is null then
      update saga.instance x
         set state = 'completed', outcome = 'completed', "cursor" = steps, version = x.version + 1, fence = x.fence + 1, by_fence = x.fence + 1, lease_owner = null,
             lease_expires_at = null, await_key = null, error_class = null, error_message = null, finished_at = now(), updated_at = now()
       where x.saga_id = i.saga_id;
    end if;
    insert into saga.instance (saga_id, definition, def_version, dedupe_key, booking_id, customer_id, amount_minor, currency, context, correlation_id, causation_id, started_by)
      values (c.command_id, 'cancellation', 1,
              format('cancellation:%s:%s', i.booking_id, 1 + (select count(*) from saga.instance x where x.booking_id = i.booking_id and x.definition = 'cancellation')),
              i.booking_id, i.customer_id, i.amount_minor, i.currency,
              jsonb_build_object('reference', i.context->'reference', 'terms', (c.plan->'terms') || jsonb_build_object('policy_version', c.plan->'policy_version'),
                'provider', case when (c.plan#>>'{terms,refund_minor}')::bigint > 0 then 'stripe' else 'none' end,
                'cancel', jsonb_build_object('by', c.requested_by, 'text', c.reason, 'approved_by', c.approved_by)),
              i.correlation_id, i.saga_id, c.requested_by);
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


-- A parked saga is an open case however it came in.
create or replace function saga.keep_case() returns trigger language plpgsql set search_path = pg_catalog, saga as $$
begin
  if new.state = 'parked' and (tg_op = 'INSERT' or old.state <> 'parked') then
    insert into saga.attention (case_id, saga_id, kind, severity, fact)
      values (gen_random_uuid(), new.saga_id, 'parked', 1, jsonb_build_object('code', new.park_code, 'cursor', new."cursor", 'step', new.step, 'direction', new.direction))
      on conflict do nothing;
  elsif tg_op = 'UPDATE' and old.state = 'parked' and new.state <> 'parked' then
    update saga.attention set closed_at = now(), closed_reason = new.state where saga_id = new.saga_id and kind = 'parked' and closed_at is null;
  end if;
  return null;
end $$;
create trigger keep_case_of_new after insert on saga.instance for each row when (new.state = 'parked') execute function saga.keep_case();

-- Asks a booking that is not confirmed yet to stop and take everything back. The command row is the audit.
create or replace function api.request_cancel(p_command uuid, p_saga uuid, p_reason text) returns text language plpgsql security definer
  set search_path = pg_catalog, saga as $$
declare
  i saga.instance;
  asked_of uuid;
begin
  select * into i from saga.instance where saga_id = p_saga for update;
  if not found then return 'not_found'; end if;
  select c.saga_id into asked_of from saga.command c where c.command_id = p_command;
  if found then return case when asked_of = p_saga then 'asked' else 'reused' end; end if;
  if i.finished_at is not null then return 'finished'; end if;
  if i.state = 'compensating' or i.cancel_requested_at is not null then return 'undoing'; end if;
  -- What is confirmed is given up under terms; a cancellation itself only by its own undo.
  if i.pivot_passed_at is not null or i.state = 'parked' or i.step is not distinct from 'notify' or i.definition = 'cancellation' then return 'too_late'; end if;
  insert into saga.command (command_id, saga_id, action, expected_version, reason, requested_by, status, applied_at, before)
    values (p_command, p_saga, 'cancel', i.version, p_reason, session_user, 'applied', now(),
            jsonb_build_object('state', i.state, 'cursor', i.cursor, 'version', i.version));
  -- Whoever writes at this moment knows nothing of it yet, so they write no more.
  update saga.instance set cancel_requested_at = now(), cancel_requested_by = session_user,
         version = version + 1, fence = fence + 1, by_fence = fence + 1, lease_owner = null, lease_expires_at = null,
         context = context || jsonb_build_object('cancel_reason', p_reason), wake_at = now(), updated_at = now()
   where saga_id = p_saga;
  return 'asked';
end $$;

-- ---- what people read ------------------------------------------------------------------------------------------------

create or replace view read.sagas_v1 as
  select saga_id, definition, def_version, state, direction, "cursor", pivot_passed_at, version, lease_owner, lease_expires_at,
         wake_at, attempt, await_key, await_until, hold_expires_at, cancel_requested_at, cancel_requested_by, paused_at,
         park_reason, parked_at, error_class, error_message, outcome, booking_id, customer_id, amount_minor, currency, context,
         correlation_id, started_by, created_at, updated_at, finished_at,
         step from saga.instance;
create or replace view read.sagas_v2 as
  select saga_id, definition, def_version, state, direction, "cursor", pivot_passed_at, version, lease_owner, lease_expires_at,
         wake_at, attempt, await_key, await_until, hold_expires_at, auth_expires_at, cancel_requested_at, cancel_requested_by, paused_at, paused_by, pause_reason,
         park_reason, park_code, parked_at, error_class, error_message, outcome, resolved_by, resolution, booking_id, customer_id, amount_minor, currency,
         context, assigned_to, snoozed_until, take_overs, fence, correlation_id, started_by, created_at, updated_at, finished_at,
         step, asks
    from saga.instance;

-- ---- money that came back after all ----------------------------------------------------------------------------------

insert into core.event_types (name, schema_version) values ('RefundReturned', 1);
insert into core.event_rights (name, group_name) values ('RefundReturned', 'worker');
-- What a provider tells of a refund, and nobody has looked at yet: a saga that is over looks for itself no more.
create index signal_of_refund on saga.signal (received_at)
  where consumed_at is null and ignored_reason is null and type in ('refund.failed', 'refund.updated', 'charge.refund.updated');

revoke all on function saga.step_at(jsonb, int), saga.asks_at(jsonb, int), saga.spec_of(text, int), saga.place_instance(), saga.keep_definition(),
  saga.cancel_terms(jsonb, bigint, timestamptz, boolean), saga.cancel_operations(jsonb, jsonb) from public;
grant execute on function saga.step_at(jsonb, int), saga.asks_at(jsonb, int), saga.spec_of(text, int) to bizing_worker;
