-- What does not fit at Stripe can be looked at again, one object at a time, and is closed with evidence. And the policies reach
-- further: how long a message is tried, what follows when the money cannot be taken, or when a cancellation reaches nobody.
--
-- Locks: saga.policy and admin.ask exclusively for a moment.

alter table saga.policy drop constraint policy_whole;
-- As in 0047, with what came later.
alter table saga.policy add constraint policy_whole check (
    value->>'notify_on_exhausted' in ('compensate', 'park', 'continue')
    and jsonb_typeof(value->'approval_minor') = 'object' and jsonb_typeof(value->'approval_minor'->'*') = 'number'
    and (value->>'blast_sagas')::int between 2 and 1000 and (value->>'blast_minutes')::int between 1 and 1440
    and (value->>'late_hours')::int between 0 and 720
    -- Versions of before have no terms.
    and (not value ? 'cancel_free_hours' or (
      (value->>'cancel_free_hours')::int between 0 and 8760 and (value->>'cancel_fee_percent')::int between 0 and 100
      and (value->>'cancel_late_hours')::int between 0 and (value->>'cancel_free_hours')::int
      and (value->>'cancel_late_percent')::int between (value->>'cancel_fee_percent')::int and 100))
    -- What is not set is as the installation was configured.
    and coalesce(value->>'card_declined', 'link') in ('link', 'park')
    and coalesce(value->>'capture_exhausted', 'park') in ('park', 'undo') and coalesce(value->>'end_exhausted', 'park') in ('park', 'continue')
    and coalesce((value->>'message_tries')::int, 8) between 1 and 50 and coalesce((value->>'message_minutes')::int, 30) between 1 and 1440
    and coalesce((value->>'capture_tries')::int, 40) between 1 and 200 and coalesce((value->>'undo_tries')::int, 12) between 1 and 100
    and coalesce((value->>'backoff_base_s')::int, 1) between 1 and 60
    and coalesce((value->>'backoff_cap_s')::int, 300) between coalesce((value->>'backoff_base_s')::int, 1) and 3600
    and coalesce((value->>'hold_card_minutes')::int, 15) between 5 and 120 and coalesce((value->>'hold_link_hours')::int, 24) between 1 and 168);

-- ---- one object, looked at again -------------------------------------------------------------------------------------

alter table admin.ask drop constraint ask_kind, drop constraint asked_about, add column case_id uuid references saga.attention;
alter table admin.ask
  add constraint ask_kind check (kind in ('stripe.saga', 'stripe.case')),
  add constraint asked_about check ((kind = 'stripe.saga') = (saga_id is not null) and (kind = 'stripe.case') = (case_id is not null));
create index ask_of_case on admin.ask (case_id, asked_at desc) where case_id is not null;

-- As api.ask_stripe, about an object that does not fit. Answers {status, ask_id}: asked, not_found (closed meanwhile), no_worker,
-- too_many, reused.
create function api.check_case(p_ask uuid, p_case uuid) returns jsonb language plpgsql security definer set search_path = pg_catalog, admin, saga as $$
declare
  known admin.ask;
begin
  select * into known from admin.ask where ask_id = p_ask;
  if found then
    return jsonb_build_object('status', case when known.case_id = p_case then 'asked' else 'reused' end, 'ask_id', p_ask);
  end if;
  perform 1 from saga.attention a where a.case_id = p_case and a.closed_at is null and a.kind like 'orphan:%';
  if not found then return '{"status": "not_found"}'; end if;
  if not api.worker_asks('stripe') then return '{"status": "no_worker"}'; end if;
  -- Two who ask at once get one answer.
  perform pg_advisory_xact_lock(hashtextextended('ask:' || p_case, 0));
  select * into known from admin.ask a where a.case_id = p_case and a.answered_at is null and a.expires_at > now() order by a.asked_at desc limit 1;
  if found then return jsonb_build_object('status', 'asked', 'ask_id', known.ask_id); end if;
  if (select count(*) from admin.ask a where a.asked_by = session_user and a.asked_at > now() - interval '1 minute') >= 30 then
    return '{"status": "too_many"}';
  end if;
  insert into admin.ask (ask_id, kind, case_id) values (p_ask, 'stripe.case', p_case);
  return jsonb_build_object('status', 'asked', 'ask_id', p_ask);
end $$;

-- As in 0045; a worker of before takes only what it knows how to answer.
create or replace function admin.take_ask(p_worker uuid, out ask_id uuid, out kind text, out saga_id uuid) returns setof record
language sql security definer set search_path = pg_catalog, admin as $$
  update admin.ask a set taken_by = p_worker, taken_at = now()
   where a.ask_id = (select x.ask_id from admin.ask x
                      where x.kind = 'stripe.saga' and x.answered_at is null and x.expires_at > now()
                        and (x.taken_at is null or x.taken_at < now() - interval '10 seconds')
                      order by x.asked_at limit 1 for update skip locked)
  returning a.ask_id, a.kind, a.saga_id
$$;

create function admin.take_check(p_worker uuid, out ask_id uuid, out object text, out what text, out intent text) returns setof record
language sql security definer set search_path = pg_catalog, admin, saga as $$
  with taken as (
    update admin.ask a set taken_by = p_worker, taken_at = now()
     where a.ask_id = (select x.ask_id from admin.ask x
                        where x.kind = 'stripe.case' and x.answered_at is null and x.expires_at > now()
                          and (x.taken_at is null or x.taken_at < now() - interval '10 seconds')
                        order by x.asked_at limit 1 for update skip locked)
    returning a.ask_id, a.case_id)
  select t.ask_id, c.fact->>'object', c.fact->>'what', c.fact->>'intent' from taken t join saga.attention c using (case_id)
$$;

-- What a worker saw: {found, status, amount_minor, refunded_minor}. It stands with the case, and one that holds no money any more,
-- or is there after all, is closed by it. `false`: somebody else answers it meanwhile.
create function admin.answer_check(p_ask uuid, p_worker uuid, p_answer jsonb, p_problem text) returns boolean
language plpgsql security definer set search_path = pg_catalog, admin, saga as $$
declare
  asked admin.ask;
  c saga.attention;
  over text;
begin
  update admin.ask a set answered_at = now(), answer = p_answer, problem = p_problem
   where a.ask_id = p_ask and a.taken_by = p_worker and a.answered_at is null and a.kind = 'stripe.case' returning * into asked;
  if not found then return false; end if;
  if p_answer is null then return true; end if;
  select * into c from saga.attention a where a.case_id = asked.case_id and a.closed_at is null for update;
  if not found then return true; end if;
  over := case
    when c.fact->>'why' = 'missing' then case when (p_answer->>'found')::boolean then 'Stripe shows it' end
    when not (p_answer->>'found')::boolean then null
    when c.fact->>'what' = 'intent' and (p_answer->>'status' not in ('requires_capture', 'succeeded', 'processing')) then 'Stripe holds nothing of it: ' || (p_answer->>'status')
    when c.fact->>'what' = 'intent' and p_answer->>'status' = 'succeeded' and (p_answer->>'refunded_minor')::bigint >= (p_answer->>'amount_minor')::bigint then 'Stripe has given all of it back'
    when c.fact->>'what' = 'refund' and p_answer->>'status' in ('failed', 'canceled') then 'The refund did not come about: ' || (p_answer->>'status')
  end;
  update saga.attention a
     set fact = a.fact || jsonb_build_object('checked_at', now(), 'checked_by', asked.asked_by, 'found', p_answer->'found') || jsonb_strip_nulls(jsonb_build_object(
                  'status', p_answer->'status', 'amount_minor', p_answer->'amount_minor', 'refunded_minor', p_answer->'refunded_minor')),
         closed_at = case when over is not null then now() end, closed_reason = over,
         acked_by = case when over is not null then asked.asked_by else a.acked_by end, acked_at = case when over is not null then now() else a.acked_at end
   where a.case_id = c.case_id;
  return true;
end $$;

-- A person has looked at it, and says what it was and by what that can be seen. Answers: done, reason, evidence, not_found.
create function api.close_case(p_case uuid, p_reason text, p_evidence text) returns text language plpgsql security definer set search_path = pg_catalog, saga as $$
begin
  if char_length(btrim(coalesce(p_reason, ''))) < 10 then return 'reason'; end if;
  if char_length(btrim(coalesce(p_evidence, ''))) < 3 or char_length(p_evidence) > 500 then return 'evidence'; end if;
  update saga.attention set closed_at = now(), closed_reason = btrim(p_reason), acked_by = session_user, acked_at = now(),
                            fact = fact || jsonb_build_object('evidence', btrim(p_evidence))
   where case_id = p_case and closed_at is null and kind like 'orphan:%';
  return case when found then 'done' else 'not_found' end;
end $$;

create or replace view read.asks_v1 as
  select ask_id, kind, saga_id, asked_by, asked_at, answered_at, answer, problem,
         case when answer is not null then 'answered' when problem is not null then 'failed'
              when expires_at > now() then 'open' else 'unanswered' end as state, case_id
    from admin.ask;

-- What the reader is called, as an admin wrote it when the login was made.
create view read.me_v1 as select p.login::text as login, p.display_name from admin.person p where p.login = session_user;
grant select on read.me_v1 to bizing_viewer;

revoke all on function api.check_case(uuid, uuid), api.close_case(uuid, text, text), admin.take_check(uuid), admin.answer_check(uuid, uuid, jsonb, text) from public;
grant execute on function api.check_case(uuid, uuid) to bizing_staff;
grant execute on function api.close_case(uuid, text, text) to bizing_manager;
grant execute on function admin.take_check(uuid), admin.answer_check(uuid, uuid, jsonb, text) to bizing_worker;
