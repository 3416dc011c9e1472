-- What an endpoint is sent: the event as it is, or a card that Slack, Discord or Teams shows. And which version of TLS a try used.
--
-- Locks: `delivery.destinations` and `delivery.attempts` for as long as it takes to write two columns into the catalogue.

alter table delivery.destinations
  add column shape text not null default 'event' check (shape in ('event', 'slack', 'discord', 'teams'));
alter table delivery.attempts add column tls text check (length(tls) <= 20);

-- As in 0053, with what it is sent and how far the warnings are.
create or replace view read.destinations_v1 as
  select d.destination_id, d.kind, d.name, d.active,
         case when pg_has_role(session_user, 'bizing_staff', 'member') or pg_has_role(session_user, 'bizing_worker', 'member') then d.url
              else regexp_replace(d.url, '^(https?://[^/?#]+)[/?#].+$', '\1/…') end as url,
         d.note, d.events, d.filter, d.ordered_by, d.max_in_flight, d.rate_per_s, d.timeout_ms,
         d.schedule_s, d.header_names, d.state, d.state_reason, d.state_at, d.version, d.created_at, d.changed_at,
         h.breaker, h.opened_at, h.open_until, h.failures, h.failing_since, h.limit_now, h.paused_until, h.last_failed_at, h.last_error,
         h.last_class, h.last_status, d.shape, h.warned
    from delivery.destinations d left join delivery.health h using (destination_id) where d.deleted_at is null;
-- As in 0053, with TLS.
create or replace view read.delivery_tries_v1 as
  select delivery_id, no, started_at, ended_at, result, error, response, trigger, late,
         case when pg_has_role(session_user, 'bizing_staff', 'member') or pg_has_role(session_user, 'bizing_worker', 'member') then url
              else regexp_replace(url, '^(https?://[^/?#]+)[/?#].+$', '\1/…') end as url,
         status, error_class, dns_ms, connect_ms, tls_ms, first_byte_ms, body_ms, total_ms, peer, request_headers, response_headers, body, body_cut,
         tls
    from delivery.attempts;

-- As in 0029, with the shape.
create or replace function delivery.shown(p_destination uuid) returns jsonb language sql stable set search_path = pg_catalog, delivery as $$
  select jsonb_build_object('name', name, 'url', url, 'note', note, 'events', events, 'filter', filter, 'ordered_by', ordered_by,
           'max_in_flight', max_in_flight, 'rate_per_s', rate_per_s, 'timeout_ms', timeout_ms, 'schedule_s', schedule_s,
           'headers', header_names, 'state', state, 'shape', shape)
    from delivery.destinations where destination_id = p_destination
$$;

-- As in 0029, with the shape: named `shape` in p_value.
create or replace function api.put_endpoint(p_id uuid, p_version int, p_value jsonb, p_headers bytea, p_header_names text[], p_key_id text,
                                 p_secret_id uuid, p_secret bytea, p_hint text)
returns jsonb language plpgsql security definer set search_path = pg_catalog, delivery, core as $$
#variable_conflict use_column
declare
  d delivery.destinations;
  was jsonb;
  bad text;
  wanted text[];
begin
  if jsonb_typeof(p_value -> 'events') = 'array' then
    wanted := array(select distinct x from jsonb_array_elements_text(p_value -> 'events') x order by x);
  end if;
  if length(coalesce(p_value ->> 'name', '')) not between 1 and 80 then
    return '{"status": "invalid", "field": "name", "problem": "a name has 1 to 80 signs"}';
  elsif coalesce(p_value ->> 'url', '') !~ '^https?://' or length(p_value ->> 'url') > 2048 then
    return '{"status": "invalid", "field": "url", "problem": "an address begins with https:// and has up to 2048 signs"}';
  elsif length(p_value ->> 'note') > 1000 then
    return '{"status": "invalid", "field": "note", "problem": "a note has up to 1000 signs"}';
  elsif coalesce(cardinality(wanted), 0) not between 1 and 200 then
    return '{"status": "invalid", "field": "events", "problem": "an endpoint wants 1 to 200 types of events"}';
  end if;
  if p_value ->> 'shape' not in ('event', 'slack', 'discord', 'teams') then
    return '{"status": "invalid", "field": "shape", "problem": "what is sent is the event, or a card for Slack, Discord or Teams"}';
  end if;
  select p into bad from unnest(wanted) p
   where p !~ '^([A-Za-z0-9]+|[A-Za-z0-9]*\*)$' or not exists (select from delivery.matching_types(array[p])) limit 1;
  if bad is not null then
    return jsonb_build_object('status', 'invalid', 'field', 'events', 'problem', format('no event is called %s', left(bad, 60)));
  end if;
  if jsonb_typeof(p_value -> 'filter') is distinct from 'null' then
    bad := delivery.filter_problem(p_value -> 'filter');
    if bad is not null then
      return jsonb_build_object('status', 'invalid', 'field', 'filter', 'problem', bad);
    end if;
  end if;
  if exists (select from delivery.destinations x where x.name = p_value ->> 'name' and x.deleted_at is null and x.destination_id <> p_id) then
    return '{"status": "invalid", "field": "name", "problem": "another destination has this name"}';
  end if;

  select * into d from delivery.destinations x where x.destination_id = p_id for update;
  if p_version is null then
    if d.destination_id is not null then
      return case when d.kind = 'webhook' and d.version = 1 and d.url = p_value ->> 'url' and d.name = p_value ->> 'name' then '{"status": "repeated"}'
                  else '{"status": "conflict"}' end;
    elsif p_secret is null then
      return '{"status": "invalid", "field": "secret", "problem": "an endpoint has a secret from the start"}';
    end if;
    insert into delivery.destinations (destination_id, kind, name, url, note, events, filter, headers, headers_key, header_names)
      values (p_id, 'webhook', p_value ->> 'name', p_value ->> 'url', nullif(p_value ->> 'note', ''), wanted, nullif(p_value -> 'filter', 'null'),
              p_headers, case when p_headers is not null then p_key_id end, coalesce(p_header_names, '{}'));
    insert into delivery.health (destination_id) values (p_id);
    insert into delivery.secrets (secret_id, destination_id, sealed, key_id, hint) values (p_secret_id, p_id, p_secret, p_key_id, p_hint);
  else
    if d.destination_id is null or d.kind <> 'webhook' or d.deleted_at is not null then
      return '{"status": "not_found"}';
    elsif d.version <> p_version then
      return '{"status": "conflict"}';
    end if;
    was := delivery.shown(p_id);
    update delivery.destinations x
       set name = p_value ->> 'name', url = p_value ->> 'url', note = nullif(p_value ->> 'note', ''), events = wanted,
           filter = nullif(p_value -> 'filter', 'null'), version = x.version + 1, changed_at = now(),
           headers = coalesce(p_headers, x.headers), headers_key = case when p_headers is null then x.headers_key else p_key_id end,
           header_names = case when p_headers is null then x.header_names else coalesce(p_header_names, '{}') end
     where x.destination_id = p_id;
  end if;
  update delivery.destinations x
     set shape = coalesce(p_value ->> 'shape', x.shape),
         ordered_by = coalesce(p_value ->> 'ordered_by', x.ordered_by),
         max_in_flight = coalesce((p_value ->> 'max_in_flight')::int, x.max_in_flight),
         rate_per_s = case when p_value ? 'rate_per_s' then (p_value ->> 'rate_per_s')::int else x.rate_per_s end,
         timeout_ms = coalesce((p_value ->> 'timeout_ms')::int, x.timeout_ms),
         schedule_s = case when jsonb_typeof(p_value -> 'schedule_s') = 'array'
                           then array(select s::int from jsonb_array_elements_text(p_value -> 'schedule_s') s) else x.schedule_s end
   where x.destination_id = p_id;
  perform delivery.subscribe(p_id);
  perform delivery.noted(case when p_version is null then 'created' else 'changed' end, p_id, null, null, was, delivery.shown(p_id));
  return jsonb_build_object('status', case when p_version is null then 'made' else 'changed' end);
end $$;
