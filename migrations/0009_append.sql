-- Append, second edition: the same promises at a third of the cost, two orders of the log, limits that name field and rule.
--
-- `api.append` is made anew because it takes one argument more; everybody who calls it with thirteen goes on. Events that are
-- there, and their hashes, are as they were. docs/EVENT-STORE.md says how it works and why it is right.
--
-- Locks: `delivery.subscriptions` against writes for the moment in which a small index is made; otherwise none.

create index subscriptions_event on delivery.subscriptions (event_name);

-- ---- in which order events stand -----------------------------------------------------------------------------------

-- `registry`: a floor below every position to come, as a shared advisory lock. `counter`: one row, locked until the commit,
-- for databases that have no advisory locks; every append waits for the one before. A constant, so that it costs nothing.
create function core.ordering() returns text language sql immutable as $$ select 'registry'::text $$;

create function api.ordering() returns text language sql stable security definer set search_path = pg_catalog, core as $$
  select core.ordering()
$$;

create table core.position_counter (
  only_row boolean primary key default true check (only_row),
  last_position bigint not null default 0
) with (fillfactor = 50);
insert into core.position_counter default values;

-- Before the first event only: the two draw from different sources.
create function api.use_ordering(p_ordering text) returns void language plpgsql security definer
  set search_path = pg_catalog, core as $$
begin
  if p_ordering not in ('registry', 'counter') or p_ordering is null then
    raise exception 'the order of events is kept by a registry or by a counter, not by %', p_ordering using errcode = 'invalid_parameter_value';
  end if;
  lock table core.events in share row exclusive mode;
  if exists (select from core.events) then
    raise exception 'there are events already: the way in which they are ordered is chosen before the first' using errcode = 'object_not_in_prerequisite_state';
  end if;
  execute format('create or replace function core.ordering() returns text language sql immutable as $f$ select %L::text $f$', p_ordering);
end $$;

-- Everything at or below it is decided: visible to any snapshot taken after this call, or rolled back for good.
create or replace function core.safe_position() returns bigint language plpgsql volatile security definer
  set search_path = pg_catalog, core as $$
declare
  issued bigint;
  floor_in_flight bigint;
begin
  if core.ordering() = 'counter' then
    return (select last_position from core.position_counter);
  end if;
  select case when is_called then last_value else last_value - 1 end into issued from core.position;
  select min(((classid::bigint & 65535) << 32) | objid::bigint) into floor_in_flight
    from pg_locks
   where locktype = 'advisory' and objsubid = 1 and classid::bigint >> 16 = 77 and granted
     and database = (select oid from pg_database where datname = current_database());
  return least(issued, coalesce(floor_in_flight, issued));
end $$;

-- What the proof rests on. Asked when a reader starts; a rule that does not hold is a reason not to read.
create function api.log_assumptions() returns table (rule text, holds boolean, found text) language sql stable security definer
  set search_path = pg_catalog, core as $$
  select 'positions are drawn one by one', s.seqcache = 1 and s.seqincrement = 1 and not s.seqcycle,
         format('cache %s, increment %s, cycle %s', s.seqcache, s.seqincrement, s.seqcycle)
    from pg_sequence s where s.seqrelid = 'core.position'::regclass
  union all
  select 'only the append function writes events', count(*) = 0, coalesce(string_agg(format('%s on %s', a.grantee::regrole, c.relname), ', '), '')
    from pg_class c cross join lateral aclexplode(c.relacl) a
   where c.relnamespace = 'core'::regnamespace and c.relname ~ '^events(_\d+)?$' and a.privilege_type = 'INSERT' and a.grantee <> c.relowner
  union all
  select 'this is the primary server', not pg_is_in_recovery(), case when pg_is_in_recovery() then 'a standby: it has no locks to look at' else '' end
$$;

-- The last position given out, also to appends that are still open or were rolled back.
create function api.issued_position() returns bigint language plpgsql volatile security definer set search_path = pg_catalog, core as $$
begin
  if core.ordering() = 'counter' then
    return (select last_position from core.position_counter);
  end if;
  return (select case when is_called then last_value else last_value - 1 end from core.position);
end $$;

-- Who keeps readers waiting: the holder of the lowest floor. Age and query need pg_read_all_stats, which `migrate` gives
-- to the owner where it may; pid and login always show. A prepared transaction has no pid.
drop function api.oldest_append();
create function api.oldest_append() returns table (pid int, age_seconds double precision, query text, login name, state text)
language sql volatile security definer set search_path = pg_catalog as $$
  select l.pid, extract(epoch from clock_timestamp() - coalesce(p.prepared, a.xact_start, a.state_change))::double precision,
         coalesce(left(a.query, 200), 'prepared transaction ' || p.gid), coalesce(a.usename, p.owner),
         case when p.gid is not null then 'prepared' else a.state end
    from pg_locks l left join pg_stat_activity a on a.pid = l.pid
    left join pg_prepared_xacts p on l.pid is null and l.virtualtransaction = '-1/' || p.transaction::text
   where l.locktype = 'advisory' and l.objsubid = 1 and l.classid::bigint >> 16 = 77 and l.granted
     and l.database = (select oid from pg_database where datname = current_database()) and l.pid is distinct from pg_backend_pid()
   order by ((l.classid::bigint & 65535) << 32) | l.objid::bigint, a.xact_start limit 1
$$;

-- Who keeps old rows from being cleaned up, in any database of this server. It delays no reader of the log.
create function api.oldest_snapshot() returns table (pid int, age_seconds double precision, query text, login name, state text, database name)
language sql volatile security definer set search_path = pg_catalog as $$
  select a.pid, extract(epoch from clock_timestamp() - coalesce(a.xact_start, a.state_change))::double precision, left(a.query, 200), a.usename,
         a.state, a.datname
    from pg_stat_activity a
   where a.backend_type = 'client backend' and a.pid <> pg_backend_pid() and (a.backend_xmin is not null or a.backend_xid is not null)
   order by greatest(age(a.backend_xmin), age(a.backend_xid)) desc nulls last, a.xact_start limit 1
$$;

-- ---- append --------------------------------------------------------------------------------------------------------

-- Takes a shared lock that names a floor below every position drawn after it, until the transaction is over.
create function core.register_append() returns bigint language plpgsql set search_path = pg_catalog, core as $$
declare
  floor_position bigint := coalesce(pg_sequence_last_value('core.position'), 0);
begin
  -- Any lower floor is as true. So a login that squats on the key keeps readers waiting, and no writer.
  while not pg_try_advisory_xact_lock_shared((77::bigint << 48) | floor_position) loop
    if floor_position = 0 then
      raise exception 'somebody holds the registry of appends' using errcode = 'lock_not_available';
    end if;
    floor_position := floor_position - 1;
  end loop;
  return floor_position;
end $$;

-- Says what is wrong with the types of an append that was refused for them.
create function core.refuse_types(p_names text[], p_schemas smallint[]) returns void language plpgsql security definer
  set search_path = pg_catalog, core as $$
declare
  x record;
  newest smallint;
begin
  for x in select distinct u.n, u.v from unnest(p_names, p_schemas) u(n, v) loop
    select max(schema_version) into newest from core.event_types where name = x.n;
    if newest is null then
      raise exception 'event type % is not registered', coalesce(x.n, 'null')
        using errcode = 'invalid_parameter_value', column = 'type', hint = 'Names are registered by a migration, with their schema.';
    elsif x.v > newest then
      raise exception '% version % is from the future: this database knows it up to version %', x.n, x.v, newest
        using errcode = 'invalid_parameter_value', column = 'schema_version', hint = 'Bring the database up to date: bizing-desk migrate.';
    elsif not exists (select from core.event_types where name = x.n and schema_version = x.v) then
      raise exception 'event type % has no version %', x.n, coalesce(x.v::text, 'null')
        using errcode = 'invalid_parameter_value', column = 'schema_version';
    elsif not exists (select from core.event_rights r where r.name = x.n and admin.caller_is(r.group_name)) then
      raise exception '% may not write %', session_user, x.n using errcode = 'insufficient_privilege', column = 'type';
    end if;
  end loop;
  raise exception 'the event types of this append changed while it ran' using errcode = 'serialization_failure';
end $$;

drop function api.append(text[], bigint[], uuid[], bytea[], int[], uuid[], text[], smallint[], timestamptz[], uuid[], uuid[], jsonb[], jsonb[]);

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
create function api.append(
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
  type_one int;
  owes boolean;
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

  -- One event on one stream is what most appends are: one update, one insert. Whatever is not plain goes the long way.
  if requests = 1 and events = 1 and e_req[1] = 1 and r_command[1] is null and core.ordering() = 'registry' then
    select t.type_no, exists (select from delivery.subscriptions b where b.event_name = t.name) into type_one, owes
      from core.event_types t
     where t.name = e_name[1] and t.schema_version = e_schema[1]
       and exists (select from core.event_rights r where r.name = t.name and admin.caller_is(r.group_name));
    if not found then
      perform core.refuse_types(e_name, e_schema);
    end if;
    at_position := core.register_append();
    if r_expected[1] = 0 then
      -- The number is drawn only where the stream is not there yet.
      insert into core.streams as t (stream_id, version, first_position, last_position, head)
      select r_stream[1], 1, p, p, core.event_hash('', 1, e_id[1], e_name[1], e_schema[1], e_correlation[1], e_causation[1], e_occurred[1],
                                                   recorded, session_user, e_metadata[1], e_data[1])
        from (select nextval('core.position') as p where not exists (select from core.streams x where x.stream_id = r_stream[1])) d
      on conflict (stream_id) do nothing
      returning t.stream_no, t.version, t.last_position, t.head into s_no, version, at_position, s_head;
    else
      -- Whoever does not wait asks first whether the stream is free; the long way then says what it is.
      if not p_wait then
        perform from core.streams t where t.stream_id = r_stream[1] for no key update skip locked;
      end if;
      update core.streams t
         set version = t.version + 1, last_position = nextval('core.position'),
             head = core.event_hash(t.head, t.version + 1, e_id[1], e_name[1], e_schema[1], e_correlation[1], e_causation[1], e_occurred[1],
                                    recorded, session_user, e_metadata[1], e_data[1])
       where (p_wait or found) and t.stream_id = r_stream[1] and t.version > 0 and (r_expected[1] is null or r_expected[1] < 0 or t.version = r_expected[1])
      returning t.stream_no, t.version, t.last_position, t.head into s_no, version, at_position, s_head;
    end if;
    if found then
      insert into core.events (position, stream_no, version, type_no, event_id, correlation_id, causation_id, occurred_at,
                               recorded_at, actor, metadata, data, hash)
      values (at_position, s_no, version, type_one, e_id[1], e_correlation[1], e_causation[1], e_occurred[1],
              recorded, session_user, e_metadata[1], e_data[1], s_head);
      if owes then
        insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, dedupe_key)
        select b.destination_id, b.template, e_id[1], at_position, r_stream[1], e_correlation[1],
               b.destination_id || ':' || b.template || ':' || e_id[1]
          from delivery.subscriptions b
          join delivery.destinations d on d.destination_id = b.destination_id and d.active
         where b.event_name = e_name[1];
      end if;
      req := 1; status := 'appended'; first_position := at_position; last_position := at_position;
      return next;
      return;
    end if;
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
    streams int := 0;
    -- by request
    st text[] := array_fill(null::text, array[requests]);
    actual bigint[] := array_fill(null::bigint, array[requests]);
    firsts bigint[] := array_fill(null::bigint, array[requests]);
    lasts bigint[] := array_fill(null::bigint, array[requests]);
    details text[] := array_fill(null::text, array[requests]);
    nos bigint[] := array_fill(null::bigint, array[requests]);
    heads bytea[] := array_fill(null::bytea, array[requests]);
    from_n int[] := array_fill(null::int, array[requests]);
    upto_n int[] := array_fill(null::int, array[requests]);
    moves boolean[] := array_fill(false, array[requests]);   -- the last accepted request of its stream
    starts int[] := array_fill(null::int, array[requests]);  -- where its stream's first accepted event stands
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
      select (select t.type_no from core.event_types t
               where t.name = u.n and t.schema_version = u.v
                 and exists (select from core.event_rights r where r.name = u.n and admin.caller_is(r.group_name)))
        from unnest(e_name, e_schema) u(n, v));
    if array_position(e_type, null) is not null then
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
        streams := streams + 1;
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
          if s_id is null or s_id !~ '^[a-z]{1,40}-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
            raise exception 'a stream is called by its category and an id, as in booking-0193a1b2-…, not %', left(s_id, 60)
              using errcode = 'invalid_parameter_value', column = 'stream';
          end if;
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
    -- A long list is sorted for it, a short one is looked through.
    if requests > 2 and streams <> (case when requests > 64 then (select count(distinct x) from unnest(r_stream) x)
                                        else (select count(*) from generate_series(1, requests) x where array_position(r_stream, r_stream[x]) = x) end) then
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
        insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, dedupe_key)
        select b.destination_id, b.template, e_id[a_event[m]], a_position[m], r_stream[e_req[a_event[m]]], e_correlation[a_event[m]],
               b.destination_id || ':' || b.template || ':' || e_id[a_event[m]]
          from generate_series(1, n) m
          join delivery.subscriptions b on b.event_name = e_name[a_event[m]]
          join delivery.destinations d on d.destination_id = b.destination_id and d.active;
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

-- What became of an append whose answer got lost: by the ids of its events, over all partitions.
create function api.find_appended(p_events uuid[])
returns table (stream_id text, event_id uuid, version bigint, "position" bigint) language sql stable security definer
  set search_path = pg_catalog, core as $$
  select s.stream_id, e.event_id, e.version, e.position from core.events e join core.streams s using (stream_no)
   where e.event_id = any(p_events) order by e.position
$$;

-- ---- who may do what ---------------------------------------------------------------------------------------------

revoke all on all functions in schema api, core from public;
grant execute on function api.append(text[], bigint[], uuid[], bytea[], int[], uuid[], text[], smallint[], timestamptz[], uuid[], uuid[], jsonb[],
  jsonb[], boolean) to bizing_staff, bizing_worker;
grant execute on function api.find_appended(uuid[]) to bizing_staff, bizing_worker;
grant execute on function api.oldest_append(), api.oldest_snapshot(), api.issued_position(), api.log_assumptions(), api.ordering() to bizing_viewer, bizing_worker;
grant execute on function api.use_ordering(text) to bizing_admin;
grant select on core.position_counter to bizing_worker;
