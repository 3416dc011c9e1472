-- Operations: erasing a person, backups that were taken and verified, leases of work that one process does for all, and
-- which log this is.
--
-- Locks: none on existing tables.

-- ---- erasing a person ----------------------------------------------------------------------------------------------

insert into core.event_types (name, schema_version) values ('CustomerErased', 1) on conflict do nothing;
-- Cannot be taken back, so managers decide it. A restore, which has the worker's rights, says it again.
insert into core.event_rights (name, group_name) values ('CustomerErased', 'manager'), ('CustomerErased', 'worker') on conflict do nothing;

-- What is left of a text when every e-mail address in it is gone. Mail servers like to repeat the one that they refuse.
create function core.without_addresses(p_text text) returns text language sql immutable as $$
  select regexp_replace(p_text, '[^\s<>"\\,;:()]+@[^\s<>"\\,;:()]+', '(address)', 'g')
$$;

-- Where read models name a customer: every generation's tables that have a customer_id, and what in them tells who it is.
create function core.views_of_customers() returns table (place text, reset text, told text)
language sql stable set search_path = pg_catalog as $f$
  with t as (
    select format('%I.%I', n.nspname, c.relname) as place, array_agg(a.attname::text) as has
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where c.relkind in ('r', 'p') and (n.nspname = 'read' or n.nspname ~ '^p_.+_g[0-9]+$')
     group by 1 having 'customer_id' = any(array_agg(a.attname::text))
  ), x as (
    select t.place, k.reset, k.told
      from t cross join lateral (values
        ('customer_name' = any(t.has), $$customer_name = 'Erased customer'$$, $$customer_name <> 'Erased customer'$$),
        ('name' = any(t.has) and 'email' = any(t.has), $$name = 'Erased customer'$$, $$name <> 'Erased customer'$$),
        ('email' = any(t.has), 'email = null', 'email is not null'),
        ('phone' = any(t.has), 'phone = null', 'phone is not null'),
        ('erased' = any(t.has), 'erased = true', 'not erased'),
        -- A booking is found by its reference (first line) and its provider's ids (from the fifth on), a customer by nothing.
        ('search' = any(t.has) and 'reference' = any(t.has),
         $$search = split_part(search, e'\n', 1) || e'\n\n\n' || coalesce(e'\n' || nullif(array_to_string((string_to_array(search, e'\n'))[5:], e'\n'), ''), '')$$,
         $$btrim(coalesce(array_to_string((string_to_array(search, e'\n'))[2:4], ''), '')) not in ('', 'erased customer')$$),
        ('search' = any(t.has) and not 'reference' = any(t.has), $$search = e'\n\n'$$, $$btrim(search, e' \n') not in ('', 'erased customer')$$)
      ) as k(has, reset, told) where k.has
  )
  select place, string_agg(reset, ', '), string_agg(told, ' or ') from x group by place
$f$;

-- Rows that still tell who an erased customer was.
create function core.named_after_erasure() returns setof text language plpgsql stable security definer set search_path = pg_catalog as $f$
declare
  v record;
begin
  for v in select * from core.views_of_customers() order by place loop
    return query execute format('select format(''%%s: customer %%s'', %L::text, customer_id) from %s
      where customer_id in (select subject_id from core.subject_keys where key is null) and (%s)', v.place, v.place, v.told);
  end loop;
end $f$;

-- Deletes the key of a person, and the copies of their data that stand outside sealed fields: in what mail servers and
-- providers told us. With `p_really` false it only says what it would do. Said twice, it does the rest of the first time.
-- Read models are cleared at once, all generations of them; the caller appends CustomerErased in the same transaction,
-- and they clear again what they were writing meanwhile when they come to that event.
create function api.erase_subject(p_subject uuid, p_really boolean)
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

-- Who was erased, by id alone: what a restored backup has to erase again.
create view read.erasures_v1 as
  select subject_id as customer_id, erased_at from core.subject_keys where key is null;

-- ---- which log this is ---------------------------------------------------------------------------------------------

-- A restore gives the log a new name: whoever remembers a position under another name has read what is not in this log.
create table core.log_identity (
  log_id uuid primary key default gen_random_uuid(),
  no int generated always as identity unique,
  since_position bigint not null,          -- positions above it are this log's own
  made_at timestamptz not null default now(),
  restored_from jsonb                      -- the backup's manifest; null for the first
);
insert into core.log_identity (since_position) select case when is_called then last_value else 0 end from core.position;
create view read.log_identity_v1 as
  select log_id, no, since_position, made_at, restored_from from core.log_identity;

-- ---- backups and leases --------------------------------------------------------------------------------------------

-- The files lie with the process that took them; this is what everybody knows of them.
create table admin.backup (
  backup_id uuid primary key,
  why text not null check (why in ('daily', 'before_migration', 'asked')),
  started_at timestamptz not null,
  asked_by text,                           -- the person, when one asked
  host text not null,
  folder text not null,
  manifest jsonb,                          -- what is in it; null: there is no file, see problem
  proof jsonb,                             -- what restoring it on trial showed
  removed_at timestamptz,                  -- made room for newer ones
  problem text,                            -- why there is no file
  check ((manifest is null) = (problem is not null))
);
create index on admin.backup (started_at);
create view read.backups_v1 as
  select backup_id, why, started_at, asked_by, host, folder, manifest, proof, removed_at, problem from admin.backup;

create table admin.lease (
  name text primary key,
  holder uuid not null,
  until timestamptz not null
);

revoke all on function core.without_addresses(text), core.views_of_customers(), core.named_after_erasure(), api.erase_subject(uuid, boolean)
  from public;
grant execute on function core.named_after_erasure() to bizing_worker, bizing_admin;
grant execute on function api.erase_subject(uuid, boolean) to bizing_manager;
grant select on read.erasures_v1, read.log_identity_v1, read.backups_v1 to bizing_viewer, bizing_worker;
-- Backups are taken, and recorded, by the login that may read everything; no group needs more than the view.
