-- A refund that goes through at Stripe although a person had settled its call by hand, or ended its saga over it, is a case as soon as
-- Stripe tells of it: the customer may have the money twice. So is one that was made at Stripe's pages. Until now only a walk along
-- Stripe's lists found the second, and nothing the first.
--
-- Replaced: `saga.note_objects` of 0048; what it judged by is `saga.open_cases`, with what a person settled.
--
-- Locks: saga.signal holds writers off while its index is built (a second for a million rows).

-- Rows of a list: {id, kind, status, amount_minor, currency, intent, saga_id, effect_id, created}. Opens a case for each object that
-- does not fit, once: one that a person closed stays closed. An object younger than `p_grace` may still be about to be told.
create function saga.open_cases(p_rows jsonb, p_grace interval) returns int language sql security definer set search_path = pg_catalog, saga as $$
  with rows as materialized (
    select r.*, case when r.saga_id ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then r.saga_id::uuid end as saga,
           case when r.effect_id ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then r.effect_id::uuid end as effect
      from jsonb_to_recordset(p_rows) as r(id text, kind text, status text, amount_minor bigint, currency text, intent text, saga_id text, effect_id text, created timestamptz)),
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
  odd as (
    select k.*, case
             when k.outcome is null and (k.saga is not null or k.of_saga is not null) then 'unknown'
             when k.by_hand then 'settled'                                      -- a person said what became of it, and it came about besides
             when k.outcome in ('not_executed', 'rejected') then 'denied'      -- we believe that it never happened
           end as why
      from known k
     -- What holds no money and never will is nobody's business.
     where case k.kind when 'intent' then k.status in ('requires_capture', 'succeeded', 'processing') else k.status in ('succeeded', 'pending', 'requires_action') end),
  opened as (
    insert into saga.attention (case_id, saga_id, kind, severity, fact)
      select gen_random_uuid(), o.of_saga, 'orphan:' || o.id, 1,
             jsonb_build_object('why', o.why, 'provider', 'stripe', 'object', o.id, 'what', o.kind, 'status', o.status, 'amount_minor', o.amount_minor,
                                'currency', upper(o.currency), 'created', o.created, 'named_saga', o.saga_id, 'intent', o.intent)
        from odd o
       where o.why is not null and not exists (select 1 from saga.attention a where a.kind = 'orphan:' || o.id)
      on conflict do nothing returning 1)
  select count(*)::int from opened
$$;

create or replace function saga.note_objects(p_worker uuid, p_rows jsonb, p_after text, p_more boolean, p_grace interval) returns int language plpgsql security definer
  set search_path = pg_catalog, saga as $$
declare
  n int;
begin
  perform 1 from saga.sweep where provider = 'stripe' and lease_owner = p_worker and lease_expires_at > now() for update;
  if not found then return -1; end if;
  insert into saga.sweep_seen select r->>'id' from jsonb_array_elements(p_rows) r on conflict do nothing;
  n := saga.open_cases(p_rows, p_grace);
  update saga.sweep s
     set looked = looked + jsonb_array_length(p_rows), found = s.found + n, problem = null, lease_expires_at = now() + interval '60 seconds',
         after = case when p_more then p_after end, list = case when p_more or s.list = 'refunds' then s.list else 'refunds' end
   where provider = 'stripe';
  return n;
end $$;

-- ---- what Stripe tells of a saga that is over -------------------------------------------------------------------------

create index signal_of_late_refund on saga.signal (received_at)
  where consumed_at is null and ignored_reason is null and type in ('refund.failed', 'refund.updated', 'charge.refund.updated', 'refund.created', 'charge.refunded');
drop index saga.signal_of_refund;

-- Sagas that are over and of whose refunds Stripe told something that is not known, the oldest news first. What is known already is
-- laid aside: a refund that a call of ours made, and a charge of which each refund has a call that was answered.
create function saga.late_news(p_limit int) returns setof uuid language plpgsql security definer set search_path = pg_catalog, saga as $$
begin
  update saga.signal g
     set consumed_at = now(), ignored_reason = 'known already'
   where g.signal_id in (
     select n.signal_id from saga.signal n join saga.instance i using (saga_id)
      where n.consumed_at is null and n.ignored_reason is null and i.finished_at is not null
        and case n.type when 'refund.created' then exists (select from saga.effect e where e.provider_object = split_part(n.correlation_key, ':', 2) and e.outcome = 'confirmed')
                        when 'charge.refunded' then not exists (select from saga.effect e where e.saga_id = n.saga_id and e.operation = 'refund' and (e.resolved_via = 'operator' or e.resolved_at is null)) end
        and n.type in ('refund.failed', 'refund.updated', 'charge.refund.updated', 'refund.created', 'charge.refunded')
      order by n.received_at limit 500 for update of n skip locked);
  return query
    select n.saga_id from saga.signal n join saga.instance i using (saga_id)
     where n.consumed_at is null and n.ignored_reason is null and i.finished_at is not null
       and n.type in ('refund.failed', 'refund.updated', 'charge.refund.updated', 'refund.created', 'charge.refunded')
     group by n.saga_id order by min(n.received_at) limit p_limit;
end $$;

revoke all on function saga.open_cases(jsonb, interval), saga.late_news(int) from public;
grant execute on function saga.open_cases(jsonb, interval), saga.late_news(int) to bizing_worker;
