-- A person may decide that less than the whole goes back: of an undoing before it begins, of one that waits for a person at its refund or
-- above it, and of a cancellation whose refund did not go through. The sum is entered by an admin, under the plan that was shown, with a
-- reason; a second person says yes where the whole is as much as needs one, for what stays is decided too. The worker computes the
-- request as ever: what is here, less what the decision keeps. What stays is an event of the booking (RemainderKept), by which the
-- ledger, the booking's page and the saga's page tell it.
--
-- Replaced: `saga.facts` of 0031, `saga.undo_open` and `read.saga_commands_v2` of 0115, `saga.plan_of` of 0131, `saga.lacks` and
-- `saga.plan` of 0117, `saga.apply` of 0145. Facts say more than before, so a request that waits for a second person meanwhile is to be
-- asked for again.
--
-- Locks: none on tables.

insert into core.event_types (name, schema_version) values ('RemainderKept', 1);
insert into core.event_rights (name, group_name) values ('RemainderKept', 'worker');
insert into saga.action values ('refund_part', 'admin', true, true, 18);   -- less than the whole goes back, and the rest stays

-- A sum as a person sent it; null: none that could be meant.
create function saga.minor(p_value jsonb) returns bigint language sql immutable set search_path = pg_catalog as $$
  select case when jsonb_typeof(p_value) = 'number' and p_value #>> '{}' ~ '^-?[0-9]{1,15}$' then (p_value #>> '{}')::bigint end
$$;

-- As in 0031, and: what was decided to stay (`keeps_minor`), what of it the booking's history says (`kept_by_decision`), and how much is
-- on its way back.
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
           coalesce(max(version) filter (where name = 'RemainderKept'), 0) as kept_at,
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
    'refund_pending', m.asked_at > m.answered_at,
    'pending_minor', case when m.asked_at > m.answered_at then (select (data#>>'{amount,amount_minor}')::bigint from e where e.version = m.asked_at) else 0 end,
    'kept_by_decision', coalesce((select (data#>>'{amount,amount_minor}')::bigint from e where e.version = m.kept_at), 0),
    'refund_failed', m.failed_at > 0 and m.failed_at > m.asked_at,
    'confirmed', coalesce(m.confirmed, false) and not coalesce(m.cancelled, false), 'cancelled', coalesce(m.cancelled, false),
    'starts', m.starts, 'stream_version', coalesce(m.stream_version, 0)) into facts from m;
  return facts || jsonb_build_object(
    'saga_id', i.saga_id, 'definition', i.definition || '@' || i.def_version, 'version', i.version, 'state', i.state, 'direction', i.direction,
    'cursor', i."cursor", 'step', i.step, 'steps', (select jsonb_agg(s->>'name' order by o) from jsonb_array_elements(spec->'steps') with ordinality as x(s, o)),
    'undoes', (select jsonb_agg(s->'undo' order by o) from jsonb_array_elements(spec->'steps') with ordinality as x(s, o)),
    'forward_only', coalesce(i."cursor" >= (spec->>'forward_only_from')::int, false), 'terms', i.context->'terms',
    'keeps_minor', coalesce((i.context#>>'{refund_part,kept_minor}')::bigint, 0),
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

-- As in 0115, and: what stays by decision is not to go back.
create or replace function saga.undo_open(f jsonb, p_at int) returns boolean language sql immutable set search_path = pg_catalog as $$
  select case f->'undoes'->>p_at
    when 'cancel' then (f->>'confirmed')::boolean
    when 'refund' then (f->>'captured_minor')::bigint > (f->>'refunded_minor')::bigint + (f->>'kept_by_decision')::bigint or (f->>'refund_pending')::boolean
                       or jsonb_path_exists(f->'effects', '$[*] ? (@[0] == "capture" && (@[3] == "intended" || @[3] == "unknown"))')
    when 'void' then (f->>'captured_minor')::bigint = 0 and (f->>'asked')::boolean
                     and not jsonb_path_exists(f->'effects', '$[*] ? (@[0] == "payment" && @[1] == "C" && @[3] == "confirmed")')
    when 'release' then (f->>'claims')::int > 0
    else false end
$$;

-- As in 0131, and: what is settled by hand is what was asked for, or what is to go back by decision.
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
      if state <> 'waiting' or not forward or step not in ('hold', 'payment') then refused := 'not_waiting';
      elsif f->>'hold_expires_at' is null or (f->>'claims')::int = 0 then refused := 'no_hold';
      elsif (f->>'hold_expires_at')::timestamptz <= now() then refused := 'hold_over';
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

-- As in 0117, and: the sum of a part.
create or replace function saga.lacks(p_action text, p_params jsonb, p_reason text) returns text language sql immutable set search_path = pg_catalog, saga as $$
  select case
    when p_action in ('resolve', 'resolve_step') and char_length(btrim(coalesce(p_params->>'evidence', ''))) < 3 then 'evidence'
    when p_action = 'resolve' and not coalesce(p_params->'checked', '[]') @> '["money", "booking", "slot"]' then 'checked'
    when p_action = 'resolve_step' and coalesce(p_params->>'outcome', '') not in ('done', 'not_done') then 'outcome'
    when p_action = 'extend_hold' and not case when p_params->>'minutes' ~ '^[0-9]{1,4}$' then (p_params->>'minutes')::int between 5 and 1440 else false end then 'minutes'
    when p_action = 'snooze' and p_params->>'until' is null then 'until'
    when p_action = 'refund_part' and saga.minor(p_params->'refund_minor') is null then 'refund_minor'
    when p_action = 'note' and char_length(btrim(coalesce(p_reason, ''))) < 1 then 'reason'
    when p_action = 'correct' and coalesce(p_params->>'field', '') not in ('email', 'payment_method') then 'field'
  end
$$;

-- What follows when `{refund_minor}` goes back and the rest stays. Without a sum it says what the whole would be.
create function saga.plan_refund_part(f jsonb, p_params jsonb, p_by text) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  part bigint := saga.minor(p_params->'refund_minor');
  forward boolean := f->>'direction' = 'F';
  cancels boolean := f->>'definition' like 'cancellation@%';
  turns boolean := forward and not cancels;
  base jsonb;
  whole bigint;
  refused text;
begin
  if cancels then
    -- Of what its terms give back, and never of the fee.
    whole := least((f#>>'{terms,refund_minor}')::bigint, (f->>'captured_minor')::bigint - (f->>'refunded_minor')::bigint);
    base := saga.plan_of(f, 'compensate', '{}', p_by) || jsonb_build_object('refund_minor', whole, 'operations', jsonb_build_array(
      jsonb_build_object('step', 'refund', 'op', 'refund', 'amount_minor', whole, 'currency', f->'currency'),
      jsonb_build_object('step', 'release', 'op', case when (f->>'claims')::int > 0 then 'release' else 'nothing' end, 'claims', f->'claims'),
      jsonb_build_object('step', 'notify', 'op', 'tell_cancelled')));
    refused := case when (f->>'finished')::boolean then 'finished'
                    when f->>'step' is distinct from 'refund' or not forward then 'not_refunding'
                    when (f->>'paused')::boolean then 'paused'
                    when f->>'state' <> 'parked' then 'not_parked' end;
  else
    base := case when turns then saga.plan_of(f, 'compensate', '{}', p_by) else saga.plan_undo_from(f, '{}', p_by) end;
    whole := coalesce((select (o->>'amount_minor')::bigint from jsonb_array_elements(base->'operations') o where o->>'op' = 'refund'), 0);
    refused := base->>'refused';
  end if;
  refused := coalesce(refused, case
    when whole = 0 then 'nothing_to_refund'
    -- Asked of the provider, which has not said no: it may still fail, and then a person decides.
    when (f->>'refund_pending')::boolean and f#>>'{last_effect,outcome}' = 'confirmed' then 'refund_pending'
    when part <= 0 then 'sum_not_positive'
    when part > whole then 'sum_too_large'
    -- Stripe's currencies of three decimals.
    when f->>'currency' in ('BHD', 'JOD', 'KWD', 'OMR', 'TND') and part % 10 <> 0 then 'sum_odd' end);
  return base || jsonb_build_object('action', 'refund_part', 'params', p_params, 'refused', refused, 'turns', turns,
    'at', case when turns or cancels then f->'cursor' else base->'at' end,
    'whole_minor', whole, 'refund_minor', coalesce(part, whole), 'keeps_minor', whole - coalesce(part, whole),
    'operations', coalesce((select jsonb_agg(line order by n, k)
       from jsonb_array_elements(base->'operations') with ordinality as x(o, n)
      cross join lateral (values (1, case when o->>'op' = 'refund' then o || jsonb_build_object('amount_minor', coalesce(part, whole)) else o end),
                                 (2, case when o->>'op' = 'refund' and part < whole then o || jsonb_build_object('op', 'keep_part', 'amount_minor', whole - part) end)) l(k, line)
      where line is not null), '[]'),
    -- The whole is what is decided about.
    'needs_approval', refused is null and whole >= (base->>'threshold_minor')::bigint and saga.others_may_approve(p_by));
end $$;

-- As in 0117, and: a part of the whole; no undoing is tried again below the refund where more is here than stays by decision.
create or replace function saga.plan(f jsonb, p_action text, p_params jsonb, p_by text) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  plan jsonb := case p_action when 'undo_from' then saga.plan_undo_from(f, p_params, p_by) when 'refund_part' then saga.plan_refund_part(f, p_params, p_by) else saga.plan_of(f, p_action, p_params - 'checked', p_by) end;
  lines jsonb;
  lost boolean;
  gives boolean;
begin
  if p_action = 'resolve_step' and plan->>'refused' = 'outcome_known' and f->>'direction' <> 'F' and f->>'step' = 'payment'
     and f#>>'{last_effect,step}' = 'payment' and f#>>'{last_effect,direction}' = 'C' and f#>>'{last_effect,outcome}' = 'rejected' then
    plan := plan || jsonb_build_object('refused', case when coalesce(p_params->>'outcome', '') not in ('done', 'not_done', '') then 'outcome' end);
  end if;
  -- Below the refund nothing gives money back: a try there would only end with it here.
  if p_action = 'retry' and plan->>'refused' is null and f->>'direction' = 'C' and f->>'step' = 'hold' and (plan->>'kept_minor')::bigint > (f->>'kept_by_decision')::bigint then
    plan := plan || '{"refused": "money_here"}';
  end if;
  -- Of nobody else is anything asked.
  if p_action not in ('compensate', 'undo_from', 'refund_part', 'cancel', 'retry', 'resolve', 'resolve_step') then return plan; end if;
  select jsonb_agg(jsonb_build_object('op', case when d.status = 'lost' then 'dispute_lost' else 'disputed' end, 'amount_minor', d.amount_minor, 'currency', d.currency, 'object', d.dispute_id)
                   order by d.told_at, d.dispute_id), bool_and(d.status = 'lost')
    into lines, lost
    from saga.disputes d
   where d.booking_id = (select i.booking_id from saga.instance i where i.saga_id = (f->>'saga_id')::uuid) and (d.closed_at is null or d.status = 'lost');
  if lines is null then return plan; end if;
  gives := jsonb_path_exists(plan->'operations', '$[*] ? (@.op == "refund")')
        or p_action = 'retry' and (plan->>'kept_minor')::bigint > 0 and (f->>'step' = 'refund' or f->>'direction' = 'C' and f->>'step' = 'capture');
  -- Behind the others: what an act does stands first, and is found there.
  plan := jsonb_set(plan, '{operations}', (plan->'operations') || lines);
  if gives and plan->>'refused' is null then
    plan := plan || jsonb_build_object('refused', case when lost then 'dispute_lost' else 'disputed' end, 'needs_approval', false);
  end if;
  return plan;
end $$;

-- As in 0145, and: a part of the whole.
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
    extended := least(i.hold_expires_at + make_interval(mins => (c.params->>'minutes')::int), i.created_at + interval '7 days');
    update booking.inventory_claim k set expires_at = extended where k.booking_id = i.booking_id and k.released_at is null and k.expires_at > now();
    if not found then raise exception 'the hold is over' using errcode = 'check_violation'; end if;
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

-- As in 0115, and: of a part, too, what came of it is told by the next try.
create or replace view read.saga_commands_v2 as
  select c.command_id, c.saga_id, c.batch_id, c.action, c.params, c.reason, c.requested_by, c.requested_at,
         case when c.status = 'awaiting_approval' and c.expires_at < now() then 'expired' else c.status end as status,
         c.approved_by, c.approved_at, c.applied_at, c.applied_version, c.before, c.after, c.refusal, c.plan, encode(c.plan_hash, 'hex') as plan_hash, c.expires_at,
         a.result as outcome, a.error_class as outcome_class, a.ended_at as outcome_at
    from saga.command c
    left join lateral (select t.result, t.error_class, t.ended_at from saga.attempt t
                        where c.status = 'applied' and c.action in ('retry', 'correct', 'compensate', 'undo_from', 'refund_part', 'resolve_step') and t.saga_id = c.saga_id and t.no > c.after_attempt and t.kind in ('auto', 'reconcile')
                        order by t.no limit 1) a on true;

revoke all on function saga.minor(jsonb), saga.plan_refund_part(jsonb, jsonb, text) from public;
