-- Correct and try again, and move a saga to another version of its definition: two more things that a person may do, each with
-- its preview, reason and audit. A longer hold and another card are events of the booking. What came from Stripe wakes a saga by
-- the steps that its definition has.
--
-- Correcting never sends under an old key: it is refused unless the old call is known to have done nothing.
--
-- Locks: none on existing tables; functions are replaced (`saga.plan` and `saga.apply` from 0031, `delivery.hand_over` from 0035).

insert into core.event_types (name, schema_version) values ('HoldExtended', 1), ('PaymentMethodCorrected', 1);
insert into core.event_rights (name, group_name) values ('HoldExtended', 'staff'), ('PaymentMethodCorrected', 'manager');

insert into saga.action values
  ('correct', 'staff', true, true, 15),      -- another address, another card; then the same step once more
  ('migrate', 'admin', true, true, 16);      -- another version of its definition, between two steps

-- ---- plan ------------------------------------------------------------------------------------------------------------

-- Which field of a step's request a person may correct.
create function saga.editable(p_step text) returns text language sql immutable set search_path = pg_catalog as $$
  select case p_step when 'notify' then 'email' when 'payment' then 'payment_method' end
$$;

-- What `saga.plan` asks of actions that came later: {refused, operations, …}.
create function saga.plan_more(f jsonb, p_action text, p_params jsonb) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  refused text;
  ops jsonb := '[]';
  step text := f->>'step';
  field text := saga.editable(f->>'step');
  forward boolean := f->>'direction' = 'F';
  asked text;
  name text := split_part(f->>'definition', '@', 1);
  at int := split_part(f->>'definition', '@', 2)::int;
  target int;
  spec jsonb;
begin
  case p_action
    when 'correct' then
      -- The newest question for the money, and what became of it.
      select e->>3 into asked from jsonb_array_elements(f->'effects') e where e->>0 = 'payment' and e->>1 = 'F' order by (e->>2)::int desc limit 1;
      if (f->>'finished')::boolean then refused := 'finished';
      elsif (f->>'paused')::boolean then refused := 'paused';
      elsif (f->>'leased')::boolean then refused := 'at_work';
      elsif not forward then refused := 'undoing';
      elsif (f->>'given_up')::boolean then refused := 'given_up';
      elsif field is null or coalesce(p_params->>'field', field) <> field then refused := 'nothing_to_correct';
      elsif field = 'email' and f->>'message' = 'delivered' then refused := 'message_delivered';
      elsif field = 'email' and f->>'message' = 'unclear' then refused := 'message_unclear';
      elsif field = 'email' and coalesce(f->>'message', '') not in ('gave_up', 'scheduled') then refused := 'at_work';
      elsif field = 'payment_method' and asked in ('intended', 'unknown') then refused := 'outcome_open';
      elsif field = 'payment_method' and asked = 'confirmed' then refused := 'page_open';
      elsif field = 'payment_method' and f->>'state' <> 'parked' then refused := 'not_parked';
      elsif field = 'payment_method' and not admin.caller_is('manager') then refused := 'needs_manager';
      end if;
      ops := case field when 'email' then jsonb_build_array(
                   jsonb_build_object('step', step, 'op', 'correct_email'), jsonb_build_object('step', step, 'op', 'send_again'))
                 when 'payment_method' then jsonb_build_array(
                   jsonb_build_object('step', step, 'op', 'correct_payment_method'), jsonb_build_object('step', step, 'op', 'ask_anew')) else '[]' end;
      return jsonb_build_object('refused', refused, 'operations', ops);
    when 'migrate' then
      -- As asked, or the newest that is not the one it runs by.
      target := coalesce((p_params->>'to_version')::int, (select max(d.version) from saga.definition d where d.name = split_part(f->>'definition', '@', 1) and d.version <> at));
      spec := saga.spec_of(name, target);
      if (f->>'finished')::boolean then refused := 'finished';
      elsif target is null then refused := 'no_other_version';
      elsif spec is null then refused := 'no_version';
      elsif target = at then refused := 'same_version';
      elsif (f->>'leased')::boolean then refused := 'at_work';
      elsif f->>'open_effect' is not null then refused := 'call_open';
      elsif not exists (select 1 from jsonb_array_elements(spec->'steps') s where s->>'name' = step) then refused := 'no_such_step';
      elsif not exists (select 1 from saga.worker w where w.heartbeat_at > now() - interval '60 seconds' and not w.draining
                           and w.supports @> jsonb_build_array(jsonb_build_object('definition', name, 'version', target))) then refused := 'no_worker_for_it';
      end if;
      if spec is not null then
        ops := jsonb_build_array(jsonb_build_object('step', step, 'op', 'migrate', 'from', at, 'to', target))
          || coalesce((select jsonb_agg(jsonb_build_object('step', s->>'name', 'op', 'gains_step') order by o)
                         from jsonb_array_elements(spec->'steps') with ordinality as x(s, o) where not f->'steps' ? (s->>'name')), '[]')
          || coalesce((select jsonb_agg(jsonb_build_object('step', s, 'op', 'loses_step') order by o)
                         from jsonb_array_elements_text(f->'steps') with ordinality as x(s, o)
                        where not exists (select 1 from jsonb_array_elements(spec->'steps') n where n->>'name' = s)), '[]');
      end if;
      return jsonb_build_object('refused', refused, 'operations', ops, 'to_version', target);
    else
      return '{"refused": "unknown_action"}';
  end case;
end $$;

-- As in 0031, and: what another migration of this kind adds stands in `saga.plan_more`; whoever says of a call what Stripe was
-- seen not to show needs a second person.
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
        refund := case when step = 'refund' then (f#>>'{terms,refund_minor}')::bigint else kept end;
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

-- ---- apply -----------------------------------------------------------------------------------------------------------

-- As in 0031, and: what is corrected is tried again; a saga goes over to another version of its definition.
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

  -- One move for what puts a saga back to work: another owner's write is over from here on.
  if c.action in ('retry', 'correct', 'compensate', 'skip', 'resolve_step') then
    if (c.action = 'retry' and i.state = 'parked' or c.action = 'correct') and i.direction = 'F' and i.step = 'notify' then
      update delivery.deliveries d set state = 'scheduled', finished_at = null, next_at = now(), give_up_at = now() + interval '30 minutes', fence = d.fence + 1
       where d.delivery_id = (select x.delivery_id from delivery.deliveries x where x.stream_id = 'booking-' || i.booking_id and x.template = coalesce(spec->>'message', 'booking_confirmed')
                               order by x.position desc limit 1) and d.state in ('gave_up', 'scheduled');
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
           await_key = case when x.state = 'waiting' and c.action in ('retry', 'correct') then x.await_key end, updated_at = now(),
           context = x.context || jsonb_build_object('hands_on', true)
             || case when c.action = 'compensate' then jsonb_build_object('undo_from', x."cursor", 'undo', jsonb_build_object('code', 'asked', 'by', c.requested_by, 'text', c.reason)) else '{}' end
             -- What was refused for good may be tried again, once more, as a new generation.
             || case when c.action in ('retry', 'correct') then jsonb_build_object('again', coalesce((select max(e.generation) from saga.effect e
                  where e.saga_id = x.saga_id and e.step = at_step and e.direction = x.direction), -1)) else '{}' end
     where x.saga_id = i.saga_id;
    if c.action = 'skip' then
      update saga.instance x set state = 'completed', outcome = 'completed_with_warnings', "cursor" = steps, version = x.version + 1, by_fence = x.fence, finished_at = now(), updated_at = now()
       where x.saga_id = i.saga_id;
    end if;
    insert into saga.attempt (saga_id, no, step, direction, kind, effect_id, fence, started_at, ended_at, result, output)
      select x.saga_id, no + 1, at_step, i.direction, case when c.action = 'skip' then 'skip' else 'operator' end, effect, x.fence, now(), clock_timestamp(),
             case c.action when 'compensate' then 'undo_asked' when 'skip' then 'told_by_hand' when 'resolve_step' then 'resolved' when 'correct' then 'corrected' else 'retry_asked' end,
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

-- What an act says of the world stands in the log, in the commit of the act: the address in the customer's stream (sealed), card
-- and hold in the booking's. Checked at the end, since the saga's row is locked before any stream.
create function saga.check_told() returns trigger language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  i saga.instance;
  wants text := case new.action when 'extend_hold' then 'HoldExtended' else case new.params->>'field' when 'email' then 'CustomerRegistered' else 'PaymentMethodCorrected' end end;
begin
  select * into i from saga.instance where saga_id = new.saga_id;
  if not exists (select 1 from core.streams s join core.events e using (stream_no) join core.event_types t using (type_no)
                  where s.stream_id = case wants when 'CustomerRegistered' then 'customer-' || i.customer_id else 'booking-' || i.booking_id end
                    and t.name = wants and e.causation_id = new.command_id) then
    raise exception '% of saga % without its %', new.action, new.saga_id, wants using errcode = 'check_violation';
  end if;
  return null;
end $$;
create constraint trigger told after insert or update on saga.command deferrable initially deferred for each row
  when (new.action in ('correct', 'extend_hold') and new.status = 'applied') execute function saga.check_told();

-- What the parameters lack; null: nothing. As before, and for what is corrected.
create or replace function saga.lacks(p_action text, p_params jsonb, p_reason text) returns text language sql immutable set search_path = pg_catalog, saga as $$
  select case
    when p_action in ('resolve', 'resolve_step') and char_length(btrim(coalesce(p_params->>'evidence', ''))) < 3 then 'evidence'
    when p_action = 'resolve_step' and coalesce(p_params->>'outcome', '') not in ('done', 'not_done') then 'outcome'
    when p_action = 'extend_hold' and not case when p_params->>'minutes' ~ '^[0-9]{1,4}$' then (p_params->>'minutes')::int between 5 and 1440 else false end then 'minutes'
    when p_action = 'snooze' and p_params->>'until' is null then 'until'
    when p_action = 'note' and char_length(btrim(coalesce(p_reason, ''))) < 1 then 'reason'
    when p_action = 'correct' and coalesce(p_params->>'field', '') not in ('email', 'payment_method') then 'field'
  end
$$;

-- As in 0035, and: a saga in the last step of its definition waits for a message, and nothing of Stripe's wakes it.
create or replace function delivery.hand_over(p_due bigint[], p_known text[]) returns void language sql security definer
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
     where i.saga_id = any(array(select f.saga_id from found f where f.saga_id is not null)) and i.state = 'waiting' and saga.step_at(saga.spec_of(i.definition, i.def_version), i."cursor" + 1) is not null and i.wake_at > now()
     order by i.saga_id for no key update),
  woken as (update saga.instance i set wake_at = now() from asleep a where i.saga_id = a.saga_id)
  update delivery.inbox i
     set processed_at = now(), problem = null, saga_id = f.saga_id, booking_id = f.booking_id,
         state = case when f.saga_id is null then case when f.kind = any(p_known) then 'not_ours' else 'kept' end
                      when f.over then 'nothing_new' else 'done' end
    from found f where i.inbox_id = f.inbox_id
$$;


revoke all on function saga.editable(text), saga.plan_more(jsonb, text, jsonb), saga.check_told() from public;
