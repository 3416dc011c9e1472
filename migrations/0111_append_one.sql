-- One event by itself keeps two promises that `api.append` and `api.append_each` already keep: its data and metadata are measured
-- as they are, not as a table holds them, and a caller who does not wait never waits.
--
-- Locks: none; one function is replaced.

-- As in 0028 but for these two.
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
  -- As elements of an array, which adds 24 bytes: a value that comes out of a table may be compressed, and ten megabytes then weigh
  -- a tenth of one.
  if pg_column_size(array[p_data]) - 24 > 1048576 then
    raise exception 'the data of an event may have up to 1 MB' using errcode = 'program_limit_exceeded', column = 'data';
  elsif pg_column_size(array[p_metadata]) - 24 > 65536 then
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
  if no is null and not p_wait and coalesce(p_expected, 0) = 0 then
    -- Whoever does not wait skipped it because somebody else holds it; `api.append` would insert it, and wait for them.
    select case when p_expected = 0 then 'conflict' else 'busy' end, case when p_expected = 0 then t.version end into status, version
      from core.streams t where t.stream_id = p_stream and t.version > 0;
    if found then
      return;
    end if;
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
