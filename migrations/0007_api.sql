-- What people and workers may call. Every function belongs to bizing_owner, pins its search_path and records the
-- login that called it. Business rules live in Rust; what is checked here is who may do what, and what must never
-- break.
--
-- Locks: none on existing tables.

-- Appends to one or more streams in one round trip. Requests (r_*) name streams, events (e_*) name their request by
-- its 1-based index. r_expected: null = any version, -1 = the stream exists, 0 = it does not, n = exactly n.
-- A refusal is a status, never an exception, so it burns no position and does not abort its neighbours:
-- `appended`, `repeated` (same command, same content: the first result), `reused` (same command, other content),
-- `conflict` (version = the actual one). Callers sort the requests by stream, so that locks are taken in one order.
create function api.append(
  r_stream text[], r_expected bigint[], r_command uuid[], r_content bytea[],
  e_req int[], e_id uuid[], e_name text[], e_schema smallint[], e_occurred timestamptz[],
  e_correlation uuid[], e_causation uuid[], e_metadata jsonb[], e_data jsonb[]
) returns table (req int, status text, version bigint, first_position bigint, last_position bigint, detail text)
language plpgsql security definer set search_path = pg_catalog, core, delivery as $$
#variable_conflict use_column
declare
  requests int := cardinality(r_stream);
  events int := coalesce(cardinality(e_req), 0);
  by_worker boolean := admin.caller_is('worker');
  recorded timestamptz := clock_timestamp();
  meta jsonb;
  floor_position bigint;
  bad text;
  i int;
  j int := 1;
  known core.commands;
  s core.streams;
  head bytea;
  v bigint;
  st text[] := array_fill('appended'::text, array[requests]);
  actual bigint[] := array_fill(0::bigint, array[requests]);
  firsts bigint[] := array_fill(null::bigint, array[requests]);
  lasts bigint[] := array_fill(null::bigint, array[requests]);
  details text[] := array_fill(null::text, array[requests]);
  heads bytea[] := array_fill(''::bytea, array[requests]);
  nos bigint[] := array_fill(null::bigint, array[requests]);
  ev_version bigint[] := array_fill(null::bigint, array[events]);
  ev_hash bytea[] := array_fill(null::bytea, array[events]);
  ev_meta jsonb[] := array_fill(null::jsonb, array[events]);
begin
  if (select count(distinct x) from unnest(r_stream) x) <> requests then
    raise exception 'a stream may stand only once in an append' using errcode = 'invalid_parameter_value';
  end if;

  select format('%s version %s', t.n, t.v) into bad from unnest(e_name, e_schema) t(n, v)
   where not exists (select 1 from core.event_types k where k.name = t.n and k.schema_version = t.v) limit 1;
  if bad is not null then
    raise exception 'event type % is not registered', bad using errcode = 'invalid_parameter_value';
  end if;
  select t.n into bad from (select distinct unnest(e_name) n) t
   where not exists (select 1 from core.event_rights r where r.name = t.n and admin.caller_is(r.group_name)) limit 1;
  if bad is not null then
    raise exception '% may not write %', session_user, bad using errcode = 'insufficient_privilege';
  end if;

  -- The registry: the floor is read before any position is drawn, and the lock is held until the transaction is over.
  select case when is_called then last_value else last_value - 1 end into floor_position from core.position;
  -- Any lower floor is as true. So a login that squats on the key keeps readers waiting, and no writer.
  while not pg_try_advisory_xact_lock_shared((77::bigint << 48) | floor_position) loop
    if floor_position = 0 then
      raise exception 'somebody holds the registry of appends' using errcode = 'lock_not_available';
    end if;
    floor_position := floor_position - 1;
  end loop;

  for i in 1..requests loop
    if r_command[i] is not null then
      insert into core.commands (command_id, stream_id, content) values (r_command[i], r_stream[i], r_content[i])
        on conflict do nothing;
      if not found then
        select * into known from core.commands c where c.command_id = r_command[i];
        if known.content = r_content[i] and known.stream_id = r_stream[i] then
          st[i] := 'repeated'; actual[i] := known.version; firsts[i] := known.first_position; lasts[i] := known.last_position;
        else
          st[i] := 'reused'; details[i] := known.stream_id;
        end if;
      end if;
    end if;

    if st[i] = 'appended' then
      if r_expected[i] is null or r_expected[i] = 0 then
        insert into core.streams (stream_id) values (r_stream[i]) on conflict do nothing;
      end if;
      select * into s from core.streams x where x.stream_id = r_stream[i] for update;
      if not found or (r_expected[i] = -1 and s.version = 0) or (r_expected[i] >= 0 and s.version <> r_expected[i]) then
        st[i] := 'conflict'; actual[i] := coalesce(s.version, 0);
        delete from core.commands c where c.command_id = r_command[i];
      else
        nos[i] := s.stream_no; head := s.head; v := s.version;
      end if;
    end if;

    while j <= events and e_req[j] = i loop
      if st[i] = 'appended' then
        v := v + 1;
        -- only a worker acts on behalf of somebody
        meta := case when by_worker then e_metadata[j] else e_metadata[j] - 'on_behalf_of' end;
        head := core.event_hash(head, v, e_id[j], e_name[j], e_schema[j], e_correlation[j], e_causation[j], e_occurred[j], recorded,
                                session_user, meta, e_data[j]);
        ev_version[j] := v; ev_hash[j] := head; ev_meta[j] := meta;
      end if;
      j := j + 1;
    end loop;
    if st[i] = 'appended' then actual[i] := v; heads[i] := head; end if;
  end loop;
  if j <= events then
    raise exception 'events must stand in the order of their requests' using errcode = 'invalid_parameter_value';
  end if;

  with written as (
    insert into core.events (position, stream_no, version, type_no, event_id, correlation_id, causation_id, occurred_at,
                             recorded_at, actor, metadata, data, hash)
    select nextval('core.position'), nos[x.r], x.v, x.type_no, x.id, x.corr, x.caus, x.occ, recorded, session_user, x.meta, x.data, x.h
      -- Sorted after the join and numbered outside: a join may turn rows round, and the log must follow the versions.
      from (select u.*, k.type_no
              from unnest(e_req, ev_version, e_name, e_schema, e_id, e_correlation, e_causation, e_occurred, ev_meta, e_data, ev_hash)
                     with ordinality as u(r, v, n, sv, id, corr, caus, occ, meta, data, h, o)
              join core.event_types k on k.name = u.n and k.schema_version = u.sv
             where u.v is not null order by u.o) x
    returning position, stream_no, event_id, correlation_id, type_no
  ), spans as (
    select w.stream_no, min(w.position) as lo, max(w.position) as hi from written w group by w.stream_no
  ), moved as (
    update core.streams t
       set version = actual[r.o], head = heads[r.o], first_position = coalesce(t.first_position, p.lo), last_position = p.hi
      from unnest(nos) with ordinality as r(no, o) join spans p on p.stream_no = r.no
     where t.stream_no = r.no
    returning r.o, p.lo, p.hi
  ), owed as (
    insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, dedupe_key)
    select b.destination_id, b.template, w.event_id, w.position, t.stream_id, w.correlation_id,
           b.destination_id || ':' || b.template || ':' || w.event_id
      from written w
      join core.event_types k using (type_no)
      join delivery.subscriptions b on b.event_name = k.name
      join delivery.destinations d on d.destination_id = b.destination_id and d.active
      join core.streams t on t.stream_no = w.stream_no
  ), done as (
    select array_agg(m.lo order by r.i) as los, array_agg(m.hi order by r.i) as his
      from generate_series(1, requests) r(i) left join moved m on m.o = r.i
  )
  select array(select coalesce(n, o) from unnest(los, firsts) x(n, o)), array(select coalesce(n, o) from unnest(his, lasts) x(n, o))
    into firsts, lasts from done;

  update core.commands c set version = actual[x.o], first_position = firsts[x.o], last_position = lasts[x.o]
    from unnest(r_command, st) with ordinality as x(id, s, o) where c.command_id = x.id and x.s = 'appended';

  return query select o::int, x.s, x.a, x.f, x.l, x.d
    from unnest(st, actual, firsts, lasts, details) with ordinality as x(s, a, f, l, d, o) order by o;
end $$;

create function api.safe_position() returns bigint language sql volatile security definer
  set search_path = pg_catalog, core as $$ select core.safe_position() $$;

-- Who keeps readers waiting: the holder of the lowest floor. Age and query need pg_read_all_stats, which `migrate` gives
-- to the owner where it may; pid and login always show.
create function api.oldest_append() returns table (pid int, age_seconds double precision, query text, login name)
language sql volatile security definer set search_path = pg_catalog as $$
  select a.pid, extract(epoch from clock_timestamp() - coalesce(a.xact_start, a.state_change))::double precision, left(a.query, 200), a.usename
    from pg_locks l join pg_stat_activity a using (pid)
   where l.locktype = 'advisory' and l.objsubid = 1 and l.classid::bigint >> 16 = 77 and l.granted
     and l.database = (select oid from pg_database where datname = current_database()) and a.pid <> pg_backend_pid()
   order by ((l.classid::bigint & 65535) << 32) | l.objid::bigint, a.xact_start limit 1
$$;

-- One booking's stream, from a version on. Reading is a viewer's right.
create function api.read_stream(p_stream text, p_after bigint)
returns table (stream_id text, "position" bigint, version bigint, name text, schema_version smallint, event_id uuid, correlation_id uuid,
               causation_id uuid, occurred_at timestamptz, recorded_at timestamptz, actor text, metadata jsonb, data jsonb)
language sql stable security definer set search_path = pg_catalog, core as $$
  -- the stream row bounds the positions, so that only the partitions that hold this stream are touched
  select s.stream_id, e.position, e.version, t.name, t.schema_version, e.event_id, e.correlation_id, e.causation_id, e.occurred_at,
         e.recorded_at, e.actor, e.metadata, e.data
    from core.streams s
    join core.events e on e.stream_no = s.stream_no and e.version > p_after
                      and e.position between s.first_position and s.last_position
    join core.event_types t using (type_no)
   where s.stream_id = p_stream order by e.version
$$;

-- The key that seals a customer's personal data, made on first use. Null after an erasure, for good.
create function api.subject_key(p_subject uuid, p_make boolean) returns bytea language plpgsql security definer
  set search_path = pg_catalog, core as $$
declare
  k bytea;
begin
  if p_make then
    insert into core.subject_keys (subject_id, key)
      values (p_subject, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))
      on conflict do nothing;
  end if;
  select key into k from core.subject_keys where subject_id = p_subject;
  return k;
end $$;

-- Keys of many customers at once, for projections. Whoever was erased has no row.
create function api.subject_keys(p_subjects uuid[]) returns table (subject_id uuid, key bytea) language sql stable security definer
  set search_path = pg_catalog, core as $$
  select k.subject_id, k.key from core.subject_keys k where k.subject_id = any(p_subjects) and k.key is not null
$$;

-- Claims inventory for a booking, all or nothing. One statement in sorted order: neither deadlocks nor waits for a loser.
-- Returns the claims that stand in the way; no row means that everything is held. With a row the caller rolls back.
create function api.hold_inventory(p_booking uuid, p_reference text, p_expires timestamptz,
                                   p_claim uuid[], p_resource uuid[], p_unit smallint[], p_during tstzrange[])
returns table (resource_id uuid, taken tstzrange, by_booking uuid)
language plpgsql security definer set search_path = pg_catalog, booking, public as $$
#variable_conflict use_column
declare
  held int;
begin
  -- Expiry is decided here, by the one clock that counts: correctness never waits for a sweeper.
  -- Locked in one order: two who find the same expired holds must not wait for each other.
  with stale as (
    select c.claim_id from booking.inventory_claim c join unnest(p_resource, p_during) as w(r, d) on c.resource_id = w.r and c.during && w.d
     where c.released_at is null and c.expires_at < now()
     order by c.resource_id, c.unit, lower(c.during) for update of c
  )
  update booking.inventory_claim c set released_at = now(), release_reason = 'expired'
   where c.claim_id = any(array(select claim_id from stale));

  insert into booking.booking (booking_id, reference) values (p_booking, p_reference) on conflict (booking_id) do nothing;

  with want as (
    select * from unnest(p_claim, p_resource, p_unit, p_during) as w(claim_id, resource_id, unit, during)
     order by resource_id, unit, lower(during)
  ), ins as (
    insert into booking.inventory_claim (claim_id, resource_id, unit, during, kind, booking_id, expires_at)
    select claim_id, resource_id, unit, during, case when p_expires is null then 'booking' else 'hold' end, p_booking, p_expires from want
    on conflict do nothing returning claim_id
  )
  select count(*) into held from ins;
  if held < cardinality(p_claim) then
    return query
      select c.resource_id, c.during, c.booking_id from booking.inventory_claim c
        join unnest(p_resource, p_unit, p_during) as w(r, u, d) on c.resource_id = w.r and c.unit = w.u and c.during && w.d
       where c.released_at is null and c.booking_id is distinct from p_booking;
    if not found then   -- the rival let go between the two statements
      raise exception 'inventory changed while it was claimed' using errcode = 'serialization_failure';
    end if;
  end if;
end $$;

-- Starts a saga; the same dedupe key returns the saga that is there. A leased start and a first effect are for a
-- process that also works (solo, an admin's window): it goes straight on. The worker checks that effect against the
-- booking before it sends anything.
create function api.start_saga(p_saga uuid, p_definition text, p_version int, p_dedupe text, p_cursor smallint, p_booking uuid,
                               p_customer uuid, p_amount bigint, p_currency text, p_hold_expires timestamptz, p_context jsonb,
                               p_correlation uuid, p_causation uuid, p_step text, p_lease_owner uuid, p_lease interval, p_effect jsonb)
returns uuid language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  started uuid;
begin
  if (p_lease_owner is not null or p_effect is not null) and not admin.caller_is('admin') then
    raise exception '% may start a saga but not lease it', session_user using errcode = 'insufficient_privilege';
  end if;
  insert into saga.instance (saga_id, definition, def_version, dedupe_key, "cursor", booking_id, customer_id, amount_minor, currency,
                             hold_expires_at, context, correlation_id, causation_id, started_by, lease_owner, lease_expires_at, fence)
  values (p_saga, p_definition, p_version, p_dedupe, p_cursor, p_booking, p_customer, p_amount, p_currency, p_hold_expires, p_context,
          p_correlation, p_causation, session_user, p_lease_owner,
          case when p_lease_owner is not null then now() + p_lease end,
          case when p_lease_owner is not null then 1 else 0 end)
  on conflict (definition, dedupe_key) do nothing returning saga_id into started;
  if started is null then
    return (select saga_id from saga.instance where definition = p_definition and dedupe_key = p_dedupe);
  end if;
  insert into saga.attempt (saga_id, no, step, direction, fence, started_at, ended_at, result, worker_id)
    values (p_saga, 1, p_step, 'F', case when p_lease_owner is not null then 1 else 0 end, now(), clock_timestamp(), 'done', p_lease_owner);
  if p_effect is not null then
    -- the first send rides in this commit: last_sent_at = intended_at
    insert into saga.effect (effect_id, saga_id, step, direction, generation, provider, operation, idempotency_key, request,
                             request_sha256, first_sent_at, last_sent_at, sends)
    values ((p_effect->>'effect_id')::uuid, p_saga, p_effect->>'step', 'F', (p_effect->>'generation')::smallint, p_effect->>'provider',
            p_effect->>'operation', p_effect->>'idempotency_key', p_effect->'request', decode(p_effect->>'request_sha256', 'hex'),
            now(), now(), 1);
  end if;
  return started;
end $$;

-- Asks a running saga to stop and take everything back. The command row is the audit.
create function api.request_cancel(p_command uuid, p_saga uuid, p_reason text) returns text language plpgsql security definer
  set search_path = pg_catalog, saga as $$
declare
  i saga.instance;
  asked_of uuid;
begin
  select * into i from saga.instance where saga_id = p_saga for update;
  if not found then return 'not_found'; end if;
  select c.saga_id into asked_of from saga.command c where c.command_id = p_command;
  if found then return case when asked_of = p_saga then 'asked' else 'reused' end; end if;
  if i.finished_at is not null then return 'finished'; end if;
  if i.state = 'compensating' or i.cancel_requested_at is not null then return 'undoing'; end if;
  if i.pivot_passed_at is not null or i.state = 'parked' then return 'too_late'; end if;
  insert into saga.command (command_id, saga_id, action, expected_version, reason, requested_by, status, applied_at, before)
    values (p_command, p_saga, 'cancel', i.version, p_reason, session_user, 'applied', now(),
            jsonb_build_object('state', i.state, 'cursor', i.cursor, 'version', i.version));
  update saga.instance set cancel_requested_at = now(), cancel_requested_by = session_user,
         context = context || jsonb_build_object('cancel_reason', p_reason), wake_at = now(), updated_at = now()
   where saga_id = p_saga;
  return 'asked';
end $$;

-- Sets up or changes locations, resources, services and hours. One document, whole or not at all.
create function api.put_catalogue(p jsonb) returns void language plpgsql security definer set search_path = pg_catalog, booking as $$
begin
  insert into booking.location (location_id, business_name, name, zone, currency)
    select * from jsonb_to_recordset(p->'locations') as x(location_id uuid, business_name text, name text, zone text, currency text)
    on conflict (location_id) do update set business_name = excluded.business_name, name = excluded.name, zone = excluded.zone;
  insert into booking.resource (resource_id, location_id, kind, name, capacity)
    select resource_id, location_id, kind, name, coalesce(capacity, 1) from jsonb_to_recordset(p->'resources')
      as x(resource_id uuid, location_id uuid, kind text, name text, capacity smallint)
    on conflict (resource_id) do update set name = excluded.name, capacity = excluded.capacity;
  insert into booking.service (service_id, name, category, duration_min, buffer_before_min, buffer_after_min, price_minor, currency)
    select service_id, name, coalesce(category, ''), duration_min, coalesce(buffer_before_min, 0), coalesce(buffer_after_min, 0), price_minor, currency
      from jsonb_to_recordset(p->'services') as x(service_id uuid, name text, category text, duration_min int, buffer_before_min int,
                                                 buffer_after_min int, price_minor bigint, currency text)
    on conflict (service_id) do update set name = excluded.name, category = excluded.category, duration_min = excluded.duration_min,
      buffer_before_min = excluded.buffer_before_min, buffer_after_min = excluded.buffer_after_min, price_minor = excluded.price_minor,
      version = service.version + 1;
  insert into booking.service_resource (service_id, resource_id)
    select * from jsonb_to_recordset(p->'service_resources') as x(service_id uuid, resource_id uuid) on conflict do nothing;
  insert into booking.working_hours (resource_id, weekday, opens, closes)
    select * from jsonb_to_recordset(p->'working_hours') as x(resource_id uuid, weekday smallint, opens time, closes time)
    on conflict do nothing;
end $$;

create function api.put_setting(p_name text, p_value jsonb) returns void language sql security definer set search_path = pg_catalog, admin as $$
  insert into admin.setting (name, value) values (p_name, p_value)
    on conflict (name) do update set value = excluded.value, changed_at = now(), changed_by = session_user
$$;

-- ---- who may do what ---------------------------------------------------------------------------------------------

revoke all on all functions in schema api, core, admin, booking, saga from public;
grant usage on schema api, read to bizing_viewer, bizing_worker;
grant usage on schema core, booking, saga, delivery, queue, admin to bizing_worker;

grant execute on function admin.caller_is(text), admin.caller_group(), admin.role_of(text) to bizing_viewer, bizing_worker;
grant usage on schema admin to bizing_viewer;
grant execute on function api.safe_position(), api.oldest_append(), api.read_stream(text, bigint) to bizing_viewer, bizing_worker;
grant execute on function api.append(text[], bigint[], uuid[], bytea[], int[], uuid[], text[], smallint[], timestamptz[], uuid[], uuid[], jsonb[], jsonb[])
  to bizing_staff, bizing_worker;
grant execute on function api.subject_key(uuid, boolean) to bizing_staff, bizing_worker;
grant execute on function api.hold_inventory(uuid, text, timestamptz, uuid[], uuid[], smallint[], tstzrange[]) to bizing_staff;
grant execute on function api.start_saga(uuid, text, int, text, smallint, uuid, uuid, bigint, text, timestamptz, jsonb, uuid, uuid, text, uuid, interval, jsonb)
  to bizing_staff;
grant execute on function api.request_cancel(uuid, uuid, text) to bizing_staff;
grant execute on function api.put_catalogue(jsonb), api.put_setting(text, jsonb) to bizing_admin;

grant select on all tables in schema read to bizing_viewer, bizing_worker;
grant insert, update, delete on read.checkpoints, read.customers_g1, read.bookings_g1, read.timeline_g1 to bizing_worker;

grant select on all tables in schema core, booking, saga, delivery to bizing_worker;
revoke all on core.subject_keys from bizing_worker;   -- keys come through api, for those who are named
grant execute on function api.subject_keys(uuid[]) to bizing_worker;
grant execute on function core.event_hash(bytea, bigint, uuid, text, smallint, uuid, uuid, timestamptz, timestamptz, text, jsonb, jsonb),
  core.ensure_partition(bigint) to bizing_worker;
grant execute on function core.event_hash(bytea, bigint, uuid, text, smallint, uuid, uuid, timestamptz, timestamptz, text, jsonb, jsonb) to bizing_admin;
-- What the doctor reads. An admin may run it; keys, settings and what went to or came from providers are not in it.
grant usage on schema core, booking, saga, delivery to bizing_admin;
grant select on core.events, core.streams, core.event_types, core.position, booking.inventory_claim, saga.instance, saga.worker,
  delivery.destinations, delivery.subscriptions, delivery.deliveries to bizing_admin;
grant select (kind, source, received_at, processed_at) on delivery.inbox to bizing_admin;
grant select (saga_id, step, direction, operation, outcome, intended_at, resolved_at) on saga.effect to bizing_admin;
grant select on core.position to bizing_worker;
grant select on admin.installation, admin.setting, admin.schema_migrations to bizing_worker;
grant update (kind, expires_at, released_at, release_reason) on booking.inventory_claim to bizing_worker;
grant insert, update on saga.instance, saga.signal, saga.worker, saga.provider_gate, saga.attention to bizing_worker;
-- What was asked of a provider, and under which key, is never rewritten; only what became of it is added.
grant insert, update (first_sent_at, last_sent_at, sends, outcome, provider_object, provider_status, provider_request_id, response, resolved_at,
                      resolved_via) on saga.effect to bizing_worker;
grant insert on saga.attempt to bizing_worker;        -- a log: nobody changes it
grant delete on saga.worker to bizing_worker;
grant update on delivery.deliveries, delivery.attempts, delivery.inbox, delivery.poll_cursor to bizing_worker;
grant insert on delivery.attempts, delivery.inbox, delivery.poll_cursor to bizing_worker;

-- ---- what events there are, and which group may write them -------------------------------------------------------

insert into core.event_types (name, schema_version)
  select n, 1 from unnest(array[
    'BookingCreated', 'InventoryHeld', 'PaymentRequested', 'PaymentReceived', 'BookingConfirmed', 'NotificationSent',
    'CalendarSynced', 'BookingCancelled',
    'PaymentAuthorized', 'PaymentActionRequired', 'PaymentFailed', 'PaymentVoided', 'PaymentLinkExpired',
    'RefundRequested', 'PaymentRefunded', 'RefundFailed', 'InventoryReleased', 'InventoryHoldExpired', 'BookingExpired',
    'NotificationFailed', 'CustomerRegistered']) n;
-- People book and register; whatever moves money or follows from it is the worker's to write.
insert into core.event_rights (name, group_name)
  select n, 'staff' from unnest(array['BookingCreated', 'InventoryHeld', 'CustomerRegistered']) n
  union all
  select name, 'worker' from core.event_types;

insert into delivery.destinations (destination_id, kind, name)
  values ('00000000-0000-4000-8000-00000000e001', 'email', 'Customer e-mail');
insert into delivery.subscriptions (destination_id, event_name, template) values
  ('00000000-0000-4000-8000-00000000e001', 'PaymentRequested', 'payment_link'),
  ('00000000-0000-4000-8000-00000000e001', 'BookingConfirmed', 'booking_confirmed'),
  ('00000000-0000-4000-8000-00000000e001', 'BookingCancelled', 'booking_cancelled');

insert into saga.definition (name, version, spec) values ('booking', 1, '{
  "steps": [
    {"name": "hold",    "kind": "local",    "undo": "release"},
    {"name": "payment", "kind": "external", "undo": "void",   "provider": "stripe"},
    {"name": "capture", "kind": "external", "undo": "refund", "provider": "stripe", "pivot": true},
    {"name": "confirm", "kind": "local",    "undo": "cancel"},
    {"name": "notify",  "kind": "delivery", "undo": "correct"}],
  "notify": {"on_exhausted": "compensate"}}');
insert into saga.provider_gate (provider) values ('stripe'), ('email');
