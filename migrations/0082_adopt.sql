-- Money at Stripe that the ledger does not know is taken into the books, or given back, by a person's word and a worker's hand.
--
-- A person asks (`api.decide_case`), a worker that holds the key looks at the object as it is then, and the database says under its
-- locks whether it may be: one event in the booking's stream, one effect that names the object, and the closed case are one commit.
-- Giving back goes out under a key made of the case, and only for what is not on its way back yet. Killed at any point, the next
-- worker looks first. What a saga at work may still find by itself is left to it.
--
-- Locks: admin.ask exclusively for a moment.

alter table admin.ask drop constraint ask_kind, drop constraint asked_about, add column reason text;
alter table admin.ask
  add constraint ask_kind check (kind in ('stripe.saga', 'stripe.case', 'stripe.adopt', 'stripe.give_back')),
  add constraint asked_about check ((kind = 'stripe.saga') = (saga_id is not null) and (kind <> 'stripe.saga') = (case_id is not null)),
  add constraint ask_reason check (kind in ('stripe.saga', 'stripe.case') or char_length(reason) between 10 and 500 is true);

-- Why this cannot be done about a case as it is now; null: it can. `p_by`: who asks.
create function saga.case_refusal(p_case uuid, p_deed text, p_by text) returns text language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  c saga.attention;
  i saga.instance;
  f jsonb;
  status text;
  minor bigint;
  policy saga.policy;
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
    select * into policy from saga.policy order by version desc limit 1;
    if minor >= coalesce((policy.value#>>array['approval_minor', c.fact->>'currency'])::bigint, (policy.value#>>'{approval_minor,*}')::bigint)
       and saga.others_may_approve(p_by) then return 'second_person'; end if;
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
    elsif (f->>'refund_pending')::boolean then return 'refund_pending';
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

-- What can be done about a case by whoever asks; null: it can.
create function api.case_offers(p_case uuid, out adopt text, out give_back text) language sql stable security definer set search_path = pg_catalog, saga as $$
  select coalesce(m.denied, saga.case_refusal(p_case, 'adopt', session_user)), coalesce(m.denied, saga.case_refusal(p_case, 'give_back', session_user))
    from (select case when not admin.caller_is('manager') then 'needs_manager' end as denied) m
$$;

-- A person decides. Answers {status, ask_id, refusal}: asked (also when somebody's is under way), refused, reason, no_worker, reused,
-- not_found (closed meanwhile).
create function api.decide_case(p_ask uuid, p_case uuid, p_deed text, p_reason text) returns jsonb language plpgsql security definer
  set search_path = pg_catalog, admin, saga as $$
declare
  known admin.ask;
  why text := btrim(coalesce(p_reason, ''));
  refusal text;
begin
  if p_deed not in ('adopt', 'give_back') then raise exception 'no such deed: %', p_deed using errcode = 'invalid_parameter_value'; end if;
  select * into known from admin.ask where ask_id = p_ask;
  if found then
    return jsonb_build_object('status', case when known.case_id = p_case and known.kind = 'stripe.' || p_deed then 'asked' else 'reused' end, 'ask_id', p_ask);
  end if;
  if char_length(why) not between 10 and 500 then return '{"status": "reason"}'; end if;
  refusal := saga.case_refusal(p_case, p_deed, session_user);
  if refusal = 'closed' then return '{"status": "not_found"}'; end if;
  if refusal is not null then return jsonb_build_object('status', 'refused', 'refusal', refusal); end if;
  if not api.worker_asks('stripe') then return '{"status": "no_worker"}'; end if;
  -- Of two who decide at once one is carried out.
  perform pg_advisory_xact_lock(hashtextextended('ask:' || p_case, 0));
  select * into known from admin.ask a
   where a.case_id = p_case and a.kind in ('stripe.adopt', 'stripe.give_back') and a.answered_at is null and a.expires_at > now() order by a.asked_at desc limit 1;
  if found then
    return case when known.kind = 'stripe.' || p_deed then jsonb_build_object('status', 'asked', 'ask_id', known.ask_id)
                else '{"status": "refused", "refusal": "deed_open"}' end;
  end if;
  insert into admin.ask (ask_id, kind, case_id, reason, expires_at) values (p_ask, 'stripe.' || p_deed, p_case, why, now() + interval '2 minutes');
  return jsonb_build_object('status', 'asked', 'ask_id', p_ask);
end $$;

create function admin.take_deed(p_worker uuid, out ask_id uuid, out deed text, out case_id uuid, out object text, out what text) returns setof record
language sql security definer set search_path = pg_catalog, admin, saga as $$
  with taken as (
    update admin.ask a set taken_by = p_worker, taken_at = now()
     where a.ask_id = (select x.ask_id from admin.ask x
                        where x.kind in ('stripe.adopt', 'stripe.give_back') and x.answered_at is null and x.expires_at > now()
                          and (x.taken_at is null or x.taken_at < now() - interval '25 seconds')
                        order by x.asked_at limit 1 for update skip locked)
    returning a.ask_id, a.kind, a.case_id)
  select t.ask_id, split_part(t.kind, '.', 2), t.case_id, c.fact->>'object', c.fact->>'what' from taken t join saga.attention c using (case_id)
$$;

-- In the worker's transaction: what it saw stands with the case, and whether the deed may be done is said under the locks of the case
-- and of the booking's sagas. Answers {status: go | refused | lost, …}.
create function admin.begin_deed(p_ask uuid, p_worker uuid, p_seen jsonb) returns jsonb language plpgsql security definer
  set search_path = pg_catalog, admin, saga as $$
declare
  a admin.ask;
  c saga.attention;
  i saga.instance;
  refusal text;
begin
  select * into a from admin.ask x where x.ask_id = p_ask and x.taken_by = p_worker and x.answered_at is null for update;
  if not found then return '{"status": "lost"}'; end if;
  select * into c from saga.attention x where x.case_id = a.case_id for update;
  select * into i from saga.instance x where x.saga_id = c.saga_id;
  perform 1 from saga.instance x where x.booking_id = i.booking_id order by x.saga_id for update;
  update saga.attention x set fact = x.fact || jsonb_build_object('checked_at', now(), 'checked_by', a.asked_by) || jsonb_strip_nulls(p_seen) where x.case_id = c.case_id;
  refusal := saga.case_refusal(c.case_id, split_part(a.kind, '.', 2), a.asked_by);
  if refusal is not null then return jsonb_build_object('status', 'refused', 'refusal', refusal); end if;
  return jsonb_build_object('status', 'go', 'case_id', c.case_id, 'saga_id', i.saga_id, 'booking_id', i.booking_id, 'correlation_id', i.correlation_id,
                            'by', a.asked_by, 'reason', a.reason);
end $$;

-- What came of it. `p_closed`: the case is over, in these words.
create function admin.end_deed(p_ask uuid, p_worker uuid, p_answer jsonb, p_problem text, p_closed text) returns boolean language plpgsql security definer
  set search_path = pg_catalog, admin, saga as $$
declare
  a admin.ask;
begin
  update admin.ask x set answered_at = now(), answer = p_answer, problem = left(p_problem, 500)
   where x.ask_id = p_ask and x.taken_by = p_worker and x.answered_at is null returning * into a;
  if not found then return false; end if;
  update saga.attention x
     set fact = x.fact || jsonb_strip_nulls(coalesce(p_answer, '{}') - 'refund'),
         closed_at = case when p_closed is not null then now() end, closed_reason = left(p_closed || ': ' || a.reason, 600),
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

-- An erasure takes addresses out of reasons, as out of those of commands.
create function admin.forget_reasons() returns trigger language plpgsql security definer set search_path = pg_catalog, admin, saga, core as $$
begin
  update admin.ask a set reason = core.without_addresses(a.reason)
    from saga.attention c join saga.instance i using (saga_id)
   where a.case_id = c.case_id and i.customer_id = new.subject_id and a.reason like '%@%';
  return null;
end $$;
create trigger forget_reasons after update of key on core.subject_keys for each row when (old.key is not null and new.key is null) execute function admin.forget_reasons();

revoke all on function saga.case_refusal(uuid, text, text), api.case_offers(uuid), api.decide_case(uuid, uuid, text, text), admin.take_deed(uuid),
  admin.begin_deed(uuid, uuid, jsonb), admin.end_deed(uuid, uuid, jsonb, text, text), admin.forget_reasons() from public;
grant execute on function api.case_offers(uuid) to bizing_viewer;
grant execute on function api.decide_case(uuid, uuid, text, text) to bizing_manager;
grant execute on function admin.take_deed(uuid), admin.begin_deed(uuid, uuid, jsonb), admin.end_deed(uuid, uuid, jsonb, text, text) to bizing_worker;
