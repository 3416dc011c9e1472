-- A booking in one round trip: the saga, the claims and the events, in one statement and so in one transaction. Each part
-- keeps its own function, its own checks and the caller's own rights.
--
-- What must undo all of it is raised: BK001 somebody has the slot (the detail lists who stands in the way, by time),
-- BK002 the events do not go on where they were expected to (the detail is the log's answer), 40001 the same booking
-- was begun by somebody else a moment ago. Answers the caller's login, and until when the payment provider is not asked.

create function api.book(
  p_saga uuid, p_definition text, p_version int, p_dedupe text, p_booking uuid, p_customer uuid, p_amount bigint, p_currency text,
  p_hold_expires timestamptz, p_context jsonb, p_correlation uuid, p_causation uuid, p_lease_owner uuid, p_lease interval, p_effect jsonb,
  p_reference text, p_claim uuid[], p_resource uuid[], p_unit smallint[], p_during tstzrange[],
  r_stream text[], r_expected bigint[], r_command uuid[], r_content bytea[],
  e_req int[], e_id uuid[], e_name text[], e_schema smallint[], e_occurred timestamptz[], e_correlation uuid[], e_causation uuid[],
  e_metadata jsonb[], e_data jsonb[], out login text, out shut_until timestamptz
) language plpgsql set search_path = pg_catalog as $$
declare
  told jsonb;
begin
  -- Everybody locks in one order: saga, claims, streams.
  if api.start_saga(p_saga, p_definition, p_version, p_dedupe, 1::smallint, p_booking, p_customer, p_amount, p_currency, p_hold_expires, p_context,
                    p_correlation, p_causation, 'hold', p_lease_owner, p_lease, p_effect) <> p_saga then
    raise exception 'this booking was begun by somebody else a moment ago' using errcode = 'serialization_failure';
  end if;
  select jsonb_agg(jsonb_build_object('resource_id', h.resource_id, 'from', lower(h.taken), 'until', upper(h.taken))) into told
    from api.hold_inventory(p_booking, p_reference, p_hold_expires, p_claim, p_resource, p_unit, p_during) h;
  if told is not null then
    raise exception 'the slot is taken' using errcode = 'BK001', detail = told::text;
  end if;
  select jsonb_build_object('request', a.req, 'status', a.status, 'version', a.version, 'first', a.detail) into told
    from api.append(r_stream, r_expected, r_command, r_content, e_req, e_id, e_name, e_schema, e_occurred, e_correlation, e_causation,
                    e_metadata, e_data) a
   where a.status <> 'appended' order by a.req limit 1;
  if told is not null then
    raise exception 'the log took none of it' using errcode = 'BK002', detail = told::text;
  end if;
  login := session_user;
  -- Whoever goes straight on need not ask again whether the provider may be asked.
  select g.open_until into shut_until from read.provider_gates_v1 g where g.provider = 'stripe' and g.state <> 'closed';
end $$;

revoke all on function api.book(uuid, text, int, text, uuid, uuid, bigint, text, timestamptz, jsonb, uuid, uuid, uuid, interval, jsonb,
  text, uuid[], uuid[], smallint[], tstzrange[], text[], bigint[], uuid[], bytea[], int[], uuid[], text[], smallint[], timestamptz[], uuid[], uuid[],
  jsonb[], jsonb[]) from public;
grant execute on function api.book(uuid, text, int, text, uuid, uuid, bigint, text, timestamptz, jsonb, uuid, uuid, uuid, interval, jsonb,
  text, uuid[], uuid[], smallint[], tstzrange[], text[], bigint[], uuid[], bytea[], int[], uuid[], text[], smallint[], timestamptz[], uuid[], uuid[],
  jsonb[], jsonb[]) to bizing_staff;
