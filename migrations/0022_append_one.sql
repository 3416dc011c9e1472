-- One event by itself goes through a function of its own, with plain arguments: a third of the cost of thirteen arrays of
-- one element, which PL/pgSQL unpacks one by one at every call. A few single events in one statement go through it too;
-- `api.append` keeps what is long or not plain (commands, many events of a stream), and loses its short path.
--
-- Locks: `core.streams` against everything for the moment in which its check is dropped; no row is read for it.

-- A check and a generated column are read anew from their text by every update of a stream, and a pattern is the dearest
-- thing in such an update. What a stream is called never changes: it is looked at once, when the stream is made.
alter table core.streams drop constraint streams_stream_id_check, alter column category drop expression;

create function core.name_stream() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
  if new.stream_id is null or new.stream_id !~ '^[a-z]{1,40}-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
    raise exception 'a stream is called by its category and an id, as in booking-0193a1b2-…, not %', left(new.stream_id, 60)
      using errcode = 'invalid_parameter_value', column = 'stream';
  end if;
  new.category := split_part(new.stream_id, '-', 1);
  return new;
end $$;
create trigger name_stream before insert on core.streams for each row execute function core.name_stream();

-- The next position where events are counted instead of registered.
create function core.count_position() returns bigint language sql volatile set search_path = pg_catalog, core as $$
  update core.position_counter set last_position = last_position + 1 returning last_position
$$;

-- Appends one event to one stream. The same promises, refusals and words as `api.append`: p_expected null = any version,
-- -1 = the stream exists, 0 = it does not, n = exactly n; status `appended`, `conflict` (version = the actual one) or, for a
-- caller who does not wait, `busy`. Several of it may stand in one statement; then the caller sorts them by stream.
create function api.append_one(
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
    insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, dedupe_key)
    select b.destination_id, b.template, p_id, position, p_stream, p_correlation, b.destination_id || ':' || b.template || ':' || p_id
      from delivery.subscriptions b
      join delivery.destinations d on d.destination_id = b.destination_id and d.active
     where b.event_name = p_name;
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

-- ---- who may do what ---------------------------------------------------------------------------------------------

revoke all on all functions in schema api, core from public;
grant execute on function api.append_one(text, bigint, uuid, text, smallint, timestamptz, uuid, uuid, jsonb, jsonb, boolean) to bizing_staff, bizing_worker;
