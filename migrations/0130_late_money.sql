-- Money that is taken for a saga that is over opens it again for a person. A capture whose answer never came may still go through after
-- somebody ended the saga by hand: until now what Stripe told of it was laid aside as nothing new, and the walk along Stripe's lists
-- passed it over, since the payment itself was known.
--
-- Replaced: `saga.open_cases` and `saga.late_news` of 0097.
--
-- Locks: saga.signal holds writers off while its index is built (a second for a million rows).

create index signal_of_late_news on saga.signal (received_at)
  where consumed_at is null and ignored_reason is null
    and type in ('refund.failed', 'refund.updated', 'charge.refund.updated', 'refund.created', 'charge.refunded', 'payment_intent.succeeded');
drop index saga.signal_of_late_refund;

-- As in 0097, and: a payment that was taken, of a saga that is over and knows of no money, is told to it as Stripe would have.
create or replace function saga.open_cases(p_rows jsonb, p_grace interval) returns int language sql security definer set search_path = pg_catalog, saga as $$
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
  told as (
    insert into saga.signal (signal_id, correlation_key, type, payload, saga_id)
      select 'walk:' || o.id, 'stripe:' || o.id, 'payment_intent.succeeded', '{}', o.of_saga
        from odd o join saga.instance i on i.saga_id = o.of_saga
       where o.why is null and o.kind = 'intent' and o.status = 'succeeded' and i.finished_at is not null and i.pivot_passed_at is null and i.definition = 'booking'
      on conflict (signal_id) do nothing),
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

-- As in 0097, and payments that were taken. One is known already where its saga knows of money: a capture that was answered is told of
-- a moment later, when the saga may be over.
create or replace function saga.late_news(p_limit int) returns setof uuid language plpgsql security definer set search_path = pg_catalog, saga as $$
begin
  update saga.signal g
     set consumed_at = now(), ignored_reason = 'known already'
   where g.signal_id in (
     select n.signal_id from saga.signal n join saga.instance i using (saga_id)
      where n.consumed_at is null and n.ignored_reason is null and i.finished_at is not null
        and case n.type when 'refund.created' then exists (select from saga.effect e where e.provider_object = split_part(n.correlation_key, ':', 2) and e.outcome = 'confirmed')
                        when 'charge.refunded' then not exists (select from saga.effect e where e.saga_id = n.saga_id and e.operation = 'refund' and (e.resolved_via = 'operator' or e.resolved_at is null))
                        when 'payment_intent.succeeded' then i.pivot_passed_at is not null or i.definition <> 'booking' end
        and n.type in ('refund.failed', 'refund.updated', 'charge.refund.updated', 'refund.created', 'charge.refunded', 'payment_intent.succeeded')
      order by n.received_at limit 500 for update of n skip locked);
  return query
    select n.saga_id from saga.signal n join saga.instance i using (saga_id)
     where n.consumed_at is null and n.ignored_reason is null and i.finished_at is not null
       and n.type in ('refund.failed', 'refund.updated', 'charge.refund.updated', 'refund.created', 'charge.refunded', 'payment_intent.succeeded')
     group by n.saga_id order by min(n.received_at) limit p_limit;
end $$;
