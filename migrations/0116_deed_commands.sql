-- What a person decided about a case at Stripe stands in the audit of its saga as a command like all others: who, when, why, the plan,
-- who agreed, where the saga stood before and after, and the refusal if it came to nothing. A case that belongs to no saga stays
-- in `admin.ask` alone, and so does what was never answered.
--
-- Replaced: `admin.begin_deed`, `admin.end_deed`, `admin.decide_deed` and `read.case_requests_v1` of 0096.
--
-- Locks: admin.ask exclusively for a moment; the past decisions about cases, which are few, are read once.

alter table admin.ask add column ground jsonb;   -- {plan, before}: as the worker began

-- Where a saga stands, as commands keep it before and after.
create function saga.place_of(p_saga uuid) returns jsonb language sql stable security definer set search_path = pg_catalog, saga as $$
  select jsonb_build_object('def_version', i.def_version, 'state', i.state, 'cursor', i."cursor", 'direction', i.direction, 'version', i.version,
                            'park_code', i.park_code, 'park_reason', i.park_reason)
    from saga.instance i where i.saga_id = p_saga
$$;

-- A decision that is over becomes a command of its saga, once.
create function admin.note_deed(p_ask uuid) returns void language sql security definer set search_path = pg_catalog, admin, saga as $$
  insert into saga.command (command_id, saga_id, action, expected_version, plan_hash, params, reason, requested_by, requested_at, status, plan, refusal,
                            approved_by, approved_at, applied_at, applied_version, before, after, after_attempt)
    select a.ask_id, i.saga_id, split_part(a.kind, '.', 2), coalesce((a.ground#>>'{before,version}')::int, i.version), decode(a.plan_hash, 'hex'),
           jsonb_build_object('case_id', a.case_id, 'object', c.fact->'object'), a.reason, a.asked_by, a.asked_at, d.status, a.ground->'plan',
           case when d.status <> 'applied' then left(a.problem, 1000) end, a.approved_by, a.approved_at,
           case when d.status = 'applied' then a.answered_at end, case when d.status = 'applied' then i.version end,
           a.ground->'before', case when d.status = 'applied' then saga.place_of(i.saga_id) end,
           (select max(t.no) from saga.attempt t where t.saga_id = i.saga_id)
      from admin.ask a join saga.attention c using (case_id) join saga.instance i on i.saga_id = c.saga_id
     cross join lateral (select case when a.approval = 'rejected' then 'rejected' when a.answer is not null then 'applied' when a.problem is not null then 'refused' end as status) d
     where a.ask_id = p_ask and a.kind in ('stripe.adopt', 'stripe.give_back') and d.status is not null
    on conflict (command_id) do nothing
$$;

-- As in 0096, and: where its saga stands is kept for the audit.
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
  -- What the audit needs to say when it is over.
  update admin.ask x set ground = jsonb_build_object('plan', plan, 'before', saga.place_of(c.saga_id)) where x.ask_id = p_ask;
  return jsonb_build_object('status', 'go', 'case_id', c.case_id, 'saga_id', i.saga_id, 'booking_id', i.booking_id, 'correlation_id', i.correlation_id,
                            'by', a.asked_by, 'reason', a.reason);
end $$;

-- As in 0096, and: what is over stands in the audit.
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
  perform admin.note_deed(p_ask);
  return true;
end $$;

-- As in 0096, and: a no stands in the audit.
create or replace function admin.decide_deed(p_ask uuid, p_approve boolean, p_hash text, p_reason text) returns jsonb language plpgsql security definer
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
    perform admin.note_deed(p_ask);
    return '{"status": "rejected"}';
  end if;
  plan := saga.case_plan(a.case_id, 'give_back', a.asked_by);
  if plan->>'refused' is not null then return jsonb_build_object('status', 'refused', 'refusal', plan->'refused'); end if;
  if plan->>'hash' is distinct from a.plan_hash or p_hash is distinct from a.plan_hash then return '{"status": "refused", "refusal": "plan_changed"}'; end if;
  if not api.worker_asks('stripe') then return '{"status": "no_worker"}'; end if;
  update admin.ask x set approval = 'approved', approved_by = session_user, approved_at = now(), expires_at = now() + interval '2 minutes' where x.ask_id = p_ask;
  return '{"status": "applied"}';
end $$;

-- What waits or was never answered; what is over is read with the commands of its saga, where it has one.
create or replace view read.case_requests_v1 as
  select a.ask_id as command_id, c.saga_id, a.case_id, split_part(a.kind, '.', 2) as action, a.reason, a.asked_by as requested_by, a.asked_at as requested_at,
         case when a.approval = 'rejected' then 'rejected' when a.answer is not null then 'applied' when a.problem is not null then 'refused'
              when a.expires_at <= now() then 'expired' when a.approval = 'pending' then 'awaiting_approval' else 'pending' end as status,
         a.problem as refusal, a.approved_by, a.approved_at, a.expires_at, a.refund_minor, c.fact->>'currency' as currency, c.fact->>'object' as object
    from admin.ask a join saga.attention c using (case_id)
   where a.kind in ('stripe.adopt', 'stripe.give_back') and not exists (select from saga.command k where k.command_id = a.ask_id);

-- Those of before.
select admin.note_deed(a.ask_id) from admin.ask a where a.kind in ('stripe.adopt', 'stripe.give_back') order by a.asked_at;

revoke all on function saga.place_of(uuid), admin.note_deed(uuid) from public;
