-- The registry of event schemas: the JSON Schema of each type and version, generated from the Rust types and written
-- once by `migrate`. Beside core.event_types, which every append and every read joins and which therefore stays narrow.
--
-- Locks: none on existing tables; core.event_types gets one row.

create table core.event_schemas (
  type_no int primary key references core.event_types,
  json_schema jsonb not null check (jsonb_typeof(json_schema) = 'object'),
  fingerprint text not null check (fingerprint ~ '^[0-9a-f]{64}$'),   -- of its rules, without words for people
  registered_at timestamptz not null default now()
);
create function core.schemas_are_fixed() returns trigger language plpgsql as $$
begin
  raise exception 'a registered schema never changes: give the event a new version' using errcode = 'check_violation';
end $$;
create trigger fixed before update or delete on core.event_schemas
  for each row execute function core.schemas_are_fixed();
create trigger fixed_whole before truncate on core.event_schemas
  for each statement execute function core.schemas_are_fixed();

create view read.event_types_v1 as
  select t.type_no, t.name, t.schema_version, c.json_schema, c.fingerprint, c.registered_at,
         (select coalesce(array_agg(r.group_name order by r.group_name), '{}') from core.event_rights r where r.name = t.name) as writers
    from core.event_types t left join core.event_schemas c using (type_no);

-- As api.read_stream, which open windows of an earlier version go on calling, with the number of the type: a reader
-- finds its way once per type and not per event.
create function api.read_stream_v2(p_stream text, p_after bigint)
returns table (stream_id text, "position" bigint, version bigint, type_no int, name text, schema_version smallint, event_id uuid,
               correlation_id uuid, causation_id uuid, occurred_at timestamptz, recorded_at timestamptz, actor text, metadata jsonb, data jsonb)
language sql stable security definer set search_path = pg_catalog, core as $$
  -- the stream row bounds the positions, so that only the partitions that hold this stream are touched
  select s.stream_id, e.position, e.version, e.type_no, t.name, t.schema_version, e.event_id, e.correlation_id, e.causation_id,
         e.occurred_at, e.recorded_at, e.actor, e.metadata, e.data
    from core.streams s
    join core.events e on e.stream_no = s.stream_no and e.version > p_after
                      and e.position between s.first_position and s.last_position
    join core.event_types t using (type_no)
   where s.stream_id = p_stream order by e.version
$$;

-- Version 2 says how long before its start a booking was cancelled and whether it had been confirmed, so that whoever
-- gets the event alone (a webhook, the report of the day) can tell a late cancellation from a request that came to
-- nothing. Version 1 stays as it is and is read through an upcaster.
insert into core.event_types (name, schema_version) values ('BookingCancelled', 2);

revoke all on function core.schemas_are_fixed(), api.read_stream_v2(text, bigint) from public;
grant execute on function api.read_stream_v2(text, bigint) to bizing_viewer, bizing_worker;
grant select on read.event_types_v1 to bizing_viewer, bizing_worker;
