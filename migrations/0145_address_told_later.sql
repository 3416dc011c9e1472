-- A saga that waits for a person since its customer has no address takes one from them, as it takes a corrected one: the message that was
-- skipped is owed again, and the saga goes on by itself once it is sent. Before, it was refused as if somebody were at work.
--
-- Again: `saga.plan_more`, of 0046, and `saga.apply`, of 0115.

create or replace function saga.plan_more(f jsonb, p_action text, p_params jsonb) returns jsonb language plpgsql stable security definer
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
      -- 'skipped', and a person is waited for: there was no address.
      elsif field = 'email' and coalesce(f->>'message', '') not in ('gave_up', 'scheduled') and not (f->>'message' = 'skipped' and f->>'state' = 'parked') then refused := 'at_work';
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

-- As in 0115, and: a message that was skipped is owed again too. Only a saga that waits for a person since nobody could be told has one.
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

  -- Looked at again as it stands there, whatever was said of that step before.
  if c.action = 'undo_from' then at_step := saga.step_at(spec, (c.plan->>'at')::int); end if;

  -- One move for what puts a saga back to work: another owner's write is over from here on.
  if c.action in ('retry', 'correct', 'compensate', 'undo_from', 'skip', 'resolve_step') then
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
       set state = case when c.action = 'compensate' or x.direction = 'C' then 'compensating' when x.state = 'waiting' then 'waiting' else 'running' end,
           direction = case when c.action = 'compensate' then 'C' else x.direction end,
           "cursor" = case when c.action = 'undo_from' then (c.plan->>'at')::smallint else x."cursor" end,
           version = x.version + 1, fence = x.fence + 1, by_fence = x.fence + 1, lease_owner = null, lease_expires_at = null, wake_at = now(), attempt = 0,
           park_reason = null, park_code = null, parked_at = null, snoozed_until = null, error_class = null, error_message = null, take_overs = 0,
           await_key = case when x.state = 'waiting' and c.action in ('retry', 'correct') then x.await_key end, updated_at = now(),
           context = x.context || jsonb_build_object('hands_on', true)
             || case when c.action = 'compensate' then jsonb_build_object('undo_from', x."cursor", 'undo', jsonb_build_object('code', 'asked', 'by', c.requested_by, 'text', c.reason)) else '{}' end
             || case when c.action = 'undo_from' then jsonb_build_object('undo_from', greatest((c.plan->>'at')::int, (x.context->>'undo_from')::int),
                  'undo', coalesce(x.context->'undo', jsonb_build_object('code', 'asked', 'by', c.requested_by, 'text', c.reason))) else '{}' end
             -- What was refused for good may be tried again, once more, as a new generation.
             || case when c.action in ('retry', 'correct', 'undo_from') then jsonb_build_object('again', coalesce((select max(e.generation) from saga.effect e
                  where e.saga_id = x.saga_id and e.step = at_step and e.direction = x.direction), -1)) else '{}' end
     where x.saga_id = i.saga_id;
    if c.action = 'skip' then
      update saga.instance x set state = 'completed', outcome = 'completed_with_warnings', "cursor" = steps, version = x.version + 1, by_fence = x.fence, finished_at = now(), updated_at = now()
       where x.saga_id = i.saga_id;
    end if;
    insert into saga.attempt (saga_id, no, step, direction, kind, effect_id, fence, started_at, ended_at, result, output)
      select x.saga_id, no + 1, at_step, i.direction, case when c.action = 'skip' then 'skip' else 'operator' end, effect, x.fence, now(), clock_timestamp(),
             case c.action when 'compensate' then 'undo_asked' when 'undo_from' then 'undo_asked' when 'skip' then 'told_by_hand' when 'resolve_step' then 'resolved' when 'correct' then 'corrected' else 'retry_asked' end,
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
