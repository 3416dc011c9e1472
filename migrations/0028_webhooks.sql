-- Webhooks in the pipeline of everything that leaves: an endpoint is a destination of kind `webhook`.
--
-- What an endpoint wants is written out as subscriptions, one for each type of event, wildcards too. So an append asks
-- the same small index as before, whatever endpoints there are, and an event that nobody wants costs what it did.
-- Payload filters are looked at only for the endpoints that have one.
--
-- A message to a customer leaves at most once; a webhook leaves at least once, each time with the same id.
--
-- Locks: `delivery.deliveries` and `delivery.attempts` against everything while their columns and indexes are made and the
-- attempts are copied into partitions: about a second for 100,000 of them.

-- ---- destinations ------------------------------------------------------------------------------------------------

alter table delivery.destinations
  drop constraint destinations_kind_check,
  add constraint destinations_kind_check check (kind in ('email', 'webhook')),
  drop constraint destinations_name_key,
  add column url text check (length(url) <= 2048),
  add column note text,
  add column events text[] not null default '{}',         -- BookingConfirmed, Payment*, *
  add column filter jsonb,
  add column ordered_by text not null default 'none' check (ordered_by in ('none', 'stream')),
  add column max_in_flight int not null default 8 check (max_in_flight between 1 and 1000),
  add column rate_per_s int check (rate_per_s between 1 and 10000),
  add column timeout_ms int not null default 15000 check (timeout_ms between 500 and 30000),
  -- Seconds before each try: as Standard Webhooks advises, ten tries in 75 hours.
  add column schedule_s int[] not null default '{0,5,300,1800,7200,18000,36000,50400,72000,86400}'
    check (cardinality(schedule_s) between 1 and 20 and 0 <= all (schedule_s) and 604800 >= all (schedule_s)),
  add column headers bytea,                               -- sealed: names and values
  add column headers_key text,
  add column header_names text[] not null default '{}',
  add column state text not null default 'active' check (state in ('active', 'paused', 'disabled')),
  add column state_reason text,
  add column state_at timestamptz not null default now(),
  add column version int not null default 1,
  add column changed_at timestamptz not null default now(),
  add column deleted_at timestamptz,
  -- `active`: events are owed to it. A pause keeps the queue and lets it grow.
  add constraint webhook_is_whole check (kind <> 'webhook' or
    (url is not null and cardinality(events) between 1 and 200 and active = (state <> 'disabled' and deleted_at is null)));
create unique index destinations_name on delivery.destinations (name) where deleted_at is null;

-- Keys that sign, several at once while one replaces another. Sealed with a key that never comes into the database.
create table delivery.secrets (
  secret_id uuid primary key,
  destination_id uuid not null references delivery.destinations,
  sealed bytea not null,
  key_id text not null,                  -- which key sealed it
  hint text not null,                    -- whsec_…t4Qe
  created_at timestamptz not null default now(),
  created_by text not null default session_user,
  expires_at timestamptz                 -- signs until then
);
create index secrets_destination on delivery.secrets (destination_id);

-- How an endpoint has been doing. Written when something is wrong or has just been mended: an endpoint that works costs no
-- write here.
create table delivery.health (
  destination_id uuid primary key references delivery.destinations,
  breaker text not null default 'closed' check (breaker in ('closed', 'open', 'half_open')),
  opened_at timestamptz,
  opened_times int not null default 0,   -- in a row: the waits double
  open_until timestamptz,
  probe_until timestamptz,               -- somebody has sent one ahead
  probes_ok int not null default 0,
  failures int not null default 0,       -- in a row
  failing_since timestamptz,             -- nothing got through since
  warned int not null default 0,
  window_from timestamptz,
  window_ok int not null default 0,
  window_failed int not null default 0,
  limit_now int,                         -- below max_in_flight, while it answers 429, 502, 503 or 504
  limit_ok int not null default 0,
  paused_until timestamptz,              -- it asked for that
  last_failed_at timestamptz,
  last_error text,
  last_class text,
  last_status smallint
) with (fillfactor = 50);
insert into delivery.health (destination_id) select destination_id from delivery.destinations;

create table delivery.stats_hourly (
  destination_id uuid not null references delivery.destinations,
  hour timestamptz not null,
  ok int not null default 0,
  failed int not null default 0,
  -- answered within 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000 ms, and later
  took int[] not null default '{0,0,0,0,0,0,0,0,0,0,0}',
  last_ok_at timestamptz,
  primary key (destination_id, hour)
) with (fillfactor = 50);

-- Who changed what of an endpoint, and what it did to itself. A log: nobody changes it.
create table delivery.changes (
  change_id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  by text not null default session_user,
  what text not null,
  destination_id uuid references delivery.destinations,
  delivery_id uuid,
  reason text,
  before jsonb,
  after jsonb
);
create index changes_destination on delivery.changes (destination_id, change_id);
create index changes_delivery on delivery.changes (delivery_id) where delivery_id is not null;

-- Private hosts and networks that may be sent to. Each version stays: the log of who allowed what.
create table delivery.allow_list (
  version int primary key,
  entries text[] not null,
  changed_at timestamptz not null default now(),
  changed_by text not null default session_user,
  reason text
);
insert into delivery.allow_list (version, entries) values (0, '{}');

-- ---- deliveries --------------------------------------------------------------------------------------------------

alter table delivery.deliveries
  -- Ids that rise with time: the newest stand together in the index, and a list goes by them.
  alter column delivery_id set default
    encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
      placing substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1), 'hex')::uuid,
  alter column dedupe_key drop not null,
  drop constraint deliveries_dedupe_key_key,
  add column order_key text,                              -- what is sent one after the other
  add column trigger text not null default 'auto' check (trigger in ('auto', 'manual', 'replay', 'test')),
  add column replay_no int not null default 0,
  add column by_hand boolean not null default false,      -- a person asked for this very one: it waits for no pause
  add column tries_from int not null default 0,           -- tries before these do not count any more
  add column format smallint not null default 1,          -- of the body, which is made from the event at each try
  add column last_status smallint,
  add column last_class text,
  add column last_ms int,
  add column changed_at timestamptz not null default now(),
  drop constraint deliveries_state_check,
  add constraint deliveries_state_check
    check (state in ('scheduled', 'sending', 'delivered', 'gave_up', 'unclear', 'skipped', 'held', 'cancelled')),
  drop constraint finished,
  add constraint finished check ((state in ('delivered', 'gave_up', 'unclear', 'skipped', 'cancelled')) = (finished_at is not null));
alter table delivery.deliveries set
  (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.02);

drop index delivery.deliveries_event;
-- Once for each destination, template and event, and once more for each replay.
create unique index deliveries_once on delivery.deliveries (event_id, destination_id, template, replay_no);
create index deliveries_of on delivery.deliveries (destination_id, delivery_id);
create index deliveries_by_hand on delivery.deliveries (destination_id, next_at) where state = 'scheduled' and by_hand;
create index deliveries_in_order on delivery.deliveries (destination_id, order_key, position)
  where order_key is not null and state in ('scheduled', 'sending', 'held');
create index deliveries_left on delivery.deliveries (state, destination_id, delivery_id) where state in ('gave_up', 'unclear', 'held');

-- ---- attempts, a partition for each month ------------------------------------------------------------------------

drop view read.delivery_attempts_v1;
alter table delivery.attempts rename to attempts_before;
alter table delivery.attempts_before rename constraint attempts_pkey to attempts_before_pkey;

create table delivery.attempts (
  delivery_id uuid not null,             -- no foreign key: its check would be the dearest part of recording a try
  no int not null,
  fence bigint not null,
  worker_id uuid not null,
  started_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz,
  result text check (result in ('accepted', 'not_sent', 'later', 'refused', 'unclear', 'skipped', 'interrupted')),
  error text,
  response text,
  trigger text not null default 'auto',
  late boolean not null default false,   -- recorded after somebody else had taken the delivery over
  url text,
  status smallint,
  error_class text,
  dns_ms real,
  connect_ms real,
  tls_ms real,
  first_byte_ms real,
  body_ms real,
  total_ms real,
  peer text,
  request_headers json,
  response_headers json,
  body bytea check (length(body) <= 16384),
  body_cut boolean not null default false,
  primary key (delivery_id, no, started_at)
) partition by range (started_at);
create table delivery.attempts_rest partition of delivery.attempts default;

-- Makes the partition of a month. What fell into the rest, because no worker ran to make it in time, moves over.
create function delivery.make_attempts(p_month date) returns void language plpgsql set search_path = pg_catalog, delivery as $$
declare
  made text := 'attempts_' || to_char(p_month, 'YYYY_MM');
  from_day timestamptz := p_month::timestamp at time zone 'UTC';
  to_day timestamptz := (p_month + interval '1 month')::timestamp at time zone 'UTC';
begin
  if to_regclass('delivery.' || made) is not null then
    return;
  end if;
  execute format('create table delivery.%I (like delivery.attempts including defaults including constraints)', made);
  execute format('with m as (delete from delivery.attempts_rest where started_at >= %L and started_at < %L returning *) insert into delivery.%I select * from m',
                 from_day, to_day, made);
  execute format('alter table delivery.attempts attach partition delivery.%I for values from (%L) to (%L)', made, from_day, to_day);
end $$;
select delivery.make_attempts((date_trunc('month', now() at time zone 'UTC') + n * interval '1 month')::date) from generate_series(0, 2) n;

insert into delivery.attempts (delivery_id, no, fence, worker_id, started_at, ended_at, result, error, response)
  select delivery_id, no, fence, worker_id, started_at, ended_at, result, error, response from delivery.attempts_before;
drop table delivery.attempts_before;

-- The months to come are made, and those that are older than 90 days as a whole are dropped. Of the rest a piece is
-- deleted at a time. Says how much is left to delete.
create function delivery.keep_attempts(p_keep interval default '90 days') returns bigint language plpgsql security definer
  set search_path = pg_catalog, delivery set lock_timeout = '3s' as $$
declare
  old record;
  gone bigint;
begin
  perform delivery.make_attempts((date_trunc('month', now() at time zone 'UTC') + n * interval '1 month')::date) from generate_series(0, 2) n;
  for old in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent = 'delivery.attempts'::regclass and c.relname ~ '^attempts_\d{4}_\d{2}$'
       and to_date(substr(c.relname, 10), 'YYYY_MM') + interval '1 month' < now() - p_keep
  loop
    execute format('drop table delivery.%I', old.relname);
  end loop;
  delete from delivery.attempts_rest r using (select delivery_id, no, started_at from delivery.attempts_rest where started_at < now() - p_keep limit 10000) x
   where (r.delivery_id, r.no, r.started_at) = (x.delivery_id, x.no, x.started_at);
  get diagnostics gone = row_count;
  delete from delivery.stats_hourly where hour < now() - interval '400 days';
  return gone;
end $$;

-- ---- filters -----------------------------------------------------------------------------------------------------

-- Why a filter cannot be used, with the place: `$.data.price: $foo is no operator`. Null: it can.
create function delivery.filter_problem(p_filter jsonb, p_at text default '$', p_depth int default 0) returns text
language plpgsql immutable set search_path = pg_catalog, delivery as $$
declare
  k text;
  a jsonb;
  bad text;
  kind text := jsonb_typeof(p_filter);
begin
  if p_depth = 0 and kind <> 'object' then
    return p_at || ': a filter is an object, as in {"data": {"price": {"amount_minor": {"$gte": 5000}}}}';
  elsif p_depth = 0 and pg_column_size(p_filter) > 16384 then
    return p_at || ': a filter may have up to 16 KB';
  elsif p_depth > 12 then
    return p_at || ': a filter goes down twelve levels at most';
  elsif kind <> 'object' then
    return null;
  end if;
  if p_filter = '{}' then
    return p_at || ': says nothing; name a field or an operator';
  end if;
  for k, a in select * from jsonb_each(p_filter) loop
    bad := null;
    if k in ('$or', '$and') then
      if jsonb_typeof(a) <> 'array' or jsonb_array_length(a) = 0 then
        return format('%s.%s: takes a list of filters', p_at, k);
      end if;
      for i in 0..jsonb_array_length(a) - 1 loop
        if jsonb_typeof(a -> i) <> 'object' then
          return format('%s.%s[%s]: takes filters, and this is none', p_at, k, i);
        end if;
        bad := coalesce(bad, delivery.filter_problem(a -> i, format('%s.%s[%s]', p_at, k, i), p_depth + 1));
      end loop;
    elsif k = '$not' then
      if jsonb_typeof(a) <> 'object' then
        return format('%s.$not: takes a filter', p_at);
      end if;
      bad := delivery.filter_problem(a, p_at || '.$not', p_depth + 1);
    elsif k in ('$gt', '$gte', '$lt', '$lte') then
      if jsonb_typeof(a) not in ('number', 'string') then
        return format('%s.%s: takes a number or a text', p_at, k);
      end if;
    elsif k = '$in' then
      if jsonb_typeof(a) <> 'array' or jsonb_array_length(a) = 0 then
        return format('%s.$in: takes a list of values', p_at);
      end if;
    elsif k = '$startsWith' then
      if jsonb_typeof(a) <> 'string' then
        return format('%s.$startsWith: takes a text', p_at);
      end if;
    elsif k = '$exist' then
      if jsonb_typeof(a) <> 'boolean' then
        return format('%s.$exist: takes true or false', p_at);
      end if;
    elsif k in ('$eq', '$ne') then
      null;
    elsif left(k, 1) = '$' then
      return format('%s: %s is no operator; there are $eq $ne $gt $gte $lt $lte $in $startsWith $exist $or $and $not', p_at, left(k, 40));
    elsif p_depth = 0 and split_part(k, '.', 1) not in ('id', 'type', 'stream', 'data') then
      return format('%s: an event has no field %s; a filter looks at id, type, stream and data', p_at, left(k, 40));
    else
      bad := delivery.filter_problem(a, p_at || '.' || left(k, 60), p_depth + 1);
    end if;
    if bad is not null then
      return bad;
    end if;
  end loop;
  return null;
end $$;

-- Whether a value passes. What a filter does not know never passes: an append must not fail for it.
-- Of a list it is enough that one element does.
create function delivery.matches(p_filter jsonb, p_value jsonb) returns boolean
language plpgsql immutable set search_path = pg_catalog, delivery as $$
declare
  k text;
  a jsonb;
  v jsonb;
  yes boolean;
begin
  if jsonb_typeof(p_filter) <> 'object' then
    return p_value is not null and (p_value = p_filter
           or (jsonb_typeof(p_value) = 'array' and jsonb_typeof(p_filter) <> 'array' and p_value @> jsonb_build_array(p_filter)));
  end if;
  for k, a in select * from jsonb_each(p_filter) loop
    case k
      when '$or' then
        yes := exists (select from jsonb_array_elements(a) x where delivery.matches(x, p_value));
      when '$and' then
        yes := not exists (select from jsonb_array_elements(a) x where not delivery.matches(x, p_value));
      when '$not' then
        yes := not delivery.matches(a, p_value);
      when '$exist' then
        yes := (p_value is not null) = (a = 'true');
      when '$eq' then
        yes := p_value = a or (jsonb_typeof(p_value) = 'array' and jsonb_typeof(a) in ('string', 'number', 'boolean', 'null') and p_value @> jsonb_build_array(a));
      when '$ne' then
        yes := not coalesce(p_value = a or (jsonb_typeof(p_value) = 'array' and jsonb_typeof(a) in ('string', 'number', 'boolean', 'null')
                                            and p_value @> jsonb_build_array(a)), false);
      when '$in' then
        yes := exists (select from jsonb_array_elements(a) x where p_value = x or (jsonb_typeof(p_value) = 'array' and p_value @> jsonb_build_array(x)));
      when '$gt', '$gte', '$lt', '$lte', '$startsWith' then
        if jsonb_typeof(p_value) = 'array' then
          yes := exists (select from jsonb_array_elements(p_value) x where delivery.matches(jsonb_build_object(k, a), x));
        elsif jsonb_typeof(p_value) is distinct from jsonb_typeof(a) then
          yes := false;
        elsif k = '$startsWith' then
          yes := starts_with(p_value #>> '{}', a #>> '{}');
        elsif jsonb_typeof(a) = 'number' then
          yes := case k when '$gt' then (p_value)::numeric > (a)::numeric when '$gte' then (p_value)::numeric >= (a)::numeric
                        when '$lt' then (p_value)::numeric < (a)::numeric else (p_value)::numeric <= (a)::numeric end;
        else
          yes := case k when '$gt' then (p_value #>> '{}') collate "C" > (a #>> '{}') when '$gte' then (p_value #>> '{}') collate "C" >= (a #>> '{}')
                        when '$lt' then (p_value #>> '{}') collate "C" < (a #>> '{}') else (p_value #>> '{}') collate "C" <= (a #>> '{}') end;
        end if;
      else
        if left(k, 1) = '$' then
          return false;
        elsif jsonb_typeof(p_value) = 'array' then
          yes := exists (select from jsonb_array_elements(p_value) x where delivery.matches(jsonb_build_object(k, a), x));
        else
          -- A name with dots goes down; a field of that very name comes first.
          v := p_value -> k;
          if v is null and position('.' in k) > 0 then
            v := p_value #> string_to_array(k, '.');
          end if;
          yes := delivery.matches(a, v);
        end if;
    end case;
    if yes is not true then
      return false;
    end if;
  end loop;
  return true;
end $$;

-- ---- who wants what ----------------------------------------------------------------------------------------------

create function delivery.matching_types(p_patterns text[]) returns setof text language sql stable set search_path = pg_catalog, core as $$
  select distinct t.name from core.event_types t, unnest(p_patterns) p
   where p = '*' or p = t.name or (right(p, 1) = '*' and starts_with(t.name, left(p, -1)))
$$;

-- Writes out what an endpoint wants. What stays keeps its since.
create function delivery.subscribe(p_destination uuid) returns void language plpgsql set search_path = pg_catalog, delivery as $$
declare
  d delivery.destinations;
  wanted text[] := '{}';
begin
  select * into d from delivery.destinations x where x.destination_id = p_destination;
  if d.active then
    wanted := array(select delivery.matching_types(d.events));
  end if;
  delete from delivery.subscriptions b where b.destination_id = p_destination and b.event_name <> all (wanted);
  insert into delivery.subscriptions (destination_id, event_name, template)
    select p_destination, w, w from unnest(wanted) w on conflict do nothing;
end $$;

-- A type that a newer program brings is wanted by those who want all of its kind.
create function delivery.subscribe_to_new() returns trigger language plpgsql security definer set search_path = pg_catalog, delivery as $$
begin
  insert into delivery.subscriptions (destination_id, event_name, template)
    select d.destination_id, new.name, new.name from delivery.destinations d
     where d.kind = 'webhook' and d.active
       and exists (select from unnest(d.events) p where p = '*' or p = new.name or (right(p, 1) = '*' and starts_with(new.name, left(p, -1))))
  on conflict do nothing;
  return null;
end $$;
create trigger wanted_by after insert on core.event_types for each row execute function delivery.subscribe_to_new();

-- Writes what is owed for these events, in their transaction. Called by the appends, and only for types that somebody wants.
create function delivery.owe(p_ids uuid[], p_positions bigint[], p_names text[], p_streams text[], p_correlations uuid[], p_data jsonb[])
returns void language plpgsql set search_path = pg_catalog, delivery set plan_cache_mode = force_generic_plan as $$
begin
  insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, dedupe_key, order_key, give_up_at)
  select b.destination_id, b.template, p_ids[m], p_positions[m], p_streams[m], p_correlations[m],
         case when d.kind <> 'webhook' then b.destination_id || ':' || b.template || ':' || p_ids[m] end,
         case when d.ordered_by = 'stream' then p_streams[m] end,
         case when d.kind = 'webhook' then 'infinity' else now() + interval '30 minutes' end
    from generate_subscripts(p_ids, 1) m
    join delivery.subscriptions b on b.event_name = p_names[m]
    join delivery.destinations d on d.destination_id = b.destination_id and d.active
   where d.filter is null
      or delivery.matches(d.filter, jsonb_build_object('id', p_ids[m], 'type', p_names[m], 'stream', p_streams[m], 'data', p_data[m]));
end $$;

create or replace function api.append_one(
  p_stream text, p_expected bigint, p_id uuid, p_name text, p_schema smallint, p_occurred timestamptz, p_correlation uuid,
  p_causation uuid, p_metadata jsonb, p_data jsonb, p_wait boolean default true,
  out status text, out version bigint, out "position" bigint
) language plpgsql security definer
set search_path = pg_catalog, core, delivery
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  recorded constant timestamptz := clock_timestamp();
  type_one int;
  owes boolean;
  no bigint;
  chain bytea;
begin
  if pg_column_size(p_data) > 1048576 then
    raise exception 'the data of an event may have up to 1 MB' using errcode = 'program_limit_exceeded', column = 'data';
  elsif pg_column_size(p_metadata) > 65536 then
    raise exception 'the metadata of an event may have up to 64 KB' using errcode = 'program_limit_exceeded', column = 'metadata';
  end if;
  if not admin.caller_is('worker') then   -- only a worker acts on behalf of somebody
    p_metadata := p_metadata - 'on_behalf_of';
  end if;
  select t.type_no, exists (select from delivery.subscriptions b where b.event_name = t.name) into type_one, owes
    from core.event_types t
   where t.name = p_name and t.schema_version = p_schema
     and exists (select from core.event_rights r where r.name = t.name and admin.caller_is(r.group_name));
  if not found then
    perform core.refuse_types(array[p_name], array[p_schema]);
  end if;

  -- The registry: the floor is read before the position is drawn, and the lock is held until the transaction is over.
  if core.ordering() = 'registry' then
    perform core.register_append();
  end if;
  if p_expected is distinct from 0 and p_wait then
    update core.streams t
       set version = t.version + 1,
           last_position = case core.ordering() when 'registry' then nextval('core.position') else core.count_position() end,
           head = core.event_hash(t.head, t.version + 1, p_id, p_name, p_schema, p_correlation, p_causation, p_occurred, recorded,
                                  session_user, p_metadata, p_data)
     where t.stream_id = p_stream
       and t.version > 0 and (p_expected is null or p_expected < 0 or t.version = p_expected)
    returning t.stream_no, t.version, t.last_position, t.head into no, version, position, chain;
  elsif p_expected is distinct from 0 then
    update core.streams t
       set version = t.version + 1,
           last_position = case core.ordering() when 'registry' then nextval('core.position') else core.count_position() end,
           head = core.event_hash(t.head, t.version + 1, p_id, p_name, p_schema, p_correlation, p_causation, p_occurred, recorded,
                                  session_user, p_metadata, p_data)
     where t.stream_no = (select f.stream_no from core.streams f where f.stream_id = p_stream for no key update skip locked)
       and t.version > 0 and (p_expected is null or p_expected < 0 or t.version = p_expected)
    returning t.stream_no, t.version, t.last_position, t.head into no, version, position, chain;
  end if;
  if no is null and coalesce(p_expected, 0) = 0 and not exists (select from core.streams t where t.stream_id = p_stream) then
    position := case core.ordering() when 'registry' then nextval('core.position') else core.count_position() end;
    insert into core.streams as t (stream_id, version, first_position, last_position, head)
    values (p_stream, 1, position, position, core.event_hash('', 1, p_id, p_name, p_schema, p_correlation, p_causation, p_occurred, recorded,
                                                             session_user, p_metadata, p_data))
    on conflict (stream_id) do nothing
    returning t.stream_no, t.version, t.head into no, version, chain;
  end if;
  if no is null then
    -- Not there, not where it was expected, not begun yet, or somebody else's at this moment: the long way knows.
    select a.status, a.version, a.last_position into status, version, position
      from api.append(array[p_stream], array[p_expected], array[null::uuid], array[null::bytea], array[1], array[p_id], array[p_name],
                      array[p_schema], array[p_occurred], array[p_correlation], array[p_causation], array[p_metadata], array[p_data], p_wait) a;
    return;
  end if;

  insert into core.events (position, stream_no, version, type_no, event_id, correlation_id, causation_id, occurred_at, recorded_at, actor,
                           metadata, data, hash)
  values (position, no, version, type_one, p_id, p_correlation, p_causation, p_occurred, recorded, session_user, p_metadata, p_data, chain);
  if owes then
    perform delivery.owe(array[p_id], array[position], array[p_name], array[p_stream], array[p_correlation], array[p_data]);
  end if;
  status := 'appended';
end $$;

-- Appends to one or more streams in one round trip. Requests (r_*) name streams, events (e_*) name their request by
-- its 1-based index. r_expected: null = any version, -1 = the stream exists, 0 = it does not, n = exactly n.
-- A refusal is a status, never an exception, so it burns no position and does not abort its neighbours:
-- `appended`, `repeated` (same command, same content: the first result), `reused` (same command, other content; detail is
-- its first stream), `conflict` (version = the actual one), and, where the caller does not wait, `busy` (somebody
-- else holds the stream). Several requests may name one stream, next to each other; they are taken in their order.
-- Callers sort the requests by stream, so that locks are taken in one order.
--
-- Plans are made once a session: with arrays of one element and of five hundred the best plan is the same, a look
-- into an index for each. Each array is read by its subscript, for a table function with a dozen arrays costs more.
create or replace function api.append(
  r_stream text[], r_expected bigint[], r_command uuid[], r_content bytea[],
  e_req int[], e_id uuid[], e_name text[], e_schema smallint[], e_occurred timestamptz[],
  e_correlation uuid[], e_causation uuid[], e_metadata jsonb[], e_data jsonb[], p_wait boolean default true
) returns table (req int, status text, version bigint, first_position bigint, last_position bigint, detail text)
language plpgsql security definer
set search_path = pg_catalog, core, delivery
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  requests int := coalesce(cardinality(r_stream), 0);
  events int := coalesce(cardinality(e_req), 0);
  recorded timestamptz := clock_timestamp();
  by_worker boolean := admin.caller_is('worker');
  s_no bigint;
  s_head bytea;
  at_position bigint;
begin
  if pg_column_size(e_data) > 1048576 or pg_column_size(e_metadata) > 1048576 or requests > 1000 or events > 10000 then
    if events > 10000 or requests > 1000 then
      raise exception 'an append takes up to 1000 requests and 10000 events, not % and %', requests, events
        using errcode = 'program_limit_exceeded', column = 'events', hint = 'Send them in several appends.';
    elsif exists (select from unnest(e_data) d where pg_column_size(d) > 1048576) then
      raise exception 'the data of an event may have up to 1 MB' using errcode = 'program_limit_exceeded', column = 'data';
    elsif exists (select from unnest(e_metadata) d where pg_column_size(d) > 65536) then
      raise exception 'the metadata of an event may have up to 64 KB' using errcode = 'program_limit_exceeded', column = 'metadata';
    end if;
  end if;
  if not by_worker then   -- only a worker acts on behalf of somebody
    for i in 1..events loop
      e_metadata[i] := e_metadata[i] - 'on_behalf_of';
    end loop;
  end if;

  declare
    e_type int[];
    j int := 1;                  -- next event
    k int := 1;                  -- next of the locked streams
    n int := 0;                  -- accepted events
    -- streams that were there, locked, by request
    l_req bigint[];
    l_no bigint[];
    l_version bigint[];
    l_head bytea[];
    -- commands that are known
    c_id uuid[];
    known core.commands;
    commands int := 0;           -- new ones
    -- the stream in hand
    s_id text;
    s_version bigint;
    s_busy boolean;
    in_order boolean := true;    -- of their names, so far: then those of one stream stand next to each other
    -- by request
    st text[];
    actual bigint[];
    firsts bigint[];
    lasts bigint[];
    details text[];
    nos bigint[];
    heads bytea[];
    from_n int[];
    upto_n int[];
    moves boolean[];   -- the last accepted request of its stream
    starts int[];  -- where its stream's first accepted event stands
    mover int;
    -- by accepted event
    a_event int[] := '{}';
    a_no bigint[] := '{}';
    a_version bigint[] := '{}';
    a_hash bytea[] := '{}';
    a_position bigint[];
  begin
    if cardinality(r_expected) <> requests or cardinality(r_command) <> requests or cardinality(r_content) <> requests
       or cardinality(e_id) <> events or cardinality(e_name) <> events or cardinality(e_schema) <> events or cardinality(e_occurred) <> events
       or cardinality(e_correlation) <> events or cardinality(e_causation) <> events or cardinality(e_metadata) <> events
       or cardinality(e_data) <> events then
      raise exception 'the columns of an append must have one length' using errcode = 'invalid_parameter_value';
    end if;
    e_type := array(
      select (select t.type_no from core.event_types t where t.name = u.n and t.schema_version = u.v) from unnest(e_name, e_schema) u(n, v));
    if array_position(e_type, null) is not null
       or exists (select from (select distinct n from unnest(e_name) n) u
                   where not exists (select from core.event_rights r where r.name = u.n and admin.caller_is(r.group_name))) then
      perform core.refuse_types(e_name, e_schema);
    end if;

    -- The registry: the floor is read before any position is drawn, and the lock is held until the transaction is over.
    if core.ordering() = 'registry' then
      at_position := core.register_append();
    end if;

    if p_wait then
      select array_agg(x.o), array_agg(x.stream_no), array_agg(x.version), array_agg(x.head) into l_req, l_no, l_version, l_head
        from (select r.o, s.stream_no, s.version, s.head
                from unnest(r_stream) with ordinality r(id, o) join core.streams s on s.stream_id = r.id
               order by r.o for no key update of s) x;
    else
      select array_agg(x.o), array_agg(x.stream_no), array_agg(x.version), array_agg(x.head) into l_req, l_no, l_version, l_head
        from (select r.o, s.stream_no, s.version, s.head
                from unnest(r_stream) with ordinality r(id, o) join core.streams s on s.stream_id = r.id
               order by r.o for no key update of s skip locked) x;
    end if;
    -- After the locks: whoever carried out the same command held them until it was committed.
    if array_remove(r_command, null) <> '{}' then
      c_id := array(select c.command_id from core.commands c where c.command_id = any(r_command));
      if (select count(c) <> count(distinct c) from unnest(r_command) c) then
        raise exception 'a command may stand only once in an append' using errcode = 'invalid_parameter_value', column = 'command';
      end if;
    end if;

    for i in 1..requests loop
      if r_stream[i] is distinct from s_id then
        in_order := in_order and (s_id is null or s_id collate "C" < r_stream[i]);
        s_id := r_stream[i]; s_no := null; s_version := 0; s_head := ''; s_busy := false; mover := null;
        if l_req[k] = i then
          s_no := l_no[k]; s_version := l_version[k]; s_head := l_head[k];
        end if;
      end if;
      if l_req[k] = i then
        k := k + 1;
      end if;
      st[i] := 'appended';

      if r_command[i] is not null and (r_command[i] = any(c_id) or s_no is null) then
        select * into known from core.commands c where c.command_id = r_command[i];
        if found then
          if known.content = r_content[i] and known.stream_id = s_id then
            st[i] := 'repeated'; actual[i] := known.version; firsts[i] := known.first_position; lasts[i] := known.last_position;
          else
            st[i] := 'reused'; details[i] := known.stream_id;
          end if;
        end if;
      end if;

      if st[i] = 'appended' and s_no is null and not s_busy then
        if r_expected[i] is null or r_expected[i] = 0 then
          insert into core.streams as t (stream_id) values (s_id) on conflict (stream_id) do nothing returning t.stream_no into s_no;
        end if;
        if s_no is null then
          -- It came meanwhile, or is held by somebody else, or is not there.
          if p_wait then
            select t.stream_no, t.version, t.head into s_no, s_version, s_head from core.streams t where t.stream_id = s_id for no key update;
          else
            select t.stream_no, t.version, t.head into s_no, s_version, s_head from core.streams t where t.stream_id = s_id for no key update skip locked;
            s_busy := s_no is null and exists (select from core.streams t where t.stream_id = s_id);
          end if;
          s_version := coalesce(s_version, 0); s_head := coalesce(s_head, '');
          if s_no is not null and r_command[i] is not null then
            select * into known from core.commands c where c.command_id = r_command[i];
            if found and known.content = r_content[i] and known.stream_id = s_id then
              st[i] := 'repeated'; actual[i] := known.version; firsts[i] := known.first_position; lasts[i] := known.last_position;
            end if;
          end if;
        end if;
      end if;

      if st[i] = 'appended' then
        if s_busy then
          st[i] := 'busy';
        elsif s_no is null or (r_expected[i] >= 0 and r_expected[i] <> s_version) or (r_expected[i] = -1 and s_version = 0) then
          st[i] := 'conflict'; actual[i] := s_version;
        end if;
      end if;

      if st[i] = 'appended' then
        from_n[i] := n + 1;
        while e_req[j] = i loop
          n := n + 1;
          s_version := s_version + 1;
          s_head := core.event_hash(s_head, s_version, e_id[j], e_name[j], e_schema[j], e_correlation[j], e_causation[j], e_occurred[j],
                                    recorded, session_user, e_metadata[j], e_data[j]);
          a_event[n] := j; a_no[n] := s_no; a_version[n] := s_version; a_hash[n] := s_head;
          j := j + 1;
        end loop;
        actual[i] := s_version;
        if n >= from_n[i] then
          upto_n[i] := n; heads[i] := s_head; nos[i] := s_no; moves[i] := true;
          if mover is null then
            starts[i] := from_n[i];
          else
            starts[i] := starts[mover]; moves[mover] := false;
          end if;
          mover := i;
        else
          from_n[i] := null;
        end if;
        if r_command[i] is not null then
          commands := commands + 1;
        end if;
      else
        while e_req[j] = i loop
          j := j + 1;
        end loop;
      end if;
    end loop;
    if not in_order and (select count(distinct x) from unnest(r_stream) x)
                        <> (select count(*) from generate_series(1, requests) x where x = 1 or r_stream[x] <> r_stream[x - 1]) then
      raise exception 'requests of one stream must stand next to each other' using errcode = 'invalid_parameter_value', column = 'stream';
    end if;
    if j <= events then
      raise exception 'events must stand in the order of their requests' using errcode = 'invalid_parameter_value';
    end if;

    if n > 0 then
      if core.ordering() = 'registry' then
        a_position := array(select nextval('core.position') from generate_series(1, n));
      else
        update core.position_counter c set last_position = c.last_position + n returning c.last_position into at_position;
        a_position := array(select generate_series(at_position - n + 1, at_position));
      end if;
      for i in 1..requests loop
        firsts[i] := coalesce(a_position[from_n[i]], firsts[i]);
        lasts[i] := coalesce(a_position[upto_n[i]], lasts[i]);
      end loop;

      insert into core.events (position, stream_no, version, type_no, event_id, correlation_id, causation_id, occurred_at,
                               recorded_at, actor, metadata, data, hash)
      select a_position[m], a_no[m], a_version[m], e_type[a_event[m]], e_id[a_event[m]], e_correlation[a_event[m]], e_causation[a_event[m]],
             e_occurred[a_event[m]], recorded, session_user, e_metadata[a_event[m]], e_data[a_event[m]], a_hash[m]
        from generate_series(1, n) m;

      update core.streams t
         set version = actual[i], head = heads[i], last_position = lasts[i],
             first_position = coalesce(t.first_position, a_position[starts[i]])
        from generate_series(1, requests) i
       where moves[i] and t.stream_no = nos[i];

      if exists (select from delivery.subscriptions b where b.event_name = any(e_name)) then
        perform delivery.owe(array_agg(e_id[a_event[m]]), array_agg(a_position[m]), array_agg(e_name[a_event[m]]),
                             array_agg(r_stream[e_req[a_event[m]]]), array_agg(e_correlation[a_event[m]]), array_agg(e_data[a_event[m]]))
          from generate_series(1, n) m
         where exists (select from delivery.subscriptions b where b.event_name = e_name[a_event[m]]);
      end if;

      if commands > 0 then
        insert into core.commands (command_id, stream_id, content, version, first_position, last_position)
        select r_command[i], r_stream[i], r_content[i], actual[i], firsts[i], lasts[i]
          from generate_series(1, requests) i where st[i] = 'appended' and r_command[i] is not null order by r_command[i]
        on conflict do nothing;
        get diagnostics k = row_count;
        if k < commands then
          raise exception 'a command of this append is carried out by another append at this moment' using errcode = 'serialization_failure';
        end if;
      end if;
    end if;

    for i in 1..requests loop
      req := i; status := st[i]; version := actual[i]; first_position := firsts[i]; last_position := lasts[i]; detail := details[i];
      return next;
    end loop;
  end;
end $$;

-- ---- what workers do ---------------------------------------------------------------------------------------------

-- Takes in what tries told about endpoints, one row an endpoint: how many got through, how many did not, how many of those
-- since the last that did, how many were told to slow down. Says which endpoints stand otherwise than before.
--
-- The breaker opens after five failures in a row, or when half of twenty or more within a minute failed; the pause doubles
-- from 30 s to 30 min. Then one delivery that is really owed is sent ahead; three that get through close it.
create function delivery.note_results(p_ids uuid[], p_ok int[], p_failed int[], p_tail int[], p_slow int[], p_wait_until timestamptz[],
                                      p_gone boolean[], p_errors text[], p_classes text[], p_status smallint[])
returns setof uuid language plpgsql security definer set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
declare
  i int;
  h delivery.health;
  b delivery.health;
  most int;
  share numeric;
  told jsonb;
begin
  -- Sorted, so that two workers never wait for each other in a ring.
  for i in select o from unnest(p_ids) with ordinality x(id, o) order by id loop
    select * into h from delivery.health x where x.destination_id = p_ids[i] for update;
    continue when not found;
    b := h;
    select max_in_flight into most from delivery.destinations d where d.destination_id = p_ids[i];

    h.failures := case when p_ok[i] > 0 then p_tail[i] else h.failures + p_failed[i] end;
    h.failing_since := case when p_tail[i] > 0 and (p_ok[i] > 0 or h.failing_since is null) then now()
                            when p_ok[i] > 0 then null else h.failing_since end;
    if p_ok[i] > 0 then
      h.warned := 0;
    end if;
    if p_failed[i] > 0 then
      h.last_failed_at := now();
      h.last_error := left(p_errors[i], 500);
      h.last_class := p_classes[i];
      h.last_status := p_status[i];
    end if;

    if h.window_from is null or h.window_from < now() - interval '60 seconds' then
      h.window_from := case when p_failed[i] > 0 then now() end;
      h.window_ok := 0;
      h.window_failed := 0;
    end if;
    if h.window_from is not null then
      h.window_ok := h.window_ok + p_ok[i];
      h.window_failed := h.window_failed + p_failed[i];
    end if;

    if p_slow[i] > 0 then
      h.limit_now := greatest(1, least(coalesce(h.limit_now, most), most) / 2);
      h.limit_ok := 0;
    elsif h.limit_now is not null then
      h.limit_ok := h.limit_ok + p_ok[i];
      h.limit_now := h.limit_now + h.limit_ok / 20;
      h.limit_ok := h.limit_ok % 20;
      if h.limit_now >= most then
        h.limit_now := null;
        h.limit_ok := 0;
      end if;
    end if;
    if p_wait_until[i] is not null then
      h.paused_until := greatest(h.paused_until, least(p_wait_until[i], now() + interval '24 hours'));
    end if;
    if h.paused_until <= now() then
      h.paused_until := null;
    end if;

    if h.breaker = 'closed' and (h.failures >= 5 or h.window_ok + h.window_failed >= 20 and h.window_failed >= h.window_ok)
       or h.breaker = 'half_open' and p_failed[i] > 0 then
      h.breaker := 'open';
      h.opened_at := now();
      h.open_until := now() + least(interval '30 seconds' * (2 ^ least(h.opened_times, 10)), interval '30 minutes');
      h.opened_times := h.opened_times + 1;
      h.probe_until := null;
      h.probes_ok := 0;
    elsif h.breaker = 'half_open' and p_ok[i] > 0 then
      h.probes_ok := h.probes_ok + p_ok[i];
      h.probe_until := null;
      if h.probes_ok >= 3 then
        h.breaker := 'closed';
        h.opened_at := null;
        h.open_until := null;
        h.opened_times := 0;
        h.probes_ok := 0;
        h.window_from := null;
        h.window_ok := 0;
        h.window_failed := 0;
      end if;
    end if;

    share := extract(epoch from now() - h.failing_since) / 432000;   -- of five days
    if p_failed[i] > 0 and (p_gone[i] or share >= 1) then
      update delivery.destinations d
         set state = 'disabled', active = false, version = d.version + 1, state_at = now(), changed_at = now(),
             state_reason = case when p_gone[i] then 'gone' else 'days_of_failures' end
       where d.destination_id = p_ids[i] and d.state <> 'disabled' and d.deleted_at is null;
      if found then
        perform delivery.subscribe(p_ids[i]);
        insert into delivery.changes (what, destination_id, reason, after)
          values ('disabled', p_ids[i], case when p_gone[i] then 'gone' else 'days_of_failures' end,
                  jsonb_build_object('error', h.last_error, 'failing_since', h.failing_since));
        return next p_ids[i];
      end if;
    elsif p_failed[i] > 0 and share >= 0.5 and h.warned < (case when share >= 0.9 then 90 when share >= 0.7 then 70 else 50 end) then
      h.warned := case when share >= 0.9 then 90 when share >= 0.7 then 70 else 50 end;
      insert into delivery.changes (what, destination_id, reason, after)
        values ('warned', p_ids[i], 'failing', jsonb_build_object('percent', h.warned, 'failing_since', h.failing_since, 'error', h.last_error));
      return next p_ids[i];
    end if;

    if h is distinct from b then
      update delivery.health x
         set (breaker, opened_at, opened_times, open_until, probe_until, probes_ok, failures, failing_since, warned, window_from, window_ok,
              window_failed, limit_now, limit_ok, paused_until, last_failed_at, last_error, last_class, last_status)
           = (h.breaker, h.opened_at, h.opened_times, h.open_until, h.probe_until, h.probes_ok, h.failures, h.failing_since, h.warned, h.window_from,
              h.window_ok, h.window_failed, h.limit_now, h.limit_ok, h.paused_until, h.last_failed_at, h.last_error, h.last_class, h.last_status)
       where x.destination_id = p_ids[i];
      if h.breaker <> b.breaker then
        return next p_ids[i];
      end if;
    end if;
  end loop;
end $$;

-- When webhooks were last looked after, whoever did it.
create table delivery.attendance (
  only_row boolean primary key default true check (only_row),
  seen_at timestamptz not null
);
insert into delivery.attendance (seen_at) values (now());

-- Says that somebody looks after them. After more than p_longest in which nobody did, what has been waiting is held until a
-- person decides: receivers do not want the mail of a week at once, and may not want it at all. Says how many are held.
create function delivery.attend(p_longest interval default '24 hours') returns bigint language plpgsql security definer
  set search_path = pg_catalog, delivery as $$
declare
  before timestamptz;
  held bigint := 0;
begin
  select seen_at into before from delivery.attendance for update;
  if before < now() - p_longest then
    update delivery.deliveries d set state = 'held', fence = d.fence + 1, changed_at = now()
     where d.state = 'scheduled' and d.trigger = 'auto' and d.next_at <= now()
       and d.destination_id in (select destination_id from delivery.destinations where kind = 'webhook');
    get diagnostics held = row_count;
    if held > 0 then
      insert into delivery.changes (what, destination_id, reason, after)
        select 'held', d.destination_id, 'absence', jsonb_build_object('since', before, 'count', count(*))
          from delivery.deliveries d where d.state = 'held' and d.changed_at = now() group by 2;
    end if;
  end if;
  update delivery.attendance set seen_at = now();
  return held;
end $$;

-- ---- what is read ------------------------------------------------------------------------------------------------

create view read.delivery_attempts_v1 as
  select delivery_id, no, fence, worker_id, started_at, ended_at, result, error, response from delivery.attempts;
create view read.delivery_tries_v1 as
  select delivery_id, no, started_at, ended_at, result, error, response, trigger, late, url, status, error_class, dns_ms, connect_ms, tls_ms,
         first_byte_ms, body_ms, total_ms, peer, request_headers, response_headers, body, body_cut
    from delivery.attempts;
-- Without a join: a page joins only the rows it shows.
create view read.deliveries_v2 as
  select delivery_id, destination_id, template, event_id, position, stream_id, correlation_id, state, attempt, tries_from, next_at, give_up_at,
         outcome, created_at, changed_at, finished_at, order_key, trigger, replay_no, by_hand, format, last_status, last_class, last_ms,
         lease_expires_at
    from delivery.deliveries;
create view read.destinations_v1 as
  select d.destination_id, d.kind, d.name, d.active, d.url, d.note, d.events, d.filter, d.ordered_by, d.max_in_flight, d.rate_per_s, d.timeout_ms,
         d.schedule_s, d.header_names, d.state, d.state_reason, d.state_at, d.version, d.created_at, d.changed_at,
         h.breaker, h.opened_at, h.open_until, h.failures, h.failing_since, h.limit_now, h.paused_until, h.last_failed_at, h.last_error,
         h.last_class, h.last_status
    from delivery.destinations d left join delivery.health h using (destination_id) where d.deleted_at is null;
create view read.destination_names_v1 as select destination_id, kind, name, url, deleted_at from delivery.destinations;
create view read.endpoint_secrets_v1 as
  select secret_id, destination_id, hint, created_at, created_by, expires_at from delivery.secrets
   where expires_at is null or expires_at > now();
create view read.destination_hours_v1 as select destination_id, hour, ok, failed, took, last_ok_at from delivery.stats_hourly;
create view read.delivery_changes_v1 as
  select change_id, at, by, what, destination_id, delivery_id, reason, before, after from delivery.changes;
create view read.allow_list_v1 as select version, entries, changed_at, changed_by, reason from delivery.allow_list;
create view read.subscriptions_v1 as select destination_id, event_name, template, created_at from delivery.subscriptions;

-- ---- who may do what ---------------------------------------------------------------------------------------------

revoke all on all functions in schema delivery, api from public;
grant select on read.delivery_attempts_v1, read.delivery_tries_v1, read.deliveries_v2, read.destinations_v1, read.destination_names_v1,
  read.endpoint_secrets_v1, read.destination_hours_v1, read.delivery_changes_v1, read.allow_list_v1, read.subscriptions_v1
  to bizing_viewer, bizing_worker;
grant select on delivery.secrets, delivery.health, delivery.stats_hourly, delivery.changes, delivery.allow_list, delivery.attempts,
  delivery.attendance to bizing_worker;
grant insert, update on delivery.attempts, delivery.stats_hourly to bizing_worker;
-- To send one ahead; the rest of an endpoint's health is for the function to say.
grant update (breaker, probe_until) on delivery.health to bizing_worker;
grant execute on function delivery.keep_attempts(interval), delivery.attend(interval),
  delivery.note_results(uuid[], int[], int[], int[], int[], timestamptz[], boolean[], text[], text[], smallint[]) to bizing_worker;
-- The doctor's.
grant select on delivery.health to bizing_admin;
