-- Import of an exported log: the events as they were, with their positions, times, actors and hashes.
--
-- Promise: the log ends up byte for byte as it was exported, or is not touched. Only an admin may do it, and only onto an
-- empty log or onto the very events that come before in the file. Each event is checked against the hash chain of its
-- stream as it goes in. No delivery is owed and no saga starts: nothing here writes one.
--
-- Locks: none on existing tables.

-- What was imported, and by whom. Audits that compare events with rows that are no part of a log pass over these positions.
create table core.imports (
  import_id bigint generated always as identity primary key,
  after_position bigint not null,
  upto_position bigint not null,
  events bigint not null check (events > 0),
  imported_at timestamptz not null default now(),
  imported_by text not null default session_user,
  check (after_position < upto_position)
);

-- One batch: all of it goes in and no row is returned, or none of it, and the row names the first event (1-based) that does
-- not fit, and the rule. p_after is the position of the event before. Positions are given and not drawn. The sequence
-- follows with import_settled() once the batch is committed: until then no reader takes positions for decided whose events
-- it cannot see yet.
create function api.import_events(
  p_after bigint, e_position bigint[], e_stream text[], e_version bigint[], e_name text[], e_schema smallint[], e_id uuid[],
  e_correlation uuid[], e_causation uuid[], e_occurred timestamptz[], e_recorded timestamptz[], e_actor text[], e_metadata jsonb[],
  e_data jsonb[], e_hash bytea[]
) returns table (at int, rule text) language plpgsql security definer set search_path = pg_catalog, core as $$
#variable_conflict use_column
declare
  ends_at bigint;
begin
  -- Appends wait for the end of this transaction. They take these two tables in the same order.
  lock table core.streams in share row exclusive mode;
  lock table core.events in share row exclusive mode;
  select coalesce(max(position), 0) into ends_at from core.events;
  if ends_at <> p_after then
    return query select 1, format('the log ends at position %s and not at %s, where the event before this one stands: somebody appended in the meantime',
                                  ends_at, p_after);
    return;
  end if;

  return query
    select x.o::int, x.broken from (
      select u.o, case
               when u.p <= lag(u.p, 1, p_after) over (order by u.o) then format('position %s does not rise above the one before it', u.p)
               when k.type_no is null then format('event type %s version %s is not registered', u.n, u.sv)
               when u.s !~ '^[a-z]+-[0-9a-f-]{36}$' then format('%L is not the name of a stream', u.s)
               when u.v <> coalesce(s.version, 0) + row_number() over w
                 then format('it is version %s of %s, and %s comes next', u.v, u.s, coalesce(s.version, 0) + row_number() over w)
               when u.h is distinct from core.event_hash(coalesce(lag(u.h) over w, s.head, ''::bytea), u.v, u.id, u.n, u.sv, u.corr, u.caus, u.occ, u.rec,
                                                         u.act, u.meta, u.data)
                 then format('its hash does not follow from its content and the event before it in %s', u.s)
             end as broken
        from unnest(e_position, e_stream, e_version, e_name, e_schema, e_id, e_correlation, e_causation, e_occurred, e_recorded, e_actor, e_metadata,
                    e_data, e_hash) with ordinality as u(p, s, v, n, sv, id, corr, caus, occ, rec, act, meta, data, h, o)
        left join core.event_types k on k.name = u.n and k.schema_version = u.sv
        left join core.streams s on s.stream_id = u.s
      window w as (partition by u.s order by u.o)) x
     where x.broken is not null order by x.o limit 1;
  if found then return; end if;

  perform core.ensure_partition(y.p) from (select distinct (x / 10000000) * 10000000 as p from unnest(e_position) x) y;
  insert into core.streams (stream_id)
    select x.s from (select u.s, min(u.o) as o from unnest(e_stream) with ordinality as u(s, o) group by u.s) x
     order by x.o on conflict do nothing;
  insert into core.events (position, stream_no, version, type_no, event_id, correlation_id, causation_id, occurred_at, recorded_at, actor, metadata,
                           data, hash)
    select u.p, s.stream_no, u.v, k.type_no, u.id, u.corr, u.caus, u.occ, u.rec, u.act, u.meta, u.data, u.h
      from unnest(e_position, e_stream, e_version, e_name, e_schema, e_id, e_correlation, e_causation, e_occurred, e_recorded, e_actor, e_metadata,
                  e_data, e_hash) as u(p, s, v, n, sv, id, corr, caus, occ, rec, act, meta, data, h)
      join core.event_types k on k.name = u.n and k.schema_version = u.sv
      join core.streams s on s.stream_id = u.s
     order by u.p;
  update core.streams t
     set version = x.v, head = x.h, first_position = coalesce(t.first_position, x.lo), last_position = x.p
    from (select distinct on (u.s) u.s, u.v, u.h, u.p, min(u.p) over (partition by u.s) as lo
            from unnest(e_stream, e_version, e_hash, e_position) as u(s, v, h, p) order by u.s, u.v desc) x
   where t.stream_id = x.s;
  -- A reference is given once, here and later.
  insert into booking.booking (booking_id, reference, created_at)
    select substr(u.s, 9)::uuid, u.data->>'reference', u.rec from unnest(e_stream, e_name, e_recorded, e_data) as u(s, n, rec, data)
     where u.n = 'BookingCreated' and u.s like 'booking-%' and u.data->>'reference' ~ '^BK-[0-9A-HJKMNP-TV-Z]{6}$' on conflict do nothing;

  -- A run that was cut off and goes on is one import.
  update core.imports set upto_position = e_position[cardinality(e_position)], events = events + cardinality(e_position), imported_at = now()
   where upto_position = p_after and imported_by = session_user;
  if not found then
    insert into core.imports (after_position, upto_position, events, imported_by)
      values (p_after, e_position[cardinality(e_position)], cardinality(e_position), session_user);
  end if;
end $$;

-- Lets the next append draw above what was imported. In a transaction of its own, after the batch.
create function api.import_settled() returns bigint language plpgsql security definer set search_path = pg_catalog, core as $$
declare
  top bigint;
begin
  lock table core.events in share row exclusive mode;   -- nobody draws a position meanwhile
  select coalesce(max(position), 0) into top from core.events;
  if top > (select case when is_called then last_value else last_value - 1 end from core.position) then
    perform setval('core.position', top);
  end if;
  return top;
end $$;

revoke execute on function api.import_events(bigint, bigint[], text[], bigint[], text[], smallint[], uuid[], uuid[], uuid[], timestamptz[], timestamptz[],
  text[], jsonb[], jsonb[], bytea[]), api.import_settled() from public;
grant execute on function api.import_events(bigint, bigint[], text[], bigint[], text[], smallint[], uuid[], uuid[], uuid[], timestamptz[], timestamptz[],
  text[], jsonb[], jsonb[], bytea[]), api.import_settled() to bizing_admin;
grant select on core.imports to bizing_admin, bizing_worker;
