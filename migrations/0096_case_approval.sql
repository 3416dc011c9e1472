-- As much as needs a second person is given back from a case too: one asks, another says yes with the case as it is now before them,
-- by the doors and on the page by which they decide about sagas. Nobody says yes to themselves: a check of the table says so too.
--
-- Replaced: `saga.case_refusal`, `api.case_offers`, `api.decide_case`, `admin.take_deed`, `admin.begin_deed` and `admin.end_deed` of
-- 0082, `api.preview_saga_command` and `api.decide_saga_command` of 0025, `read.asks_v1` of 0060, `read.saga_approvals_v1` of 0072.
--
-- Locks: admin.ask exclusively for a moment.

alter table admin.ask
  add column approval text not null default 'not_needed' constraint ask_approval check (approval in ('not_needed', 'pending', 'approved', 'rejected')),
  add column approved_by text,                -- who said yes or no
  add column approved_at timestamptz,
  add column refund_minor bigint,             -- what goes back, as it was when it was asked for
  add column plan_hash text,
  add constraint another_decides check (approved_by is null or approved_by <> asked_by),
  add constraint decided check ((approval in ('approved', 'rejected')) = (approved_by is not null)),
  add constraint waits_for_whom check (approval = 'not_needed' or kind = 'stripe.give_back' and plan_hash is not null);
create index ask_pending on admin.ask (asked_at) where approval = 'pending' and answered_at is null;

-- As in 0082, but who has to say yes is said by `saga.case_plan`.
create or replace function saga.case_refusal(p_case uuid, p_deed text, p_by text) returns text language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  c saga.attention;
  i saga.instance;
  f jsonb;
  status text;
  minor bigint;
begin
  select * into c from saga.attention where case_id = p_case and kind like 'orphan:%';
  if not found or c.closed_at is not null then return 'closed'; end if;
  status := c.fact->>'status';
  minor := (c.fact->>'amount_minor')::bigint;
  if c.fact->>'why' = 'missing' then return 'nothing_there'; end if;
  select * into i from saga.instance where saga_id = c.saga_id;
  -- It may find this by itself.
  if exists (select 1 from saga.instance x where x.booking_id = i.booking_id and x.finished_at is null and x.state <> 'parked') then return 'saga_at_work'; end if;
  if p_deed = 'give_back' then
    if c.fact->>'what' <> 'intent' then return 'no_payment'; end if;
    if status <> 'succeeded' then return 'not_taken'; end if;
    return null;
  elsif p_deed <> 'adopt' then
    return 'unknown_action';
  end if;
  if i.saga_id is null then return 'no_booking'; end if;
  f := saga.facts(i.saga_id);
  if exists (select 1 from saga.disputes d where d.booking_id = i.booking_id and (d.closed_at is null or d.status = 'lost')) then return 'disputed'; end if;
  if c.fact->>'currency' is distinct from i.currency then return 'other_currency'; end if;
  if c.fact->>'what' = 'refund' then
    if status <> 'succeeded' then return 'refund_open';
    -- One whose call was left open by whoever ended its saga is the one that the books wait for.
    elsif (f->>'refund_pending')::boolean and c.fact->>'why' <> 'settled' then return 'refund_pending';
    elsif minor > (f->>'captured_minor')::bigint - (f->>'refunded_minor')::bigint then return 'too_much';
    end if;
    return null;
  end if;
  if status <> 'succeeded' then return 'not_taken';
  elsif i.definition <> 'booking' then return 'not_asked';
  elsif (f->>'captured_minor')::bigint > 0 or (f->>'authorised_minor')::bigint > 0 then return 'has_payment';
  elsif minor <> i.amount_minor then return 'other_amount';
  -- Its saga could not give the money back any more.
  elsif (f->>'given_up')::boolean or i.finished_at is not null and (i.direction = 'F' or not (f->>'cancelled')::boolean) then return 'saga_over';
  end if;
  return null;
end $$;

-- What a deed would do with the case as it is now, as a saga's plan is written; its hash is over what it rests on.
create function saga.case_plan(p_case uuid, p_deed text, p_by text) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  c saga.attention;
  left_minor bigint := 0;
  threshold bigint;
  refusal text := saga.case_refusal(p_case, p_deed, p_by);
  plan jsonb;
begin
  select * into c from saga.attention where case_id = p_case and kind like 'orphan:%';
  if not found then return null; end if;
  select coalesce((p.value#>>array['approval_minor', c.fact->>'currency'])::bigint, (p.value#>>'{approval_minor,*}')::bigint) into threshold
    from saga.policy p order by p.version desc limit 1;
  if p_deed = 'give_back' then left_minor := (c.fact->>'amount_minor')::bigint - coalesce((c.fact->>'refunded_minor')::bigint, 0); end if;
  plan := jsonb_build_object('action', p_deed, 'refused', refusal, 'refund_minor', left_minor, 'kept_minor', 0, 'currency', c.fact->'currency',
    'operations', case when p_deed = 'give_back'
      then jsonb_build_array(jsonb_build_object('op', 'refund', 'amount_minor', left_minor, 'currency', c.fact->'currency', 'object', c.fact->'object'),
                             jsonb_build_object('op', 'books_stay')) else '[]' end,
    'facts', jsonb_build_object('version', 0, 'object', c.fact->'object', 'status', c.fact->'status'));
  return plan || jsonb_build_object('hash', saga.plan_hash(plan), 'threshold_minor', threshold,
    'needs_approval', refusal is null and p_deed = 'give_back' and left_minor >= threshold and saga.others_may_approve(p_by));
end $$;

-- What can be done about a case by whoever asks; null: it can. And whether giving back waits for a second person then.
drop function api.case_offers(uuid);
create function api.case_offers(p_case uuid, out adopt text, out give_back text, out give_back_waits boolean) language sql stable security definer
  set search_path = pg_catalog, saga as $$
  select coalesce(m.denied, saga.case_refusal(p_case, 'adopt', session_user)), coalesce(m.denied, p.plan->>'refused'), coalesce((p.plan->>'needs_approval')::boolean, false)
    from (select case when not admin.caller_is('manager') then 'needs_manager' end as denied) m, (select saga.case_plan(p_case, 'give_back', session_user) as plan) p
$$;

-- A person decides. Answers {status, ask_id, refusal}: asked (also when somebody's is under way), awaiting_approval, refused, reason,
-- no_worker, reused, not_found (closed meanwhile).
create or replace function api.decide_case(p_ask uuid, p_case uuid, p_deed text, p_reason text) returns jsonb language plpgsql security definer
  set search_path = pg_catalog, admin, saga as $$
declare
  known admin.ask;
  why text := btrim(coalesce(p_reason, ''));
  plan jsonb;
  waits boolean;
begin
  if p_deed not in ('adopt', 'give_back') then raise exception 'no such deed: %', p_deed using errcode = 'invalid_parameter_value'; end if;
  select * into known from admin.ask where ask_id = p_ask;
  if found then
    return jsonb_build_object('ask_id', p_ask, 'status', case when known.case_id is distinct from p_case or known.kind <> 'stripe.' || p_deed then 'reused'
                                                             when known.approval = 'pending' then 'awaiting_approval' else 'asked' end);
  end if;
  if char_length(why) < 10 then return '{"status": "reason"}'; end if;
  plan := saga.case_plan(p_case, p_deed, session_user);
  if plan is null or plan->>'refused' = 'closed' then return '{"status": "not_found"}'; end if;
  if plan->>'refused' is not null then return jsonb_build_object('status', 'refused', 'refusal', plan->'refused'); end if;
  waits := (plan->>'needs_approval')::boolean;
  -- Whoever says yes finds a worker then.
  if not waits and not api.worker_asks('stripe') then return '{"status": "no_worker"}'; end if;
  -- Of two who decide at once one is carried out.
  perform pg_advisory_xact_lock(hashtextextended('ask:' || p_case, 0));
  select * into known from admin.ask a
   where a.case_id = p_case and a.kind in ('stripe.adopt', 'stripe.give_back') and a.answered_at is null and a.expires_at > now() order by a.asked_at desc limit 1;
  if found then
    return case when known.kind = 'stripe.' || p_deed
                then jsonb_build_object('status', case known.approval when 'pending' then 'awaiting_approval' else 'asked' end, 'ask_id', known.ask_id)
                else '{"status": "refused", "refusal": "deed_open"}' end;
  end if;
  insert into admin.ask (ask_id, kind, case_id, reason, approval, refund_minor, plan_hash, expires_at)
    values (p_ask, 'stripe.' || p_deed, p_case, why, case when waits then 'pending' else 'not_needed' end, (plan->>'refund_minor')::bigint, plan->>'hash',
            now() + case when waits then interval '24 hours' else interval '2 minutes' end);
  return jsonb_build_object('status', case when waits then 'awaiting_approval' else 'asked' end, 'ask_id', p_ask);
end $$;

-- ---- the second person -----------------------------------------------------------------------------------------------

create function admin.decide_deed(p_ask uuid, p_approve boolean, p_hash text, p_reason text) returns jsonb language plpgsql security definer
  set search_path = pg_catalog, admin, saga as $$
declare
  a admin.ask;
  plan jsonb;
begin
  select * into a from admin.ask x where x.ask_id = p_ask and x.approval <> 'not_needed' for update;
  if not found then return '{"status": "not_found"}'; end if;
  if a.approval <> 'pending' then return jsonb_build_object('status', 'decided', 'refusal', a.approval); end if;
  if a.asked_by = session_user then return '{"status": "own"}'; end if;
  if a.expires_at < now() then return '{"status": "expired"}'; end if;
  if not p_approve then
    if char_length(btrim(coalesce(p_reason, ''))) < 10 then return '{"status": "reason"}'; end if;
    update admin.ask x set approval = 'rejected', approved_by = session_user, approved_at = now(), answered_at = now(), problem = left(btrim(p_reason), 1000)
     where x.ask_id = p_ask;
    return '{"status": "rejected"}';
  end if;
  plan := saga.case_plan(a.case_id, 'give_back', a.asked_by);
  if plan->>'refused' is not null then return jsonb_build_object('status', 'refused', 'refusal', plan->'refused'); end if;
  if plan->>'hash' is distinct from a.plan_hash or p_hash is distinct from a.plan_hash then return '{"status": "refused", "refusal": "plan_changed"}'; end if;
  if not api.worker_asks('stripe') then return '{"status": "no_worker"}'; end if;
  update admin.ask x set approval = 'approved', approved_by = session_user, approved_at = now(), expires_at = now() + interval '2 minutes' where x.ask_id = p_ask;
  return '{"status": "applied"}';
end $$;

-- As in 0025, and: of a case.
create or replace function api.preview_saga_command(p_command uuid) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga, admin as $$
declare
  c saga.command;
  a admin.ask;
  plan jsonb;
begin
  select * into c from saga.command where command_id = p_command;
  if not found then
    select * into a from admin.ask x where x.ask_id = p_command and x.approval <> 'not_needed';
    return saga.case_plan(a.case_id, 'give_back', a.asked_by) || jsonb_build_object('asked_hash', a.plan_hash);
  end if;
  plan := saga.plan(saga.facts(c.saga_id), c.action, c.params, c.requested_by);
  return plan || jsonb_build_object('hash', saga.plan_hash(plan), 'asked_hash', encode(c.plan_hash, 'hex'));
end $$;

-- As in 0025, and: about a case.
create or replace function api.decide_saga_command(p_command uuid, p_approve boolean, p_hash text, p_reason text) returns jsonb language plpgsql security definer
  set search_path = pg_catalog, saga as $$
declare
  c saga.command;
  i saga.instance;
  plan jsonb;
begin
  select * into c from saga.command where command_id = p_command;
  if not found then return admin.decide_deed(p_command, p_approve, p_hash, p_reason); end if;
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

-- ---- the worker's hand ------------------------------------------------------------------------------------------------

create or replace function admin.take_deed(p_worker uuid, out ask_id uuid, out deed text, out case_id uuid, out object text, out what text) returns setof record
language sql security definer set search_path = pg_catalog, admin, saga as $$
  with taken as (
    update admin.ask a set taken_by = p_worker, taken_at = now()
     where a.ask_id = (select x.ask_id from admin.ask x
                        where x.kind in ('stripe.adopt', 'stripe.give_back') and x.approval in ('not_needed', 'approved') and x.answered_at is null and x.expires_at > now()
                          and (x.taken_at is null or x.taken_at < now() - interval '25 seconds')
                        order by x.asked_at limit 1 for update skip locked)
    returning a.ask_id, a.kind, a.case_id)
  select t.ask_id, split_part(t.kind, '.', 2), t.case_id, c.fact->>'object', c.fact->>'what' from taken t join saga.attention c using (case_id)
$$;

-- As in 0082, and: what is seen at Stripe decides whether a second person was needed, and whether they said yes to as much.
create or replace function admin.begin_deed(p_ask uuid, p_worker uuid, p_seen jsonb) returns jsonb language plpgsql security definer
  set search_path = pg_catalog, admin, saga as $$
declare
  a admin.ask;
  c saga.attention;
  i saga.instance;
  plan jsonb;
  refusal text;
begin
  select * into a from admin.ask x where x.ask_id = p_ask and x.taken_by = p_worker and x.answered_at is null for update;
  if not found then return '{"status": "lost"}'; end if;
  select * into c from saga.attention x where x.case_id = a.case_id for update;
  select * into i from saga.instance x where x.saga_id = c.saga_id;
  perform 1 from saga.instance x where x.booking_id = i.booking_id order by x.saga_id for update;
  update saga.attention x set fact = x.fact || jsonb_build_object('checked_at', now(), 'checked_by', a.asked_by) || jsonb_strip_nulls(p_seen) where x.case_id = c.case_id;
  plan := saga.case_plan(c.case_id, split_part(a.kind, '.', 2), a.asked_by);
  refusal := coalesce(plan->>'refused',
    case when a.approval = 'not_needed' and (plan->>'needs_approval')::boolean then 'second_person'
         when a.approval = 'approved' and (plan->>'refund_minor')::bigint > a.refund_minor then 'plan_changed' end);
  if refusal is not null then return jsonb_build_object('status', 'refused', 'refusal', refusal); end if;
  return jsonb_build_object('status', 'go', 'case_id', c.case_id, 'saga_id', i.saga_id, 'booking_id', i.booking_id, 'correlation_id', i.correlation_id,
                            'by', a.asked_by, 'reason', a.reason);
end $$;

-- As in 0082, for reasons as long as they may be, and with whoever said yes.
create or replace function admin.end_deed(p_ask uuid, p_worker uuid, p_answer jsonb, p_problem text, p_closed text) returns boolean language plpgsql security definer
  set search_path = pg_catalog, admin, saga as $$
declare
  a admin.ask;
begin
  update admin.ask x set answered_at = now(), answer = p_answer, problem = left(p_problem, 500)
   where x.ask_id = p_ask and x.taken_by = p_worker and x.answered_at is null returning * into a;
  if not found then return false; end if;
  update saga.attention x
     set fact = x.fact || jsonb_strip_nulls(coalesce(p_answer, '{}') - 'refund') || jsonb_strip_nulls(jsonb_build_object('approved_by', a.approved_by)),
         closed_at = case when p_closed is not null then now() end, closed_reason = left(p_closed || ': ' || a.reason, 1100),
         acked_by = case when p_closed is not null then a.asked_by else x.acked_by end, acked_at = case when p_closed is not null then now() else x.acked_at end
   where x.case_id = a.case_id and x.closed_at is null;
  -- A refund that we made of what no saga knows is no news to the next walk.
  if p_answer ? 'refund' then
    insert into saga.attention (case_id, kind, severity, fact, closed_at, closed_reason, acked_by, acked_at)
      select gen_random_uuid(), 'orphan:' || (p_answer->>'refund'), 1, jsonb_build_object('why', 'unknown', 'object', p_answer->'refund', 'what', 'refund', 'of_case', a.case_id),
             now(), 'Given back by this desk', a.asked_by, now()
       where not exists (select 1 from saga.attention o where o.kind = 'orphan:' || (p_answer->>'refund'));
  end if;
  return true;
end $$;

-- ---- what people read -------------------------------------------------------------------------------------------------

create or replace view read.asks_v1 as
  select ask_id, kind, saga_id, asked_by, asked_at, answered_at, answer, problem,
         case when approval = 'rejected' then 'rejected' when answer is not null then 'answered' when problem is not null then 'failed'
              when expires_at <= now() then 'unanswered' when approval = 'pending' then 'awaiting_approval' else 'open' end as state, case_id
    from admin.ask;
-- What people decided about cases, as the commands of a saga are read.
create view read.case_requests_v1 as
  select a.ask_id as command_id, c.saga_id, a.case_id, split_part(a.kind, '.', 2) as action, a.reason, a.asked_by as requested_by, a.asked_at as requested_at,
         case when a.approval = 'rejected' then 'rejected' when a.answer is not null then 'applied' when a.problem is not null then 'refused'
              when a.expires_at <= now() then 'expired' when a.approval = 'pending' then 'awaiting_approval' else 'pending' end as status,
         a.problem as refusal, a.approved_by, a.approved_at, a.expires_at, a.refund_minor, c.fact->>'currency' as currency, c.fact->>'object' as object
    from admin.ask a join saga.attention c using (case_id) where a.kind in ('stripe.adopt', 'stripe.give_back');
create or replace view read.saga_approvals_v1 as
  select command_id, saga_id, expires_at from saga.command where status = 'awaiting_approval' and (expires_at >= now()) is not false
  union all
  select a.ask_id, c.saga_id, a.expires_at from admin.ask a join saga.attention c using (case_id) where a.approval = 'pending' and a.answered_at is null and a.expires_at > now();
grant select on read.case_requests_v1 to bizing_viewer;

revoke all on function saga.case_plan(uuid, text, text), admin.decide_deed(uuid, boolean, text, text), api.case_offers(uuid) from public;
grant execute on function api.case_offers(uuid) to bizing_viewer;
