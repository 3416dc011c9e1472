-- What the Events page reads: the log itself without joins (a page joins only the rows it shows), what came in, what was
-- asked of sagas, a place in the log for a time, and an event's place in its hash chain.
--
-- Locks: none on existing tables.

create view read.log_v1 as
  select "position", stream_no, version, type_no, event_id, correlation_id, causation_id, occurred_at, recorded_at, actor, metadata, data
    from core.events;
create view read.streams_v1 as
  select stream_no, stream_id, category, version, first_position, last_position, created_at from core.streams;
-- Which message came and what became of it; what stood in it is the worker's alone.
create view read.inbox_v1 as
  select inbox_id, source, external_id, kind, object_id, via, created_at, received_at, processed_at, result from delivery.inbox;
create view read.saga_commands_v1 as
  select command_id, saga_id, action, requested_by, requested_at, status, applied_at from saga.command;

-- The last position that was recorded at or before a time, by halving: some 25 look-ups in a log of any length. Positions
-- rise with recorded times but for appends that overlapped and clocks that were set back; so it is where to look, and
-- whoever filters by time still compares the times.
create function api.position_at(p_time timestamptz) returns bigint language plpgsql stable security definer
  set search_path = pg_catalog, core as $$
declare
  lo bigint := 0;
  hi bigint;
  middle bigint;
  e record;
begin
  select case when is_called then last_value else last_value - 1 end into hi from core.position;
  while lo < hi loop
    middle := lo + (hi - lo + 1) / 2;
    select x.position, x.recorded_at into e from core.events x where x.position > lo and x.position <= middle
     order by x.position desc limit 1;
    if not found or e.recorded_at <= p_time then lo := middle; else hi := e.position - 1; end if;
  end loop;
  return lo;
end $$;

-- The hash of an event, that of the one before it in its stream, and whether what is stored still gives the first.
create function api.event_proof(p_position bigint) returns table (hash bytea, hash_before bytea, matches boolean)
language sql stable security definer set search_path = pg_catalog, core as $$
  select e.hash, b.before,
         e.hash = core.event_hash(b.before, e.version, e.event_id, t.name, t.schema_version, e.correlation_id, e.causation_id,
                                  e.occurred_at, e.recorded_at, e.actor, e.metadata, e.data)
    from core.events e
    join core.event_types t using (type_no)
    join core.streams s using (stream_no)
    cross join lateral (
      select case when e.version = 1 then ''::bytea
                  else (select x.hash from core.events x where x.stream_no = e.stream_no and x.version = e.version - 1
                           and x.position between s.first_position and e.position) end as before) b
   where e.position = p_position
$$;

-- Who of these was erased. That, and not the key, is for everybody to know.
create function api.erased_subjects(p_subjects uuid[]) returns setof uuid language sql stable security definer
  set search_path = pg_catalog, core as $$
  select subject_id from core.subject_keys where subject_id = any(p_subjects) and erased_at is not null
$$;

revoke all on function api.position_at(timestamptz), api.event_proof(bigint), api.erased_subjects(uuid[]) from public;
grant execute on function api.position_at(timestamptz), api.event_proof(bigint), api.erased_subjects(uuid[]) to bizing_viewer, bizing_worker;
grant select on read.log_v1, read.streams_v1, read.inbox_v1, read.saga_commands_v1 to bizing_viewer, bizing_worker;
