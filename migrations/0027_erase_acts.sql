-- An erasure also reaches what people wrote when they decided a saga: reasons and evidence like to name an address. The act,
-- who did it and when stay as they were.
--
-- Locks: none.

-- Deletes the key of a person, and the copies of their data that stand outside sealed fields: in what mail servers and
-- providers told us, and in what people wrote when they decided a saga. With `p_really` false it only says what it would do. Said twice, it does the rest of the first time.
-- Read models are cleared at once, all generations of them; the caller appends CustomerErased in the same transaction,
-- and they clear again what they were writing meanwhile when they come to that event.
create or replace function api.erase_subject(p_subject uuid, p_really boolean)
returns table (known boolean, erased_at timestamptz, bookings bigint, messages bigint, notices bigint)
language plpgsql security definer set search_path = pg_catalog, core as $$
#variable_conflict use_column
declare
  k core.subject_keys;
  sagas uuid[];
  books text[];
  objects text[];
  told bigint;
  heard bigint;
  v record;
begin
  select * into k from core.subject_keys x where x.subject_id = p_subject for update;
  if not found then
    return query select false, null::timestamptz, 0::bigint, 0::bigint, 0::bigint;
    return;
  end if;
  select coalesce(array_agg(i.saga_id), '{}'), coalesce(array_agg(distinct i.booking_id::text), '{}') into sagas, books
    from saga.instance i where i.customer_id = p_subject;
  select coalesce(array_agg(f.provider_object), '{}') into objects
    from saga.effect f where f.saga_id = any(sagas) and f.provider_object is not null;

  select count(*) into told from delivery.deliveries d
   where d.stream_id = any(select 'booking-' || b from unnest(books) b)
     and (d.outcome::text like '%@%' or exists (select 1 from delivery.attempts a where a.delivery_id = d.delivery_id and (a.error like '%@%' or a.response like '%@%')));
  select count(*) into heard from delivery.inbox i
   where (i.object_id = any(objects) or i.payload #>> '{data,object,metadata,booking_id}' = any(books))
     and i.payload -> 'data' ? 'object' and not i.payload ? 'erased';

  if p_really then
    update core.subject_keys x set key = null, erased_at = now() where x.subject_id = p_subject and x.key is not null;
    update saga.instance i set error_message = core.without_addresses(i.error_message)
     where i.saga_id = any(sagas) and i.error_message like '%@%';
    update saga.attempt t set error = core.without_addresses(t.error::text)::jsonb, output = core.without_addresses(t.output::text)::jsonb
     where t.saga_id = any(sagas) and (t.error::text like '%@%' or t.output::text like '%@%');
    update saga.command c
       set reason = core.without_addresses(c.reason), refusal = core.without_addresses(c.refusal),
           params = core.without_addresses(c.params::text)::jsonb, plan = core.without_addresses(c.plan::text)::jsonb,
           before = core.without_addresses(c.before::text)::jsonb, after = core.without_addresses(c.after::text)::jsonb
     where c.saga_id = any(sagas) and concat(c.reason, c.refusal, c.params, c.plan, c.before, c.after) like '%@%';
    update saga.batch b set reason = core.without_addresses(b.reason)
     where b.reason like '%@%' and exists (select from saga.batch_item m where m.batch_id = b.batch_id and m.saga_id = any(sagas));
    update saga.attention n set fact = core.without_addresses(n.fact::text)::jsonb, closed_reason = core.without_addresses(n.closed_reason)
     where n.saga_id = any(sagas) and concat(n.fact, n.closed_reason) like '%@%';
    update delivery.attempts a set error = core.without_addresses(a.error), response = core.without_addresses(a.response)
      from delivery.deliveries d
     where a.delivery_id = d.delivery_id and d.stream_id = any(select 'booking-' || b from unnest(books) b)
       and (a.error like '%@%' or a.response like '%@%');
    update delivery.deliveries d set outcome = core.without_addresses(d.outcome::text)::jsonb
     where d.stream_id = any(select 'booking-' || b from unnest(books) b) and d.outcome::text like '%@%';
    -- Of a provider's notice stays what it was about; who paid, and how to reach them, goes.
    update delivery.inbox i
       set payload = jsonb_set(i.payload, '{data,object}',
                       (select coalesce(jsonb_object_agg(e.key, e.value), '{}') from jsonb_each(i.payload #> '{data,object}') e
                         where e.key in ('id', 'object', 'metadata', 'status', 'payment_status', 'payment_intent', 'amount', 'amount_total', 'currency')))
                     || '{"erased": true}'
     where (i.object_id = any(objects) or i.payload #>> '{data,object,metadata,booking_id}' = any(books))
       and jsonb_typeof(i.payload #> '{data,object}') = 'object' and not i.payload ? 'erased';
    for v in select * from core.views_of_customers() order by place loop
      execute format('update %s set %s where customer_id = $1 and (%s)', v.place, v.reset, v.told) using p_subject;
    end loop;
    select * into k from core.subject_keys x where x.subject_id = p_subject;
  end if;
  return query select true, k.erased_at, cardinality(books)::bigint, told, heard;
end $$;
