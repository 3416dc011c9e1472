-- An undoing that waits for a person can go on from a step that the person chooses, with its preview, reason and audit: further down,
-- where all that is passed over is undone already, or up again to the step that gives money back, where there is money here. What is
-- not undone is never passed over: its call is settled first. And a payment that cannot be cancelled at Stripe may be settled by hand,
-- with evidence, as a refund may.
--
-- Replaced: `saga.plan` of 0083, `saga.apply` of 0046, `read.saga_commands_v2` of 0025.
--
-- Locks: none on tables.

insert into saga.action values ('undo_from', 'manager', true, true, 17);   -- the undoing goes on from a step that was chosen

-- Whether the undo of the step at this place has something left to do. In doubt it has.
create function saga.undo_open(f jsonb, p_at int) returns boolean language sql immutable set search_path = pg_catalog as $$
  select case f->'undoes'->>p_at
    when 'cancel' then (f->>'confirmed')::boolean
    when 'refund' then (f->>'captured_minor')::bigint > (f->>'refunded_minor')::bigint or (f->>'refund_pending')::boolean
                       or jsonb_path_exists(f->'effects', '$[*] ? (@[0] == "capture" && (@[3] == "intended" || @[3] == "unknown"))')
    when 'void' then (f->>'captured_minor')::bigint = 0 and (f->>'asked')::boolean
                     and not jsonb_path_exists(f->'effects', '$[*] ? (@[0] == "payment" && @[1] == "C" && @[3] == "confirmed")')
    when 'release' then (f->>'claims')::int > 0
    else false end
$$;

-- What follows when an undoing goes on from `{step}`; where none is named, from the refund if there is money here, else from where it stands.
create function saga.plan_undo_from(f jsonb, p_params jsonb, p_by text) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  kept bigint := (f->>'captured_minor')::bigint - (f->>'refunded_minor')::bigint;
  here int := least((f->>'cursor')::int, jsonb_array_length(f->'steps') - 1);
  -- Up again there is one way: to where money goes back.
  refund int := (select o - 1 from jsonb_array_elements_text(f->'undoes') with ordinality as u(undo, o) where undo = 'refund');
  up boolean := coalesce(refund > (f->>'cursor')::int and kept > 0, false);
  at int;
  refused text;
  passed jsonb := '[]';
  blocked boolean := false;
  plan jsonb;
begin
  at := case when p_params->>'step' is not null then (select o - 1 from jsonb_array_elements_text(f->'steps') with ordinality as s(name, o) where name = p_params->>'step')
             when up then refund else here end;
  if (f->>'finished')::boolean then refused := 'finished';
  elsif f->>'direction' = 'F' then refused := 'not_undoing';
  elsif (f->>'paused')::boolean then refused := 'paused';
  elsif f->>'state' <> 'parked' then refused := 'not_parked';
  elsif (f->>'given_up')::boolean then refused := 'given_up';
  elsif at is null then refused := 'no_step';
  elsif here < 0 and not up then refused := 'all_undone';
  elsif at > here and not (up and at = refund) then refused := 'undone_already';
  elsif up and at <> refund then refused := 'money_here';
  elsif at <> here and f->>'open_effect' is not null then refused := 'outcome_open';
  end if;
  for one in reverse here..coalesce(at, here) + 1 loop
    blocked := blocked or saga.undo_open(f, one);
    passed := passed || jsonb_build_object('step', f->'steps'->>one, 'op', case when saga.undo_open(f, one) then 'undo_open' else 'passed' end);
  end loop;
  if refused is null and blocked then refused := 'undo_open'; end if;
  -- Sum and second person are as for an undoing that begins there.
  plan := saga.plan_of(f || jsonb_build_object('cursor', coalesce(at, here), 'direction', 'F', 'forward_only', false, 'given_up', false, 'leased', false, 'paused', false,
                                               'finished', false), 'compensate', '{}', p_by);
  return plan || jsonb_build_object('action', 'undo_from', 'params', p_params, 'refused', refused, 'at', at,
    'operations', passed || saga.undo_operations(f || jsonb_build_object('cursor', coalesce(at, here))),
    'needs_approval', refused is null and (plan->>'needs_approval')::boolean, 'facts', f - 'owner_alive',
    'step', f->'steps'->>at,
    'choices', coalesce((select jsonb_agg(name order by o desc) from jsonb_array_elements_text(f->'steps') with ordinality as s(name, o)
                          where f->>'direction' <> 'F' and (o - 1 <= here or up and o - 1 = refund)), '[]'));
end $$;

-- As in 0083, and: an undoing from a step that was chosen; a payment that could not be cancelled is settled by hand; no undoing is tried
-- again where it would end with money here.
create or replace function saga.plan(f jsonb, p_action text, p_params jsonb, p_by text) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  plan jsonb := case p_action when 'undo_from' then saga.plan_undo_from(f, p_params, p_by) else saga.plan_of(f, p_action, p_params, p_by) end;
  lines jsonb;
  lost boolean;
  gives boolean;
begin
  if p_action = 'resolve_step' and plan->>'refused' = 'outcome_known' and f->>'direction' <> 'F' and f->>'step' = 'payment'
     and f#>>'{last_effect,step}' = 'payment' and f#>>'{last_effect,direction}' = 'C' and f#>>'{last_effect,outcome}' = 'rejected' then
    plan := plan || jsonb_build_object('refused', case when coalesce(p_params->>'outcome', '') not in ('done', 'not_done', '') then 'outcome' end);
  end if;
  -- Below the refund nothing gives money back: a try there would only end with it here.
  if p_action = 'retry' and plan->>'refused' is null and f->>'direction' = 'C' and f->>'step' = 'hold' and (plan->>'kept_minor')::bigint > 0 then
    plan := plan || '{"refused": "money_here"}';
  end if;
  -- Of nobody else is anything asked.
  if p_action not in ('compensate', 'undo_from', 'cancel', 'retry', 'resolve', 'resolve_step') then return plan; end if;
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

-- As in 0046, and: the undoing stands where it was told to.
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

-- As in 0025, and: of a correction and of an undoing from a step, too, what came of it is told by the next try.
create or replace view read.saga_commands_v2 as
  select c.command_id, c.saga_id, c.batch_id, c.action, c.params, c.reason, c.requested_by, c.requested_at,
         case when c.status = 'awaiting_approval' and c.expires_at < now() then 'expired' else c.status end as status,
         c.approved_by, c.approved_at, c.applied_at, c.applied_version, c.before, c.after, c.refusal, c.plan, encode(c.plan_hash, 'hex') as plan_hash, c.expires_at,
         a.result as outcome, a.error_class as outcome_class, a.ended_at as outcome_at
    from saga.command c
    left join lateral (select t.result, t.error_class, t.ended_at from saga.attempt t
                        where c.status = 'applied' and c.action in ('retry', 'correct', 'compensate', 'undo_from', 'resolve_step') and t.saga_id = c.saga_id and t.no > c.after_attempt and t.kind in ('auto', 'reconcile')
                        order by t.no limit 1) a on true;

revoke all on function saga.undo_open(jsonb, int), saga.plan_undo_from(jsonb, jsonb, text) from public;
