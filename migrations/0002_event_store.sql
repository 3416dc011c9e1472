-- The append-only event store: types, streams, events, commands, keys of sealed fields.
--
-- Order over all streams comes from the in-flight registry (docs/ARCHITECTURE.md, "Why no event is skipped"):
-- an append takes a shared advisory lock that names a floor below every position it will use, then draws its
-- positions from a sequence with CACHE 1. No lock is exclusive, so appends never wait for one another here.
--
-- Locks: none on existing tables.

create sequence core.position cache 1;

create table core.event_types (
  type_no int generated always as identity primary key,  -- one number is type and version: 4 bytes an event
  name text not null check (name ~ '^[A-Z][A-Za-z]+$'),
  schema_version smallint not null check (schema_version > 0),
  unique (name, schema_version)
);
-- Which group may write an event directly. Groups of people inherit; the worker stands beside them.
create table core.event_rights (
  name text not null,
  group_name text not null check (group_name in ('staff', 'manager', 'admin', 'worker')),
  primary key (name, group_name)
);

create table core.streams (
  stream_no bigint generated always as identity primary key,
  stream_id text not null unique check (stream_id ~ '^[a-z]+-[0-9a-f-]{36}$'),
  category text generated always as (split_part(stream_id, '-', 1)) stored,
  version bigint not null default 0,
  first_position bigint,
  last_position bigint,
  head bytea not null default ''::bytea,   -- hash of the newest event: the chain's end
  created_at timestamptz not null default now()
) with (fillfactor = 70);                  -- no index on what an append changes, so its update stays in the page

create table core.events (
  position bigint not null,
  stream_no bigint not null,
  version bigint not null,
  type_no int not null,
  event_id uuid not null,
  correlation_id uuid not null,
  causation_id uuid,
  occurred_at timestamptz not null,
  recorded_at timestamptz not null,
  actor text not null,                     -- the login, as the database knows it
  metadata jsonb not null check (jsonb_typeof(metadata) = 'object'),
  data jsonb not null check (jsonb_typeof(data) = 'object'),
  hash bytea not null,                     -- core.event_hash: the event before in the stream, and this one
  primary key (position)
) partition by range (position);

-- Ten million positions a partition. Uniqueness stands on each partition, because the parent would ask for the
-- partition key in it; across partitions the stream row (version) and the command id keep it.
create function core.ensure_partition(p_position bigint) returns void language plpgsql security definer
  set search_path = pg_catalog, core as $$
declare
  lo bigint := (p_position / 10000000) * 10000000;
  part text := 'events_' || lpad((lo / 10000000)::text, 4, '0');
begin
  if to_regclass('core.' || part) is not null then return; end if;
  execute format('create table core.%I partition of core.events for values from (%s) to (%s)', part, lo, lo + 10000000);
  execute format('alter table core.%I add unique (stream_no, version), add unique (event_id)', part);
  execute format('create index on core.%I (correlation_id)', part);
  execute format('create index on core.%I (type_no, position)', part);
  execute format('create index on core.%I using brin (recorded_at)', part);
  execute format('create trigger append_only before update or delete or truncate on core.%I for each statement execute function core.append_only()', part);
exception when duplicate_table then null;   -- another worker was faster
end $$;

create function core.append_only() returns trigger language plpgsql as $$
begin
  raise exception 'events are append-only: % on % is refused', tg_op, tg_table_name using errcode = 'insufficient_privilege';
end $$;
create trigger append_only before update or delete or truncate on core.events
  for each statement execute function core.append_only();
select core.ensure_partition(0), core.ensure_partition(10000000);

-- What the chain holds of an event: everything but its position, which is drawn later. One definition for the append
-- and for whoever verifies. Times as microseconds, so that no session's settings show in the hash.
create function core.event_hash(p_before bytea, p_version bigint, p_id uuid, p_name text, p_schema smallint, p_correlation uuid,
                                p_causation uuid, p_occurred timestamptz, p_recorded timestamptz, p_actor text, p_metadata jsonb, p_data jsonb)
returns bytea language sql stable as $$
  select sha256(p_before || convert_to(jsonb_build_array(p_version, p_id, p_name, p_schema, p_correlation, p_causation,
    (extract(epoch from p_occurred) * 1000000)::bigint, (extract(epoch from p_recorded) * 1000000)::bigint, p_actor, p_metadata, p_data)::text, 'UTF8'))
$$;

-- The same command twice is harmless: same id and content returns the first result. Kept for 90 days.
create table core.commands (
  command_id uuid primary key,
  stream_id text not null,
  content bytea not null,                  -- sha256 of what was asked
  version bigint,
  first_position bigint,
  last_position bigint,
  recorded_at timestamptz not null default now()
);

-- A key per customer. Personal data stands only in fields sealed with it; erasing the key erases the person. The row
-- stays: no later key may stand in for the erased one, and a restored backup knows whom to erase again.
create table core.subject_keys (
  subject_id uuid primary key,
  key bytea check (length(key) = 32),
  created_at timestamptz not null default now(),
  erased_at timestamptz,
  check ((key is null) = (erased_at is not null))
);

-- Everything at or below it is decided: visible to any snapshot taken after this call, or rolled back for good.
create function core.safe_position() returns bigint language plpgsql volatile security definer
  set search_path = pg_catalog, core as $$
declare
  issued bigint;
  floor_in_flight bigint;
begin
  select case when is_called then last_value else last_value - 1 end into issued from core.position;
  select min(((classid::bigint & 65535) << 32) | objid::bigint) into floor_in_flight
    from pg_locks
   where locktype = 'advisory' and objsubid = 1 and classid::bigint >> 16 = 77 and granted
     and database = (select oid from pg_database where datname = current_database());
  return least(issued, coalesce(floor_in_flight, issued));
end $$;
