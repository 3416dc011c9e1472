-- A few events of one stream in one pass. A step of a saga writes two or three, and a booking begins with two; one by one
-- each of them looked up its type, registered, moved the stream's row on and started an insert of its own. Here the stream
-- moves once, its chain is reckoned in between, and the events are one insert: a third of the time for two events.
--
-- Locks: none; one function is made, two are replaced.

-- Appends to one stream that is exactly at p_expected, 0 for one that begins here. The events share their time, correlation,
-- cause and metadata. Status `appended`, or `conflict` with the version that is there. What is too long, or not allowed, or
-- names no version, goes the long way, `api.append`.
--
-- The chain is reckoned before the stream is locked: the head of version n is always the same, and the update asks once more
-- whether the stream is still there. Positions are drawn after the floor is registered, and after that version was seen, so
-- within a stream they rise.
create function api.append_run(
  p_stream text, p_expected bigint, p_ids uuid[], p_names text[], p_schemas smallint[], p_at timestamptz, p_correlation uuid,
  p_causation uuid, p_metadata jsonb, p_data jsonb[], out status text, out version bigint
) language plpgsql security definer
set search_path = pg_catalog, core, delivery
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  recorded constant timestamptz := clock_timestamp();
  n constant int := coalesce(cardinality(p_ids), 0);
  types int[];
  owes boolean;
  no bigint;
  chain bytea := '';
  hashes bytea[];
  positions bigint[];
begin
  if n = 0 then
    status := 'appended';
    version := p_expected;
    return;
  end if;
  if p_expected is null or p_expected < 0 or n > 1000
     or pg_column_size(p_data) > 1048576 or pg_column_size(p_metadata) > 65536
     or cardinality(p_names) <> n or cardinality(p_schemas) <> n or cardinality(p_data) <> n then
    select a.status, a.version into status, version
      from api.append(array[p_stream], array[p_expected], array[null::uuid], array[null::bytea], array_fill(1, array[n]), p_ids, p_names, p_schemas,
                      array_fill(p_at, array[n]), array_fill(p_correlation, array[n]), array_fill(p_causation, array[n]), array_fill(p_metadata, array[n]), p_data) a;
    return;
  end if;
  if not admin.caller_is('worker') then   -- only a worker acts on behalf of somebody
    p_metadata := p_metadata - 'on_behalf_of';
  end if;
  select array(select (select t.type_no from core.event_types t
                        where t.name = p_names[k] and t.schema_version = p_schemas[k]
                          and exists (select from core.event_rights r where r.name = t.name and admin.caller_is(r.group_name)))
                 from generate_series(1, n) k),
         exists (select from delivery.subscriptions b where b.event_name = any(p_names))
    into types, owes;
  if array_position(types, null) is not null then
    perform core.refuse_types(p_names, p_schemas);
  end if;

  if p_expected > 0 then
    select t.stream_no, t.head into no, chain from core.streams t where t.stream_id = p_stream and t.version = p_expected;
    if no is null then
      status := 'conflict';
      version := coalesce((select t.version from core.streams t where t.stream_id = p_stream), 0);
      return;
    end if;
  end if;
  -- The registry: the floor is read before a position is drawn, and the lock is held until the transaction is over.
  if core.ordering() = 'registry' then
    perform core.register_append();
  end if;
  for k in 1..n loop
    chain := core.event_hash(chain, p_expected + k, p_ids[k], p_names[k], p_schemas[k], p_correlation, p_causation, p_at, recorded,
                             session_user, p_metadata, p_data[k]);
    hashes[k] := chain;
    positions[k] := case core.ordering() when 'registry' then nextval('core.position') else core.count_position() end;
  end loop;
  if p_expected > 0 then
    update core.streams t set version = p_expected + n, last_position = positions[n], head = chain
     where t.stream_no = no and t.version = p_expected;
    if not found then
      no := null;
    end if;
  else
    insert into core.streams as t (stream_id, version, first_position, last_position, head)
    values (p_stream, n, positions[1], positions[n], chain)
    on conflict (stream_id) do nothing returning t.stream_no into no;
  end if;
  if no is null then   -- somebody else was a moment earlier
    status := 'conflict';
    version := (select t.version from core.streams t where t.stream_id = p_stream);
    return;
  end if;

  insert into core.events (position, stream_no, version, type_no, event_id, correlation_id, causation_id, occurred_at, recorded_at, actor,
                           metadata, data, hash)
  select positions[k], no, p_expected + k, types[k], p_ids[k], p_correlation, p_causation, p_at, recorded, session_user, p_metadata, p_data[k], hashes[k]
    from generate_series(1, n) k;
  if owes then
    perform delivery.owe(p_ids, positions, p_names, array_fill(p_stream, array[n]), array_fill(p_correlation, array[n]), p_data);
  end if;
  status := 'appended';
  version := p_expected + n;
end $$;
revoke all on function api.append_run(text, bigint, uuid[], text[], smallint[], timestamptz, uuid, uuid, jsonb, jsonb[]) from public;
grant execute on function api.append_run(text, bigint, uuid[], text[], smallint[], timestamptz, uuid, uuid, jsonb, jsonb[]) to bizing_staff, bizing_worker;

-- As in 0041, but its events are one run, and a saga that is kept keeps the time at which it was due.
create or replace function saga.write(
  p_saga uuid, p_worker uuid, p_fence bigint, p_version int, p_release boolean, p_token uuid,
  p_state text, p_direction text, p_cursor smallint, p_wake timestamptz, p_attempt int, p_await text, p_auth timestamptz,
  p_park_code text, p_park_reason text, p_error_class text, p_error_message text, p_outcome text, p_context jsonb, p_pivot boolean, p_consume boolean,
  p_pin int, p_let_go text, p_effects jsonb, p_resolved jsonb, p_attempts jsonb,
  p_stream text, p_expected bigint, p_ids uuid[], p_names text[], p_schemas smallint[], p_at timestamptz, p_correlation uuid, p_metadata jsonb, p_data jsonb[],
  out status text, out version int, out stream_version bigint
) language plpgsql set search_path = pg_catalog, saga set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
  booking uuid;
  pinned int;
  appended record;
begin
  version := p_version;
  -- running -> compensated is two transitions, and the table insists on both.
  if p_state = 'compensated' then
    update saga.instance i set state = 'compensating', direction = 'C', version = i.version + 1, by_fence = p_fence
     where i.saga_id = p_saga and i.fence = p_fence and i.version = p_version and i.lease_owner = p_worker and i.state = 'running';
    if found then version := version + 1; end if;
  end if;
  update saga.instance i
     set state = p_state, direction = p_direction::"char", "cursor" = p_cursor, version = i.version + 1, by_fence = p_fence, last_token = p_token, wake_at = case when p_release then p_wake else i.wake_at end,
         attempt = p_attempt, await_key = p_await, auth_expires_at = p_auth, park_code = p_park_code, park_reason = p_park_reason, take_overs = 0,
         parked_at = case when p_state = 'parked' then coalesce(i.parked_at, now()) end,
         error_class = p_error_class, error_message = p_error_message, outcome = p_outcome, context = p_context, updated_at = now(),
         pivot_passed_at = coalesce(i.pivot_passed_at, case when p_pivot then now() end),
         hold_expires_at = case when p_pivot then null else i.hold_expires_at end,
         finished_at = case when p_state in ('completed', 'compensated', 'resolved') then coalesce(i.finished_at, now()) end,
         lease_owner = case when p_release then null else i.lease_owner end,
         lease_expires_at = case when p_release then null else i.lease_expires_at end
   where i.saga_id = p_saga and i.fence = p_fence and i.version = version and i.lease_owner = p_worker
  returning i.version, i.booking_id into version, booking;
  if not found then
    status := 'lease_lost';
    return;
  end if;

  if p_pin is not null then
    update booking.inventory_claim c set kind = 'booking', expires_at = null
     where c.booking_id = booking and c.released_at is null and (c.expires_at is null or c.expires_at > now());
    get diagnostics pinned = row_count;
    if pinned < p_pin then raise exception 'the hold is over' using errcode = 'SG001'; end if;
  end if;
  if p_let_go is not null then
    update booking.inventory_claim c set released_at = now(), release_reason = p_let_go where c.booking_id = booking and c.released_at is null;
  end if;

  stream_version := p_expected;
  if p_ids <> '{}' then
    appended := api.append_run(p_stream, p_expected, p_ids, p_names, p_schemas, p_at, p_correlation, p_saga, p_metadata, p_data);
    stream_version := appended.version;
    if appended.status <> 'appended' then
      raise exception 'the stream is at %, not at %', stream_version, p_expected using errcode = 'SG002', detail = stream_version::text;
    end if;
  end if;

  if p_effects is not null then
    -- The first sending rides in this commit.
    insert into saga.effect (effect_id, saga_id, step, direction, generation, provider, operation, idempotency_key, request, request_sha256, first_sent_at, last_sent_at, sends)
      select e.effect_id, p_saga, e.step, e.direction::"char", e.generation, 'stripe', e.operation, e.idempotency_key, e.request, decode(e.sha256, 'hex'), now(), now(), 1
        from jsonb_to_recordset(p_effects) as e(effect_id uuid, step text, direction text, generation smallint, operation text, idempotency_key text, request jsonb, sha256 text);
  end if;
  if p_resolved is not null then
    update saga.effect e
       set outcome = r.outcome, provider_object = coalesce(r.provider_object, e.provider_object), provider_status = coalesce(r.provider_status, e.provider_status),
           provider_request_id = coalesce(r.request_id, e.provider_request_id), resolved_at = case when r.open then null else now() end,
           resolved_via = case when r.open then null else r.via end
      from jsonb_to_recordset(p_resolved) as r(effect_id uuid, outcome text, open boolean, provider_object text, provider_status text, request_id text, via text)
     where e.effect_id = r.effect_id;
  end if;
  if p_attempts is not null then
    insert into saga.attempt (saga_id, no, step, direction, kind, effect_id, worker_id, fence, started_at, ended_at, result, error_class, error, output, next_retry_at)
      select p_saga, coalesce((select max(x.no) from saga.attempt x where x.saga_id = p_saga), 0) + a.n, a.step, a.direction::"char", a.kind, a.effect_id, p_worker, p_fence,
             a.started_at, a.ended_at, a.result, a.error_class, a.error, a.output, a.next_retry_at
        from jsonb_to_recordset(p_attempts) as a(n int, step text, direction text, kind text, effect_id uuid, started_at timestamptz, ended_at timestamptz, result text,
                                                 error_class text, error jsonb, output jsonb, next_retry_at timestamptz);
  end if;
  if p_consume then
    update saga.signal g set consumed_at = now(), consumed_version = version where g.saga_id = p_saga and g.consumed_at is null;
  end if;
  status := 'done';
end $$;

-- As in 0040, but the events of each stream are one run.
create or replace function api.book(
  p_saga uuid, p_definition text, p_version int, p_dedupe text, p_booking uuid, p_customer uuid, p_amount bigint, p_currency text,
  p_hold_expires timestamptz, p_context jsonb, p_correlation uuid, p_causation uuid, p_lease_owner uuid, p_lease interval, p_effect jsonb,
  p_reference text, p_claim uuid[], p_resource uuid[], p_unit smallint[], p_during tstzrange[],
  e_stream text[], e_id uuid[], e_name text[], e_schema smallint[], e_data jsonb[], p_at timestamptz, p_metadata jsonb,
  out login text, out shut_until timestamptz
) language plpgsql set search_path = pg_catalog as $$
declare
  rivals jsonb;
  first int := 1;
  appended record;
begin
  -- Everybody locks in one order: saga, claims, streams.
  if api.start_saga(p_saga, p_definition, p_version, p_dedupe, 1::smallint, p_booking, p_customer, p_amount, p_currency, p_hold_expires, p_context,
                    p_correlation, p_causation, 'hold', p_lease_owner, p_lease, p_effect) <> p_saga then
    raise exception 'this booking was begun by somebody else a moment ago' using errcode = 'serialization_failure';
  end if;
  select jsonb_agg(jsonb_build_object('resource_id', h.resource_id, 'from', lower(h.taken), 'until', upper(h.taken))) into rivals
    from api.hold_inventory(p_booking, p_reference, p_hold_expires, p_claim, p_resource, p_unit, p_during) h;
  if rivals is not null then
    raise exception 'the slot is taken' using errcode = 'BK001', detail = rivals::text;
  end if;
  for n in 1..cardinality(e_stream) loop
    if e_stream[n + 1] is distinct from e_stream[n] then
      appended := api.append_run(e_stream[n], 0, e_id[first:n], e_name[first:n], e_schema[first:n], p_at, p_correlation, p_causation, p_metadata, e_data[first:n]);
      if appended.status <> 'appended' then
        raise exception 'the stream is at %, not at 0', appended.version
          using errcode = 'BK002', detail = jsonb_build_object('stream', e_stream[n], 'expected', 0, 'actual', appended.version)::text;
      end if;
      first := n + 1;
    end if;
  end loop;
  login := session_user;
  -- Whoever goes straight on need not ask again whether the provider may be asked.
  select g.open_until into shut_until from read.provider_gates_v1 g where g.provider = 'stripe' and g.state <> 'closed';
end $$;
