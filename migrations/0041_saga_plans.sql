-- A transition of a saga, and a claim on a slot, by the indexes from the first row on. Their plans are made once a session,
-- often while the tables are small: then all effects, or all claims, were read for each transition until statistics came,
-- 0.34 ms with 1,500 sagas and growing with every booking. As in api.append, the plan that is right for many rows is
-- the only one.

alter function api.hold_inventory(uuid, text, timestamptz, uuid[], uuid[], smallint[], tstzrange[]) set plan_cache_mode = force_generic_plan;
alter function api.hold_inventory(uuid, text, timestamptz, uuid[], uuid[], smallint[], tstzrange[]) set enable_seqscan = off;
alter function api.hold_inventory(uuid, text, timestamptz, uuid[], uuid[], smallint[], tstzrange[]) set enable_hashjoin = off;
alter function api.hold_inventory(uuid, text, timestamptz, uuid[], uuid[], smallint[], tstzrange[]) set enable_mergejoin = off;

-- As in 0032, but for the plans, and that its few events are appended one by one, which is cheaper than columns of two.
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
  appended text;
begin
  version := p_version;
  -- running -> compensated is two transitions, and the table insists on both.
  if p_state = 'compensated' then
    update saga.instance i set state = 'compensating', direction = 'C', version = i.version + 1, by_fence = p_fence
     where i.saga_id = p_saga and i.fence = p_fence and i.version = p_version and i.lease_owner = p_worker and i.state = 'running';
    if found then version := version + 1; end if;
  end if;
  update saga.instance i
     set state = p_state, direction = p_direction::"char", "cursor" = p_cursor, version = i.version + 1, by_fence = p_fence, last_token = p_token, wake_at = p_wake,
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
  for n in 1..coalesce(cardinality(p_ids), 0) loop
    select a.status, a.version into appended, stream_version
      from api.append_one(p_stream, p_expected + n - 1, p_ids[n], p_names[n], p_schemas[n], p_at, p_correlation, p_saga, p_metadata, p_data[n]) a;
    if appended <> 'appended' then
      raise exception 'the stream is at %, not at %', stream_version, p_expected + n - 1 using errcode = 'SG002', detail = stream_version::text;
    end if;
  end loop;

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

