-- A hold that is over can be had again while nobody else has the slot: the saga was paused, or no worker was alive to take it back.
-- Whether somebody has it is decided as for every hold, by `api.hold_inventory` and the exclusion constraint; the plan asks the same
-- function that names a rival there.
--
-- Replaced: `api.hold_inventory` of 0075 (who is in the way and what is beyond a capacity are functions of their own),
-- `api.command_saga` of 0025 (the act itself may refuse), `saga.plan_of`, `saga.lacks` and `saga.apply` of 0164.
--
-- Locks: none on tables.

-- Who has one of these places now.
create function booking.rivals(p_booking uuid, p_resource uuid[], p_unit smallint[], p_during tstzrange[])
returns table (resource_id uuid, during tstzrange, booking_id uuid) language sql stable
  set search_path = pg_catalog, booking, public set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
  select c.resource_id, c.during, c.booking_id from booking.inventory_claim c
    join unnest(p_resource, p_unit, p_during) as w(r, u, d) on c.resource_id = w.r and c.unit = w.u and c.during && w.d
   where c.released_at is null and (c.expires_at is null or c.expires_at >= now()) and c.booking_id is distinct from p_booking
$$;

-- What only a manager may hold. Without settings of its own, so that it becomes part of whoever asks.
create function booking.beyond_capacity(p_resource uuid[], p_unit smallint[])
returns table (name text, capacity smallint, unit smallint) language sql stable as $$
  select r.name, r.capacity, w.unit
    from unnest(p_resource, p_unit) as w(resource_id, unit) join booking.resource r on r.resource_id = w.resource_id
   where w.unit > r.capacity
$$;

-- As in 0075, otherwise.
create or replace function api.hold_inventory(p_booking uuid, p_reference text, p_expires timestamptz,
                                              p_claim uuid[], p_resource uuid[], p_unit smallint[], p_during tstzrange[])
returns table (resource_id uuid, taken tstzrange, by_booking uuid)
language plpgsql security definer set search_path = pg_catalog, booking, public set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
  held int;
  beyond record;
begin
  select b.name, b.capacity, b.unit into beyond from booking.beyond_capacity(p_resource, p_unit) b limit 1;
  if found and not admin.caller_is('manager') then
    raise exception '% has % unit(s), and % asked for unit %: only a manager may overbook',
      beyond.name, beyond.capacity, session_user, beyond.unit using errcode = 'insufficient_privilege';
  end if;

  -- Expiry is decided here, by the one clock that counts: correctness never waits for a sweeper. Most slots have no expired hold,
  -- and to see that costs a third of locking none.
  if exists (select from unnest(p_resource, p_during) as w(r, d)
              where exists (select from booking.inventory_claim c
                             where c.resource_id = w.r and c.during && w.d and c.released_at is null and c.expires_at < now())) then
    -- Locked in one order: two who find the same expired holds must not wait for each other.
    with stale as (
      select c.claim_id from booking.inventory_claim c join unnest(p_resource, p_during) as w(r, d) on c.resource_id = w.r and c.during && w.d
       where c.released_at is null and c.expires_at < now()
       order by c.resource_id, c.unit, lower(c.during) for update of c
    )
    update booking.inventory_claim c set released_at = now(), release_reason = 'expired'
     where c.claim_id = any(array(select claim_id from stale));
  end if;

  insert into booking.booking (booking_id, reference) values (p_booking, p_reference) on conflict (booking_id) do nothing;

  with want as (
    select * from unnest(p_claim, p_resource, p_unit, p_during) as w(claim_id, resource_id, unit, during)
     order by resource_id, unit, lower(during)
  ), ins as (
    insert into booking.inventory_claim (claim_id, resource_id, unit, during, kind, booking_id, expires_at)
    select claim_id, resource_id, unit, during, case when p_expires is null then 'booking' else 'hold' end, p_booking, p_expires from want
    on conflict do nothing returning claim_id
  )
  select count(*) into held from ins;
  if held < cardinality(p_claim) then
    return query
      select r.resource_id, r.during, r.booking_id from booking.rivals(p_booking, p_resource, p_unit, p_during) r;
    if not found then   -- the rival let go between the two statements
      raise exception 'inventory changed while it was claimed' using errcode = 'serialization_failure';
    end if;
  end if;
end $$;

-- The places of a booking that is not over, and whether it still has them.
create function booking.places(p_booking uuid) returns table (resource_id uuid, unit smallint, during tstzrange, live boolean)
  language sql stable set search_path = pg_catalog, booking as $$
  select c.resource_id, c.unit, c.during, bool_or(c.released_at is null and (c.expires_at is null or c.expires_at >= now()))
    from booking.inventory_claim c
   where c.booking_id = p_booking and (c.released_at is null or c.release_reason = 'expired')
   group by c.resource_id, c.unit, c.during
$$;

-- Holds the places of a booking until then: those it has for longer, those that ran out as if they were asked for now. False: somebody
-- has one of them, and nothing is changed.
create function booking.hold_until(p_booking uuid, p_until timestamptz) returns boolean language plpgsql
  set search_path = pg_catalog, booking as $$
declare
  lost record;
begin
  update booking.inventory_claim c set expires_at = p_until where c.booking_id = p_booking and c.released_at is null and c.expires_at >= now();
  select array_agg(gen_random_uuid()) as claims, array_agg(p.resource_id) as resources, array_agg(p.unit) as units, array_agg(p.during) as during,
         (select b.reference from booking.booking b where b.booking_id = p_booking) as reference
    into lost from booking.places(p_booking) p where not p.live;
  if lost.claims is not null then
    perform from api.hold_inventory(p_booking, lost.reference, p_until, lost.claims, lost.resources, lost.units, lost.during);
    if found then raise exception 'the slot is taken' using errcode = 'SG003'; end if;
  end if;
  return true;
-- Or the rival let go while it was decided: whoever asks is to look anew.
exception when sqlstate 'SG003' or serialization_failure then
  return false;
end $$;

-- For how long, as a person sent it; null: nothing that could be meant.
create function saga.hold_minutes(p_params jsonb) returns int language sql immutable set search_path = pg_catalog as $$
  select m from (select case when p_params->>'minutes' ~ '^[0-9]{1,4}$' then (p_params->>'minutes')::int end) as x(m) where m between 5 and 1440
$$;

-- What follows when the slot is held for `{minutes}` more: longer, or again from now on where the hold is over. A week in all.
create function saga.plan_hold(f jsonb, p_params jsonb) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  ends timestamptz := (f->>'hold_expires_at')::timestamptz;
  minutes int := saga.hold_minutes(p_params);
  it uuid;
  most timestamptz;
  held record;
  rival text;
  refused text;
begin
  select i.booking_id, i.created_at + interval '7 days' into it, most from saga.instance i where i.saga_id = (f->>'saga_id')::uuid;
  select bool_or(not p.live) as lost, array_agg(p.resource_id) as resources, array_agg(p.unit) as units, array_agg(p.during) as during
    into held from booking.places(it) p;
  refused := case
    when f->>'state' <> 'waiting' or f->>'direction' <> 'F' or f->>'step' not in ('hold', 'payment') then 'not_waiting'
    when ends is null or held.lost is null then 'no_hold'
    when greatest(ends, now()) >= most then 'hold_most'
    when not held.lost then null
    when (f->>'starts')::timestamptz <= now() then 'begun'
    when not admin.caller_is('manager') and exists (select from booking.beyond_capacity(held.resources, held.units)) then 'needs_manager'
  end;
  if refused is null and held.lost then
    select b.reference into rival from booking.rivals(it, held.resources, held.units, held.during) r left join booking.booking b using (booking_id)
     order by b.reference limit 1;
    if found then
      return jsonb_build_object('refused', 'slot_taken', 'operations', jsonb_build_array(jsonb_build_object('step', 'hold', 'op', 'slot_taken', 'object', rival)));
    end if;
  end if;
  return jsonb_build_object('refused', refused, 'operations', case when refused is not null then '[]' else jsonb_build_array(jsonb_build_object(
    'step', 'hold', 'op', case when held.lost then 'hold_again' else 'extend' end, 'since', ends,
    'at', case when minutes is not null then least(greatest(ends, now()) + make_interval(mins => minutes), most) end)) end);
end $$;

-- As in 0164, but for holds.
create or replace function saga.plan_of(f jsonb, p_action text, p_params jsonb, p_by text) returns jsonb language plpgsql stable security definer
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
  more jsonb;
  looked text;
  contradicts boolean := false;
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
        -- What is on its way is what is settled; else what is to go back, less what stays by decision.
        refund := coalesce(nullif((f->>'pending_minor')::bigint, 0),
                           case when step = 'refund' then (f#>>'{terms,refund_minor}')::bigint else kept end - (f->>'keeps_minor')::bigint);
        decides := true;
        ops := ops || jsonb_build_object('step', step, 'op', 'record_refund', 'amount_minor', refund, 'currency', f->'currency');
      end if;
      -- What a worker saw of this very call when Stripe was asked last, within the hour.
      select c->>'found' into looked
        from admin.ask a cross join lateral jsonb_array_elements(a.answer->'calls') c
       where a.saga_id = (f->>'saga_id')::uuid and a.answered_at > now() - interval '1 hour' and c->>'effect_id' = f->>'open_effect'
       order by a.answered_at desc limit 1;
      contradicts := case coalesce(p_params->>'outcome', 'done') when 'done' then looked = 'absent' else looked = 'happened' end is true;
      if contradicts then ops := ops || jsonb_build_object('step', step, 'op', 'contradicts', 'found', looked); end if;
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
      more := saga.plan_hold(f, p_params);
      refused := more->>'refused';
      ops := more->'operations';
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
      terms := saga.cancel_terms(policy.value, kept, f->>'currency', (f->>'starts')::timestamptz, coalesce((p_params->>'waive_fee')::boolean, false));
      ops := saga.cancel_operations(f, terms);
      refund := (terms->>'refund_minor')::bigint;
      decides := true;
    when 'assign', 'snooze' then
      if (f->>'finished')::boolean then refused := 'finished'; end if;
    when 'note' then null;
    else
      more := saga.plan_more(f, p_action, p_params);
      refused := more->>'refused';
      ops := coalesce(more->'operations', '[]');
  end case;

  select * into policy from saga.policy order by version desc limit 1;
  threshold := coalesce((policy.value#>>array['approval_minor', f->>'currency'])::bigint, (policy.value#>>'{approval_minor,*}')::bigint);
  return jsonb_build_object('action', p_action, 'params', p_params - 'evidence', 'refused', refused, 'operations', ops,
    'refund_minor', case when p_action in ('compensate', 'cancel') then greatest(refund, 0) else 0 end, 'kept_minor', kept, 'currency', f->'currency',
    'needs_approval', refused is null and contradicts and saga.others_may_approve(p_by) or decides and refused is null and saga.others_may_approve(p_by)
                      and case when p_action = 'resolve' then kept <> 0 and f->>'definition' not like 'cancellation@%'
                                                   or f->>'definition' like 'cancellation@%' and kept <> coalesce((f#>>'{terms,fee_minor}')::bigint, 0)
                                                 else refund > 0 and refund >= threshold end,
    'threshold_minor', threshold, 'policy_version', policy.version, 'to_version', more->'to_version', 'terms', terms, 'facts', f - 'owner_alive');
end $$;

-- As in 0164, and: minutes by the function that plans them.
create or replace function saga.lacks(p_action text, p_params jsonb, p_reason text) returns text language sql immutable set search_path = pg_catalog, saga as $$
  select case
    when p_action in ('resolve', 'resolve_step') and char_length(btrim(coalesce(p_params->>'evidence', ''))) < 3 then 'evidence'
    when p_action = 'resolve' and not coalesce(p_params->'checked', '[]') @> '["money", "booking", "slot"]' then 'checked'
    when p_action = 'resolve_step' and coalesce(p_params->>'outcome', '') not in ('done', 'not_done') then 'outcome'
    when p_action = 'extend_hold' and saga.hold_minutes(p_params) is null then 'minutes'
    when p_action = 'snooze' and p_params->>'until' is null then 'until'
    when p_action = 'refund_part' and saga.minor(p_params->'refund_minor') is null then 'refund_minor'
    when p_action = 'note' and char_length(btrim(coalesce(p_reason, ''))) < 1 then 'reason'
    when p_action = 'correct' and coalesce(p_params->>'field', '') not in ('email', 'payment_method') then 'field'
  end
$$;

-- As in 0164, and: a hold that is over.
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
  target jsonb;
  turns boolean;      -- the saga goes back from here
begin
  select * into c from saga.command where command_id = p_command;
  select * into i from saga.instance where saga_id = c.saga_id for update;
  was := jsonb_build_object('def_version', i.def_version, 'state', i.state, 'cursor', i."cursor", 'direction', i.direction, 'version', i.version, 'park_code', i.park_code, 'park_reason', i.park_reason,
    'error_class', i.error_class, 'error_message', i.error_message);
  spec := saga.spec_of(i.definition, i.def_version);
  steps := jsonb_array_length(spec->'steps');
  at_step := i.step;
  select coalesce(max(a.no), 0) into no from saga.attempt a where a.saga_id = i.saga_id;
  evidence := c.params->>'evidence';

  -- Looked at again as it stands there, whatever was said of that step before.
  if c.action in ('undo_from', 'refund_part') then at_step := saga.step_at(spec, (c.plan->>'at')::int); end if;
  turns := c.action = 'compensate' or c.action = 'refund_part' and (c.plan->>'turns')::boolean;

  -- One move for what puts a saga back to work: another owner's write is over from here on.
  if c.action in ('retry', 'correct', 'compensate', 'undo_from', 'refund_part', 'skip', 'resolve_step') then
    if (c.action = 'retry' and i.state = 'parked' or c.action = 'correct') and i.direction = 'F' and i.step = 'notify' then
      update delivery.deliveries d set state = 'scheduled', finished_at = null, next_at = now(), give_up_at = now() + interval '30 minutes', fence = d.fence + 1
       where d.delivery_id = (select x.delivery_id from delivery.deliveries x where x.stream_id = 'booking-' || i.booking_id and x.template = coalesce(spec->>'message', 'booking_confirmed')
                               order by x.position desc limit 1) and d.state in ('gave_up', 'scheduled', 'skipped');
    end if;
    if c.action = 'resolve_step' then
      effect := (c.plan#>>'{operations,0,effect_id}')::uuid;
      update saga.effect e set outcome = case when c.params->>'outcome' = 'done' then 'confirmed' else 'not_executed' end, resolved_at = now(), resolved_via = 'operator',
             response = jsonb_build_object('evidence', evidence, 'reason', c.reason, 'by', c.requested_by, 'approved_by', c.approved_by)
       where e.effect_id = effect and e.saga_id = i.saga_id;
    end if;
    update saga.instance x
       set state = case when turns or x.direction = 'C' then 'compensating' when x.state = 'waiting' then 'waiting' else 'running' end,
           direction = case when turns then 'C' else x.direction end,
           "cursor" = case when c.action in ('undo_from', 'refund_part') then (c.plan->>'at')::smallint else x."cursor" end,
           version = x.version + 1, fence = x.fence + 1, by_fence = x.fence + 1, lease_owner = null, lease_expires_at = null, wake_at = now(), attempt = 0,
           park_reason = null, park_code = null, parked_at = null, snoozed_until = null, error_class = null, error_message = null, take_overs = 0,
           await_key = case when x.state = 'waiting' and c.action in ('retry', 'correct') then x.await_key end, updated_at = now(),
           context = x.context || jsonb_build_object('hands_on', true)
             || case when turns then jsonb_build_object('undo_from', x."cursor", 'undo', jsonb_build_object('code', 'asked', 'by', c.requested_by, 'text', c.reason)) else '{}' end
             || case when c.action in ('undo_from', 'refund_part') and x.direction = 'C' then jsonb_build_object('undo_from', greatest((c.plan->>'at')::int, (x.context->>'undo_from')::int),
                  'undo', coalesce(x.context->'undo', jsonb_build_object('code', 'asked', 'by', c.requested_by, 'text', c.reason))) else '{}' end
             -- It holds until another decision takes its place, be it that all of it goes back.
             || case when c.action = 'refund_part' or c.action in ('compensate', 'undo_from') and x.context ? 'refund_part' then jsonb_build_object('refund_part', jsonb_build_object(
                  'kept_minor', coalesce((c.plan->>'keeps_minor')::bigint, 0), 'by', c.requested_by, 'approved_by', c.approved_by, 'reason', c.reason)) else '{}' end
             -- What was refused for good may be tried again, once more, as a new generation.
             || case when c.action in ('retry', 'correct', 'undo_from', 'refund_part') and not turns then jsonb_build_object('again', coalesce((select max(e.generation) from saga.effect e
                  where e.saga_id = x.saga_id and e.step = at_step and e.direction = x.direction), -1)) else '{}' end
     where x.saga_id = i.saga_id;
    if c.action = 'skip' then
      update saga.instance x set state = 'completed', outcome = 'completed_with_warnings', "cursor" = steps, version = x.version + 1, by_fence = x.fence, finished_at = now(), updated_at = now()
       where x.saga_id = i.saga_id;
    end if;
    insert into saga.attempt (saga_id, no, step, direction, kind, effect_id, fence, started_at, ended_at, result, output)
      select x.saga_id, no + 1, at_step, i.direction, case when c.action = 'skip' then 'skip' else 'operator' end, effect, x.fence, now(), clock_timestamp(),
             case c.action when 'compensate' then 'undo_asked' when 'undo_from' then 'undo_asked' when 'refund_part' then 'part_decided' when 'skip' then 'told_by_hand' when 'resolve_step' then 'resolved' when 'correct' then 'corrected' else 'retry_asked' end,
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
    extended := (c.plan#>>'{operations,0,at}')::timestamptz;
    -- Somebody took the slot while this was decided: nothing is done, and the audit says why.
    if not booking.hold_until(i.booking_id, extended) then
      update saga.command k set status = 'refused', refusal = 'slot_taken' where k.command_id = p_command;
      return;
    end if;
    update saga.instance x set hold_expires_at = extended, version = x.version + 1, fence = x.fence + 1, by_fence = x.fence + 1, lease_owner = null, lease_expires_at = null,
           updated_at = now() where x.saga_id = i.saga_id;
  elsif c.action = 'migrate' then
    target := saga.spec_of(i.definition, (c.plan->>'to_version')::int);
    update saga.instance x
       set def_version = (c.plan->>'to_version')::int,
           "cursor" = (select (o - 1)::smallint from jsonb_array_elements(target->'steps') with ordinality as n(s, o) where s->>'name' = i.step),
           version = x.version + 1, fence = x.fence + 1, by_fence = x.fence + 1, lease_owner = null, lease_expires_at = null, wake_at = now(), updated_at = now()
     where x.saga_id = i.saga_id;
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
         (applied_version, after) = (select x.version, jsonb_build_object('def_version', x.def_version, 'state', x.state, 'cursor', x."cursor", 'direction', x.direction, 'version', x.version,
            'assigned_to', x.assigned_to, 'hold_expires_at', x.hold_expires_at) from saga.instance x where x.saga_id = i.saga_id)
   where k.command_id = p_command;
end $$;

-- As in 0025, and: the act itself may find that somebody was faster.
create or replace function api.command_saga(p_command uuid, p_saga uuid, p_action text, p_version int, p_hash text, p_params jsonb, p_reason text, p_client jsonb)
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
  return (select jsonb_build_object('status', k.status, 'refusal', k.refusal) from saga.command k where k.command_id = p_command);
end $$;

revoke all on function booking.rivals(uuid, uuid[], smallint[], tstzrange[]), booking.beyond_capacity(uuid[], smallint[]), booking.places(uuid),
  booking.hold_until(uuid, timestamptz), saga.hold_minutes(jsonb), saga.plan_hold(jsonb, jsonb) from public;
