-- Loading a stream was planned anew at every call, which cost more than reading a hundred events. A kept plan must not know
-- the stream, and could then as well walk the positions between its first and its last event: other people's events, all of
-- them. Here the plan is kept, and can only be the right one: it has to give the events in the order of their versions and may
-- not sort, which no index but that of the stream's versions can do. The partitions are chosen when it runs.
--
-- Locks: none; one function is replaced, of the same name and shape, so windows of an earlier version read with it too.

create or replace function api.read_stream_v2(p_stream text, p_after bigint)
returns table (stream_id text, "position" bigint, version bigint, type_no int, name text, schema_version smallint, event_id uuid,
               correlation_id uuid, causation_id uuid, occurred_at timestamptz, recorded_at timestamptz, actor text, metadata jsonb, data jsonb)
language plpgsql stable security definer
set search_path = pg_catalog, core
set plan_cache_mode = force_generic_plan
set enable_sort = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  no bigint;
  lo bigint;
  hi bigint;
begin
  -- the stream row bounds the positions, so that only the partitions that hold this stream are touched
  select s.stream_no, s.first_position, s.last_position into no, lo, hi from core.streams s where s.stream_id = p_stream;
  return query
  select p_stream, e.position, e.version, e.type_no, t.name, t.schema_version, e.event_id, e.correlation_id, e.causation_id,
         e.occurred_at, e.recorded_at, e.actor, e.metadata, e.data
    from core.events e join core.event_types t using (type_no)
   where e.stream_no = no and e.version > p_after and e.position between lo and hi order by e.version;
end $$;
