-- A booking in one round trip: the saga, the claims and the events, in one statement and so in one transaction. Each part
-- keeps its own function, its own checks and the caller's own rights. Streams of a booking begin here: events of one
-- stream stand next to each other, the first at version 1.
--
-- What must undo all of it is raised: BK001 somebody has the slot (the detail lists who stands in the way, by time),
-- BK002 a stream is there already (the detail says which), 40001 the same booking was begun by somebody else a moment ago.
-- Answers the caller's login, and until when the payment provider is not asked.

create function api.book(
  p_saga uuid, p_definition text, p_version int, p_dedupe text, p_booking uuid, p_customer uuid, p_amount bigint, p_currency text,
  p_hold_expires timestamptz, p_context jsonb, p_correlation uuid, p_causation uuid, p_lease_owner uuid, p_lease interval, p_effect jsonb,
  p_reference text, p_claim uuid[], p_resource uuid[], p_unit smallint[], p_during tstzrange[],
  e_stream text[], e_id uuid[], e_name text[], e_schema smallint[], e_data jsonb[], p_at timestamptz, p_metadata jsonb,
  out login text, out shut_until timestamptz
) language plpgsql set search_path = pg_catalog as $$
declare
  rivals jsonb;
  at int := 0;
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
    at := case when e_stream[n] = e_stream[n - 1] then at + 1 else 0 end;
    select a.status, a.version into appended
      from api.append_one(e_stream[n], at, e_id[n], e_name[n], e_schema[n], p_at, p_correlation, p_causation, p_metadata, e_data[n]) a;
    if appended.status <> 'appended' then
      raise exception 'the stream is at %, not at %', appended.version, at
        using errcode = 'BK002', detail = jsonb_build_object('stream', e_stream[n], 'expected', at, 'actual', appended.version)::text;
    end if;
  end loop;
  login := session_user;
  -- Whoever goes straight on need not ask again whether the provider may be asked.
  select g.open_until into shut_until from read.provider_gates_v1 g where g.provider = 'stripe' and g.state <> 'closed';
end $$;

revoke all on function api.book(uuid, text, int, text, uuid, uuid, bigint, text, timestamptz, jsonb, uuid, uuid, uuid, interval, jsonb,
  text, uuid[], uuid[], smallint[], tstzrange[], text[], uuid[], text[], smallint[], jsonb[], timestamptz, jsonb) from public;
grant execute on function api.book(uuid, text, int, text, uuid, uuid, bigint, text, timestamptz, jsonb, uuid, uuid, uuid, interval, jsonb,
  text, uuid[], uuid[], smallint[], tstzrange[], text[], uuid[], text[], smallint[], jsonb[], timestamptz, jsonb) to bizing_staff;
