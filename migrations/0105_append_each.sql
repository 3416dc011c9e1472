-- One event each for several streams in one pass: what committers gather is nearly always that. One by one in a loop each of
-- them cost what a transaction of its own costs the server; here the streams are locked by one statement, and one more
-- reckons the chains, moves the streams and inserts the events. Half of the time for eight, a third for a hundred.
--
-- Locks: none; one function is made.

-- The same promises, refusals and words as `api.append` for a caller who does not wait: p_expected null = any version, -1 = the
-- stream exists, 0 = it does not, n = exactly n; a row a request, in their order. Streams are named in the order of their bytes,
-- each once. What is not plain (a stream that is held, elsewhere, or not what was expected; too much data) goes the long way.
--
-- A position is drawn after the floor is registered, and after the stream is locked and its version was seen.
create function api.append_each(
  p_streams text[], p_expected bigint[], p_ids uuid[], p_names text[], p_schemas smallint[], p_occurred timestamptz[],
  p_correlations uuid[], p_causations uuid[], p_metadata jsonb[], p_data jsonb[]
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
  n constant int := coalesce(cardinality(p_streams), 0);
  recorded constant timestamptz := clock_timestamp();
  types int[];
  owes boolean;
  in_order boolean;
  -- accepted: the request, its stream, and where that stands
  a_req int[];
  a_no bigint[];
  a_version bigint[];
  a_head bytea[];
  b_req int[];
  b_no bigint[];
  positions bigint[];
  j int := 1;
begin
  if cardinality(p_expected) <> n or cardinality(p_ids) <> n or cardinality(p_names) <> n or cardinality(p_schemas) <> n
     or cardinality(p_occurred) <> n or cardinality(p_correlations) <> n or cardinality(p_causations) <> n
     or cardinality(p_metadata) <> n or cardinality(p_data) <> n then
    raise exception 'the columns of an append must have one length' using errcode = 'invalid_parameter_value';
  end if;
  select array(select (select t.type_no from core.event_types t
                        where t.name = p_names[k] and t.schema_version = p_schemas[k]
                          and exists (select from core.event_rights r where r.name = t.name and admin.caller_is(r.group_name)))
                 from generate_series(1, n) k),
         exists (select from delivery.subscriptions b where b.event_name = any(p_names)),
         not exists (select from generate_series(2, n) k where (p_streams[k] collate "C" > p_streams[k - 1]) is not true)
    into types, owes, in_order;
  if not in_order or n > 1000 or pg_column_size(p_data) > 1048576 or pg_column_size(p_metadata) > 65536 then
    return query select a.req, a.status, a.version, a.first_position, a.last_position, a.detail
      from api.append(p_streams, p_expected, array_fill(null::uuid, array[n]), array_fill(null::bytea, array[n]), array(select generate_series(1, n)),
                      p_ids, p_names, p_schemas, p_occurred, p_correlations, p_causations, p_metadata, p_data, false) a;
    return;
  end if;
  if array_position(types, null) is not null then
    perform core.refuse_types(p_names, p_schemas);
  end if;
  if not admin.caller_is('worker') then   -- only a worker acts on behalf of somebody
    p_metadata := array(select m - 'on_behalf_of' from unnest(p_metadata) with ordinality u(m, o) order by o);
  end if;

  -- The registry: the floor is read before any position is drawn, and the lock is held until the transaction is over.
  if core.ordering() = 'registry' then
    perform core.register_append();
  end if;
  select coalesce(array_agg(x.o), '{}'), array_agg(x.stream_no), array_agg(x.version), array_agg(x.head) into a_req, a_no, a_version, a_head
    from (select r.o::int as o, s.stream_no, s.version, s.head
            from unnest(p_streams) with ordinality r(id, o) join core.streams s on s.stream_id = r.id
           where p_expected[r.o] is null or p_expected[r.o] = s.version or (p_expected[r.o] < 0 and s.version > 0)
           order by r.o for no key update of s skip locked) x;
  if cardinality(a_req) < n then
    with made as (
      insert into core.streams as t (stream_id)
      select p_streams[k] from generate_series(1, n) k
       where (p_expected[k] is null or p_expected[k] = 0) and not k = any(a_req)
         -- Of a stream that somebody holds the insert would wait for the end of that transaction.
         and not exists (select from core.streams t where t.stream_id = p_streams[k])
       order by k
      on conflict (stream_id) do nothing returning t.stream_no, t.stream_id)
    select coalesce(array_agg(k), '{}'), array_agg(m.stream_no) into b_req, b_no
      from generate_series(1, n) k join made m on m.stream_id = p_streams[k];
    a_req := a_req || b_req;
    a_no := a_no || b_no;
    a_version := a_version || array_fill(0::bigint, array[cardinality(b_req)]);
    a_head := a_head || array_fill(''::bytea, array[cardinality(b_req)]);
  end if;

  with e as materialized (
    select a_req[k] as o, a_no[k] as no, a_version[k] + 1 as version,
           case core.ordering() when 'registry' then nextval('core.position') else core.count_position() end as position,
           core.event_hash(a_head[k], a_version[k] + 1, p_ids[a_req[k]], p_names[a_req[k]], p_schemas[a_req[k]], p_correlations[a_req[k]],
                           p_causations[a_req[k]], p_occurred[a_req[k]], recorded, session_user, p_metadata[a_req[k]], p_data[a_req[k]]) as hash
      from generate_subscripts(a_req, 1) k),
  moved as (
    update core.streams t
       set version = e.version, last_position = e.position, first_position = coalesce(t.first_position, e.position), head = e.hash
      from e where t.stream_no = e.no),
  written as (
    insert into core.events (position, stream_no, version, type_no, event_id, correlation_id, causation_id, occurred_at, recorded_at, actor,
                             metadata, data, hash)
    select e.position, e.no, e.version, types[e.o], p_ids[e.o], p_correlations[e.o], p_causations[e.o], p_occurred[e.o], recorded, session_user,
           p_metadata[e.o], p_data[e.o], e.hash from e)
  select array_agg(x.o), array_agg(x.version), array_agg(x.position) into a_req, a_version, positions
    from (select e.o, e.version, e.position from e order by e.o) x;
  if owes and a_req <> '{}' then
    perform delivery.owe(array_agg(p_ids[a_req[m]]), array_agg(positions[m]), array_agg(p_names[a_req[m]]), array_agg(p_streams[a_req[m]]),
                         array_agg(p_correlations[a_req[m]]), array_agg(p_data[a_req[m]]))
       from generate_subscripts(a_req, 1) m
      where exists (select from delivery.subscriptions b where b.event_name = p_names[a_req[m]]);
  end if;

  for k in 1..n loop
    req := k; detail := null;
    if a_req[j] = k then
      status := 'appended'; version := a_version[j]; first_position := positions[j]; last_position := positions[j];
      j := j + 1;
    elsif coalesce(p_expected[k], 0) = 0 and exists (select from core.streams t where t.stream_id = p_streams[k]) then
      -- It was skipped because somebody else holds it, or is no longer at its beginning, to which no stream comes back.
      version := (select t.version from core.streams t where t.stream_id = p_streams[k]);
      status := case when p_expected[k] = 0 and version > 0 then 'conflict' else 'busy' end;
      version := case status when 'conflict' then version end;
      first_position := null; last_position := null;
    else
      -- Not there, not where it was expected, or somebody else's at this moment: the long way knows.
      select a.status, a.version, a.first_position, a.last_position, a.detail into status, version, first_position, last_position, detail
        from api.append(p_streams[k:k], p_expected[k:k], array[null::uuid], array[null::bytea], array[1], p_ids[k:k], p_names[k:k], p_schemas[k:k],
                        p_occurred[k:k], p_correlations[k:k], p_causations[k:k], p_metadata[k:k], p_data[k:k], false) a;
    end if;
    return next;
  end loop;
end $$;
revoke all on function api.append_each(text[], bigint[], uuid[], text[], smallint[], timestamptz[], uuid[], uuid[], jsonb[], jsonb[]) from public;
grant execute on function api.append_each(text[], bigint[], uuid[], text[], smallint[], timestamptz[], uuid[], uuid[], jsonb[], jsonb[]) to bizing_staff, bizing_worker;
