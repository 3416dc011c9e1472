-- The walk along Stripe's lists holds what the books have beside what Stripe has, and not only whether both know it: a payment of which another
-- sum was taken, or a refund of another sum, is a case with both; and a refund that failed after the books had counted it opens its saga again,
-- also where Stripe's word of it was lost.
--
-- Replaced: `saga.open_cases` of 0130, `saga.case_refusal` of 0096, `admin.answer_check` of 0060.
--
-- Locks: none.

-- As in 0130, and what is known is held beside what the books have of it. A refund of which they say that the money went, and which failed, is told
-- to its saga as Stripe would have; another sum is a case.
create or replace function saga.open_cases(p_rows jsonb, p_grace interval) returns int language sql security definer set search_path = pg_catalog, saga as $$
  with rows as materialized (
    select r.*, case when r.saga_id ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then r.saga_id::uuid end as saga,
           case when r.effect_id ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then r.effect_id::uuid end as effect
      from jsonb_to_recordset(p_rows) as r(id text, kind text, status text, amount_minor bigint, currency text, intent text, saga_id text, effect_id text, created timestamptz,
                                       received_minor bigint)),
  known as materialized (
    select r.*, e.outcome, coalesce(e.saga_id, i.saga_id, p.saga_id) as of_saga,
           -- The words of whoever settled it may name this very object.
           r.kind = 'refund' and e.provider_object is distinct from r.id and strpos(coalesce(e.response->>'evidence', ''), r.id) = 0
             and (e.resolved_via = 'operator'
                  or e.resolved_at is null and exists (select 1 from saga.instance o where o.saga_id = e.saga_id and o.finished_at is not null)) as by_hand
      from rows r
      left join lateral (select x.outcome, x.saga_id, x.provider_object, x.resolved_via, x.resolved_at, x.response
                           from saga.effect x where x.effect_id = r.effect or x.provider_object = r.id
                          order by x.provider_object is not distinct from r.id desc, x.outcome = 'confirmed' desc limit 1) e on true
      left join saga.instance i on i.saga_id = r.saga
      -- A refund without our marks, of a payment that is ours.
      left join lateral (select x.saga_id from saga.effect x where r.kind = 'refund' and x.provider_object = r.intent limit 1) p on true
     where p_grace = interval '0' or r.created < now() - p_grace),
  -- What the booking's history says of that very object: what was taken by it, or went back.
  booked as materialized (
    select k.*, h.booked_minor, coalesce(h.returned, false) as returned,
           -- What Stripe has of it now; not every look tells what was taken.
           case k.kind when 'intent' then case when k.status = 'succeeded' then k.received_minor end else k.amount_minor end as has_minor
      from known k
      left join saga.instance i on i.saga_id = k.of_saga
      left join lateral (
        select sum((e.data#>>case t.name when 'PaymentReceived' then '{amount_received,amount_minor}' else '{amount,amount_minor}' end::text[])::bigint)
                 filter (where t.name <> 'RefundReturned') as booked_minor,
               bool_or(t.name = 'RefundReturned') as returned
          from core.streams s join core.events e using (stream_no) join core.event_types t using (type_no)
         where s.stream_id = 'booking-' || i.booking_id
           and (k.kind = 'intent' and t.name = 'PaymentReceived' and e.data->>'payment_intent' = k.id
                or k.kind = 'refund' and t.name in ('PaymentRefunded', 'RefundReturned') and e.data->>'provider_refund' = k.id)) h on true),
  odd as (
    select k.*, case
             when k.outcome is null and (k.saga is not null or k.of_saga is not null) then 'unknown'
             when k.by_hand then 'settled'                                      -- a person said what became of it, and it came about besides
             when k.outcome in ('not_executed', 'rejected') then 'denied'      -- we believe that it never happened
             when k.booked_minor <> k.has_minor then 'differs'                 -- the books have it with another sum
           end as why
      from booked k
     -- What holds no money and never will is nobody's business.
     where case k.kind when 'intent' then k.status in ('requires_capture', 'succeeded', 'processing') else k.status in ('succeeded', 'pending', 'requires_action') end),
  told as (
    insert into saga.signal (signal_id, correlation_key, type, payload, saga_id)
      select 'walk:' || o.id, 'stripe:' || o.id, 'payment_intent.succeeded', '{}', o.of_saga
        from odd o join saga.instance i on i.saga_id = o.of_saga
       where o.why is null and o.kind = 'intent' and o.status = 'succeeded' and i.finished_at is not null and i.pivot_passed_at is null and i.definition = 'booking'
      on conflict (signal_id) do nothing),
  failed as (
    insert into saga.signal (signal_id, correlation_key, type, payload, saga_id)
      select 'walk:' || k.id, 'stripe:' || k.id, 'refund.failed', '{}', k.of_saga
        from booked k join saga.instance i on i.saga_id = k.of_saga
       where k.kind = 'refund' and k.status in ('failed', 'canceled') and k.booked_minor > 0 and not k.returned and i.finished_at is not null
      on conflict (signal_id) do nothing),
  opened as (
    insert into saga.attention (case_id, saga_id, kind, severity, fact)
      select gen_random_uuid(), o.of_saga, 'orphan:' || o.id, 1,
             jsonb_build_object('why', o.why, 'provider', 'stripe', 'object', o.id, 'what', o.kind, 'status', o.status,
                                'amount_minor', case o.why when 'differs' then o.has_minor else o.amount_minor end, 'booked_minor', case o.why when 'differs' then o.booked_minor end,
                                'currency', upper(o.currency), 'created', o.created, 'named_saga', o.saga_id, 'intent', o.intent)
        from odd o
       where o.why is not null and not exists (select 1 from saga.attention a where a.kind = 'orphan:' || o.id)
      on conflict do nothing returning 1)
  select count(*)::int from opened
$$;

-- As in 0096, and: what the books have is neither taken into them again nor given back past its saga.
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
  if c.fact->>'why' = 'differs' then return 'in_the_books'; end if;
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

-- As in 0060, and: a sum that differed and is the books' now is closed by that look, and by nothing else that Stripe shows.
create or replace function admin.answer_check(p_ask uuid, p_worker uuid, p_answer jsonb, p_problem text) returns boolean
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
    when c.fact->>'why' = 'differs' then case when p_answer->'amount_minor' = c.fact->'booked_minor' then 'Stripe and the books have the same sum' end
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
