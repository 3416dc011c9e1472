-- What people do with endpoints and deliveries. Admins make and change endpoints and see secrets; managers pause, send
-- again and cancel. Each function records who did it, and changes nothing when it refuses.
--
-- Locks: none on existing tables.

-- Decisions for many: the set that was seen, frozen.
create table delivery.bulk (
  bulk_id uuid primary key,
  action text not null check (action in ('redeliver', 'cancel')),
  filter jsonb not null,
  hash text not null,
  reason text not null,
  requested_by text not null default session_user,
  requested_at timestamptz not null default now(),
  per_second int not null check (per_second between 1 and 1000),
  state text not null default 'running' check (state in ('running', 'stopped', 'done', 'cancelled')),
  count int not null,
  worked_at timestamptz,
  ended_at timestamptz,
  constraint ended check ((state in ('done', 'cancelled')) = (ended_at is not null))
);
create index bulk_running on delivery.bulk (requested_at) where state = 'running';
create table delivery.bulk_items (
  bulk_id uuid not null references delivery.bulk,
  ordinal int not null,
  delivery_id uuid not null,
  made uuid,                             -- the delivery that came of it
  refusal text,
  primary key (bulk_id, ordinal)
);
create index bulk_items_open on delivery.bulk_items (bulk_id, ordinal) where made is null and refusal is null;

create function delivery.noted(p_what text, p_destination uuid, p_delivery uuid, p_reason text, p_before jsonb, p_after jsonb)
returns void language sql volatile set search_path = pg_catalog, delivery as $$
  insert into delivery.changes (what, destination_id, delivery_id, reason, before, after)
    values (p_what, p_destination, p_delivery, nullif(left(p_reason, 1000), ''), p_before, p_after)
$$;

-- What an endpoint is, for the log of changes: no secret in it.
create function delivery.shown(p_destination uuid) returns jsonb language sql stable set search_path = pg_catalog, delivery as $$
  select jsonb_build_object('name', name, 'url', url, 'note', note, 'events', events, 'filter', filter, 'ordered_by', ordered_by,
           'max_in_flight', max_in_flight, 'rate_per_s', rate_per_s, 'timeout_ms', timeout_ms, 'schedule_s', schedule_s,
           'headers', header_names, 'state', state)
    from delivery.destinations where destination_id = p_destination
$$;

-- ---- endpoints ---------------------------------------------------------------------------------------------------

-- Makes an endpoint (p_version null) or changes it. p_value: name, url, note, events, filter, ordered_by, max_in_flight,
-- rate_per_s, timeout_ms, schedule_s; what is not named keeps its value or takes the default. p_headers null: they stay.
-- Answers {"status": "made" | "changed" | "repeated" | "conflict" | "invalid" | "not_found", "field", "problem"}.
create function api.put_endpoint(p_id uuid, p_version int, p_value jsonb, p_headers bytea, p_header_names text[], p_key_id text,
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
     set ordered_by = coalesce(p_value ->> 'ordered_by', x.ordered_by),
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

-- Sends what was over, or is due later, once more. p_at_once: a person asked for this very one, so it waits for no pause,
-- no breaker and no turn. What is delivered becomes a delivery of its own with the same message id. Answers with the
-- delivery that is sent, or why none is.
create function delivery.again(p_delivery uuid, p_at_once boolean, out made uuid, out refusal text)
language plpgsql set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
declare
  d delivery.deliveries;
  t delivery.destinations;
begin
  select * into d from delivery.deliveries x where x.delivery_id = p_delivery for update;
  if not found then
    refusal := 'not_found';
    return;
  end if;
  select * into t from delivery.destinations x where x.destination_id = d.destination_id;
  if t.kind <> 'webhook' then
    refusal := 'leaves_once';
  elsif t.deleted_at is not null then
    refusal := 'deleted';
  elsif d.state = 'sending' then
    refusal := 'sending';
  elsif d.trigger = 'test' then
    refusal := 'test';
  elsif d.state = 'delivered' then
    insert into delivery.deliveries as n (destination_id, template, event_id, position, stream_id, correlation_id, trigger, by_hand, replay_no, format, give_up_at)
      select d.destination_id, d.template, d.event_id, d.position, d.stream_id, d.correlation_id, 'replay', p_at_once, max(x.replay_no) + 1, d.format, 'infinity'
        from delivery.deliveries x
       where x.event_id = d.event_id and x.destination_id = d.destination_id and x.template = d.template
    returning n.delivery_id into made;
  else
    update delivery.deliveries x
       set state = 'scheduled', next_at = now(), finished_at = null, fence = x.fence + 1, by_hand = p_at_once, changed_at = now(),
           trigger = case when x.trigger = 'replay' then 'replay' else 'manual' end,
           tries_from = case when d.state = 'scheduled' then x.tries_from else x.attempt end,
           order_key = case when p_at_once then null else x.order_key end
     where x.delivery_id = p_delivery;
    made := p_delivery;
  end if;
end $$;

-- `null`: it is done. Otherwise why not.
create function delivery.stop(p_delivery uuid) returns text language plpgsql set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
declare
  d delivery.deliveries;
begin
  select * into d from delivery.deliveries x where x.delivery_id = p_delivery for update;
  if not found then
    return 'not_found';
  elsif (select kind from delivery.destinations t where t.destination_id = d.destination_id) <> 'webhook' then
    return 'not_a_webhook';
  elsif d.state not in ('scheduled', 'held') then
    return d.state;
  end if;
  update delivery.deliveries x set state = 'cancelled', finished_at = now(), fence = x.fence + 1, changed_at = now(), by_hand = false
   where x.delivery_id = p_delivery;
  return null;
end $$;

-- pause, resume, try_now, send_held, send_held_newest, cancel_held: managers. keep_on, disable, enable, delete: admins.
create function api.change_endpoint(p_id uuid, p_version int, p_action text, p_recover_since timestamptz, p_reason text)
returns jsonb language plpgsql security definer set search_path = pg_catalog, delivery, core as $$
#variable_conflict use_column
declare
  d delivery.destinations;
  was jsonb;
  what text;
  n bigint := 0;
  m bigint := 0;
begin
  if p_action not in ('pause', 'resume', 'try_now', 'send_held', 'send_held_newest', 'cancel_held') and not admin.caller_is('admin') then
    raise exception 'permission denied: an admin decides that' using errcode = 'insufficient_privilege';
  end if;
  select * into d from delivery.destinations x where x.destination_id = p_id for update;
  if d.destination_id is null or d.kind <> 'webhook' or d.deleted_at is not null then
    return '{"status": "not_found"}';
  elsif d.version <> p_version then
    return '{"status": "conflict"}';
  end if;
  was := delivery.shown(p_id);
  case p_action
    when 'pause' then
      if d.state <> 'active' then
        return jsonb_build_object('status', 'refused', 'problem', d.state);
      end if;
      update delivery.destinations x set state = 'paused', state_reason = 'by_person', state_at = now(), version = x.version + 1, changed_at = now()
       where x.destination_id = p_id;
      what := 'paused';
    when 'resume' then
      if d.state <> 'paused' then
        return jsonb_build_object('status', 'refused', 'problem', d.state);
      end if;
      update delivery.destinations x set state = 'active', state_reason = null, state_at = now(), version = x.version + 1, changed_at = now()
       where x.destination_id = p_id;
      what := 'resumed';
    when 'try_now' then
      update delivery.health h set open_until = case when h.breaker = 'closed' then null else now() end, probe_until = null, paused_until = null
       where h.destination_id = p_id;
      -- One that is really owed goes ahead.
      update delivery.deliveries x set next_at = now(), changed_at = now()
       where x.delivery_id = (select o.delivery_id from delivery.deliveries o where o.destination_id = p_id and o.state = 'scheduled'
                               order by o.next_at, o.delivery_id limit 1) and x.next_at > now();
      what := 'tried_now';
    when 'keep_on' then
      update delivery.health h set failing_since = case when h.failing_since is not null then now() end, warned = 0 where h.destination_id = p_id;
      what := 'kept_on';
    when 'disable' then
      if d.state = 'disabled' then
        return jsonb_build_object('status', 'refused', 'problem', d.state);
      end if;
      update delivery.destinations x
         set state = 'disabled', active = false, state_reason = 'by_person', state_at = now(), version = x.version + 1, changed_at = now()
       where x.destination_id = p_id;
      what := 'disabled';
    when 'enable' then
      if d.state <> 'disabled' then
        return jsonb_build_object('status', 'refused', 'problem', d.state);
      end if;
      update delivery.destinations x
         set state = 'active', active = true, state_reason = null, state_at = now(), version = x.version + 1, changed_at = now()
       where x.destination_id = p_id;
      update delivery.health h
         set (breaker, opened_at, opened_times, open_until, probe_until, probes_ok, failures, failing_since, warned, window_from, limit_now, limit_ok, paused_until)
           = ('closed', null, 0, null, null, 0, 0, null, 0, null, null, 0, null)
       where h.destination_id = p_id;
      what := 'enabled';
    when 'delete' then
      update delivery.destinations x
         set deleted_at = now(), active = false, headers = null, headers_key = null, version = x.version + 1, changed_at = now()
       where x.destination_id = p_id;
      delete from delivery.secrets s where s.destination_id = p_id;
      update delivery.deliveries x set state = 'cancelled', finished_at = now(), fence = x.fence + 1, changed_at = now()
       where x.destination_id = p_id and x.state in ('scheduled', 'held');
      get diagnostics m = row_count;
      what := 'deleted';
    when 'send_held' then
      update delivery.deliveries x set state = 'scheduled', next_at = now(), fence = x.fence + 1, changed_at = now()
       where x.destination_id = p_id and x.state = 'held';
      get diagnostics n = row_count;
      what := 'held_sent';
    when 'send_held_newest' then
      update delivery.deliveries x set state = 'scheduled', next_at = now(), fence = x.fence + 1, changed_at = now()
       where x.destination_id = p_id and x.state = 'held'
         and x.delivery_id in (select distinct on (o.stream_id) o.delivery_id from delivery.deliveries o
                                where o.destination_id = p_id and o.state = 'held' order by o.stream_id, o.position desc);
      get diagnostics n = row_count;
      update delivery.deliveries x set state = 'cancelled', finished_at = now(), fence = x.fence + 1, changed_at = now()
       where x.destination_id = p_id and x.state = 'held';
      get diagnostics m = row_count;
      what := 'held_newest_sent';
    when 'cancel_held' then
      update delivery.deliveries x set state = 'cancelled', finished_at = now(), fence = x.fence + 1, changed_at = now()
       where x.destination_id = p_id and x.state = 'held';
      get diagnostics m = row_count;
      what := 'held_cancelled';
    else
      return '{"status": "invalid", "field": "action", "problem": "no such action"}';
  end case;
  if p_action in ('disable', 'enable', 'delete') then
    perform delivery.subscribe(p_id);
  end if;
  if p_action = 'enable' and p_recover_since is not null then
    n := delivery.recover(p_id, p_recover_since);
  end if;
  perform delivery.noted(what, p_id, null, p_reason, was,
                         delivery.shown(p_id) || jsonb_strip_nulls(jsonb_build_object('sent', nullif(n, 0), 'cancelled', nullif(m, 0), 'recover_since', p_recover_since)));
  return jsonb_build_object('status', 'done', 'sent', n, 'cancelled', m);
end $$;

-- What the endpoint wanted and did not get since then is owed now. What it has got stays as it is. Up to 100,000 at once.
create function delivery.recover(p_destination uuid, p_since timestamptz) returns bigint language plpgsql set search_path = pg_catalog, delivery, core as $$
#variable_conflict use_column
declare
  d delivery.destinations;
  n bigint;
  m bigint;
begin
  select * into d from delivery.destinations x where x.destination_id = p_destination;
  insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, order_key, give_up_at)
  select d.destination_id, t.name, e.event_id, e.position, s.stream_id, e.correlation_id, case when d.ordered_by = 'stream' then s.stream_id end, 'infinity'
    from core.events e
    join core.event_types t using (type_no)
    join core.streams s using (stream_no)
   where e.position > api.position_at(p_since) and e.recorded_at >= p_since
     and t.name in (select delivery.matching_types(d.events))
     and (d.filter is null or delivery.matches(d.filter, jsonb_build_object('id', e.event_id, 'type', t.name, 'stream', s.stream_id, 'data', e.data)))
     and not exists (select from core.imports m where e.position > m.after_position and e.position <= m.upto_position)
   order by e.position limit 100000
  on conflict do nothing;
  get diagnostics n = row_count;
  update delivery.deliveries x
     set state = 'scheduled', next_at = now(), finished_at = null, fence = x.fence + 1, tries_from = x.attempt, changed_at = now()
   where x.destination_id = p_destination and x.state in ('gave_up', 'unclear', 'held') and x.created_at >= p_since and x.trigger <> 'test';
  get diagnostics m = row_count;
  return n + m;
end $$;

-- A new secret. The old ones go on signing for the overlap.
create function api.rotate_secret(p_id uuid, p_secret_id uuid, p_secret bytea, p_key_id text, p_hint text, p_overlap interval, p_reason text)
returns text language plpgsql security definer set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
begin
  perform from delivery.destinations x where x.destination_id = p_id and x.kind = 'webhook' and x.deleted_at is null for update;
  if not found then
    return 'not_found';
  elsif p_overlap not between interval '0' and interval '7 days' then
    return 'overlap';
  elsif exists (select from delivery.secrets s where s.secret_id = p_secret_id) then
    return 'repeated';
  elsif (select count(*) from delivery.secrets s where s.destination_id = p_id and (s.expires_at is null or s.expires_at > now())) >= 5 then
    return 'too_many';
  end if;
  delete from delivery.secrets s where s.destination_id = p_id and s.expires_at <= now();
  update delivery.secrets s set expires_at = least(s.expires_at, now() + p_overlap) where s.destination_id = p_id;
  insert into delivery.secrets (secret_id, destination_id, sealed, key_id, hint) values (p_secret_id, p_id, p_secret, p_key_id, p_hint);
  update delivery.destinations x set version = x.version + 1, changed_at = now() where x.destination_id = p_id;
  perform delivery.noted('secret_rotated', p_id, null, p_reason, null, jsonb_build_object('hint', p_hint, 'overlap', p_overlap));
  return 'rotated';
end $$;

-- The sealed secret, for an admin who holds the key. Looking is written down.
create function api.reveal_secret(p_id uuid, p_secret_id uuid) returns table (sealed bytea, key_id text)
language plpgsql security definer set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
begin
  return query select s.sealed, s.key_id from delivery.secrets s
    where s.destination_id = p_id and s.secret_id = p_secret_id and (s.expires_at is null or s.expires_at > now());
  if found then
    perform delivery.noted('secret_shown', p_id, null, null, null,
      (select jsonb_build_object('hint', s.hint) from delivery.secrets s where s.secret_id = p_secret_id));
  end if;
end $$;

-- The sealed headers, so that those whose values were not typed anew can be kept.
create function api.endpoint_headers(p_id uuid) returns table (sealed bytea, key_id text)
language sql stable security definer set search_path = pg_catalog, delivery as $$
  select headers, headers_key from delivery.destinations where destination_id = p_id and headers is not null
$$;

-- Which key seals here: a computer with another one must not add to it. Null: nothing is sealed yet.
create function api.sealing_key() returns text language sql stable security definer set search_path = pg_catalog, delivery as $$
  select key_id from delivery.secrets order by created_at desc limit 1
$$;

create function api.put_allow_list(p_version int, p_entries text[], p_reason text) returns text
language plpgsql security definer set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
declare
  now_at int;
begin
  lock table delivery.allow_list in share row exclusive mode;
  select max(version) into now_at from delivery.allow_list;
  if now_at <> p_version then
    return 'conflict';
  elsif cardinality(p_entries) > 200 or exists (select from unnest(p_entries) x where length(x) not between 1 and 255) then
    return 'invalid';
  end if;
  insert into delivery.allow_list (version, entries, reason) values (now_at + 1, p_entries, nullif(left(p_reason, 1000), ''));
  -- Workers read an endpoint anew when its version rises, and this list with it.
  update delivery.destinations x set version = x.version + 1 where x.kind = 'webhook' and x.deleted_at is null;
  return 'changed';
end $$;

-- Which of the last events of these types would pass.
create function api.try_filter(p_events text[], p_filter jsonb, p_limit int)
returns table ("position" bigint, event_id uuid, name text, recorded_at timestamptz, matches boolean)
language plpgsql stable security definer set search_path = pg_catalog, delivery, core as $$
#variable_conflict use_column
declare
  bad text;
begin
  bad := delivery.filter_problem(p_filter);
  if bad is not null then
    raise exception '%', bad using errcode = 'invalid_parameter_value', column = 'filter';
  end if;
  -- The newest million are looked at; an index by type does not exist, and a type that rare is no use as an example.
  return query
    select e.position, e.event_id, t.name, e.recorded_at,
           p_filter is null or delivery.matches(p_filter, jsonb_build_object('id', e.event_id, 'type', t.name, 'stream', s.stream_id, 'data', e.data))
      from core.events e
      join core.event_types t using (type_no)
      join core.streams s using (stream_no)
     where e.position > (select last_value - 1000000 from core.position)
       and t.name in (select delivery.matching_types(p_events))
     order by e.position desc limit least(p_limit, 100);
end $$;

-- ---- deliveries --------------------------------------------------------------------------------------------------

-- One that no event is behind: the worker makes its body from the catalogue's example, and marks it as a test.
create function api.send_test(p_delivery uuid, p_destination uuid, p_event text) returns text
language plpgsql security definer set search_path = pg_catalog, delivery, core as $$
#variable_conflict use_column
begin
  if not exists (select from delivery.destinations x where x.destination_id = p_destination and x.kind = 'webhook' and x.deleted_at is null) then
    return 'not_found';
  elsif not exists (select from core.event_types t where t.name = p_event) then
    return 'event';
  end if;
  insert into delivery.deliveries (delivery_id, destination_id, template, event_id, position, stream_id, correlation_id, trigger, by_hand, give_up_at)
    values (p_delivery, p_destination, p_event, p_delivery, 0, 'test', p_delivery, 'test', true, 'infinity')
  on conflict do nothing;
  perform delivery.noted('tested', p_destination, p_delivery, null, null, jsonb_build_object('event', p_event));
  return 'sent';
end $$;

create function api.redeliver(p_delivery uuid, p_reason text, out made uuid, out refusal text)
language plpgsql security definer set search_path = pg_catalog, delivery as $$
begin
  select a.made, a.refusal into made, refusal from delivery.again(p_delivery, true) a;
  if made is not null then
    perform delivery.noted(case when made = p_delivery then 'tried_again' else 'replayed' end,
      (select destination_id from delivery.deliveries d where d.delivery_id = p_delivery), made, p_reason, null,
      jsonb_build_object('of', p_delivery));
  end if;
end $$;

create function api.cancel_delivery(p_delivery uuid, p_reason text) returns text
language plpgsql security definer set search_path = pg_catalog, delivery as $$
declare
  refusal text := delivery.stop(p_delivery);
begin
  if refusal is null then
    perform delivery.noted('cancelled', (select destination_id from delivery.deliveries d where d.delivery_id = p_delivery), p_delivery, p_reason, null, null);
  end if;
  return refusal;
end $$;

-- ---- many at once ------------------------------------------------------------------------------------------------

-- Freezes a set that was seen; workers carry it out. `started`, `repeated`, or why not.
create function api.start_bulk(p_bulk uuid, p_action text, p_filter jsonb, p_hash text, p_ids uuid[], p_per_second int, p_reason text)
returns text language plpgsql security definer set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
declare
  there delivery.bulk;
begin
  select * into there from delivery.bulk b where b.bulk_id = p_bulk;
  if found then
    return case when there.hash = p_hash and there.action = p_action then 'repeated' else 'reused' end;
  elsif coalesce(btrim(p_reason), '') = '' then
    return 'reason';
  elsif coalesce(cardinality(p_ids), 0) not between 1 and 100000 then
    return 'count';
  elsif coalesce(p_per_second, 0) not between 1 and 1000 then
    return 'per_second';
  end if;
  insert into delivery.bulk (bulk_id, action, filter, hash, reason, per_second, count)
    values (p_bulk, p_action, p_filter, p_hash, left(p_reason, 1000), p_per_second, cardinality(p_ids));
  insert into delivery.bulk_items (bulk_id, ordinal, delivery_id) select p_bulk, o, i from unnest(p_ids) with ordinality x(i, o);
  perform delivery.noted('bulk_started', null, null, p_reason, null,
    jsonb_build_object('bulk_id', p_bulk, 'action', p_action, 'count', cardinality(p_ids), 'filter', p_filter));
  return 'started';
end $$;

create function api.change_bulk(p_bulk uuid, p_change text) returns text
language plpgsql security definer set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
declare
  b delivery.bulk;
begin
  select * into b from delivery.bulk x where x.bulk_id = p_bulk for update;
  if not found then
    return 'not_found';
  elsif b.state in ('done', 'cancelled') then
    return 'over';
  elsif p_change not in ('stop', 'go_on', 'cancel') then
    return 'change';
  end if;
  update delivery.bulk x
     set state = case p_change when 'stop' then 'stopped' when 'go_on' then 'running' else 'cancelled' end,
         ended_at = case when p_change = 'cancel' then now() end, worked_at = null
   where x.bulk_id = p_bulk;
  perform delivery.noted('bulk_' || p_change, null, null, null, null, jsonb_build_object('bulk_id', p_bulk));
  return 'changed';
end $$;

-- Goes on with what was started, as fast as it was said to. Says how many are open and how many items were done.
create function delivery.work_bulks(out open int, out done int) language plpgsql security definer set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
declare
  b delivery.bulk;
  m record;
  most int;
  became uuid;
  why text;
begin
  open := 0;
  done := 0;
  for b in select * from delivery.bulk x where x.state = 'running' order by x.requested_at limit 8 for update skip locked loop
    open := open + 1;
    most := least(500, floor(b.per_second * least(1.0, coalesce(extract(epoch from clock_timestamp() - b.worked_at), 0.25)))::int);
    continue when most < 1 and b.worked_at is not null;
    for m in select * from delivery.bulk_items i where i.bulk_id = b.bulk_id and i.made is null and i.refusal is null
              order by i.ordinal limit greatest(most, 1) loop
      if b.action = 'redeliver' then
        select a.made, a.refusal into became, why from delivery.again(m.delivery_id, false) a;
      else
        why := delivery.stop(m.delivery_id);
        became := case when why is null then m.delivery_id end;
      end if;
      update delivery.bulk_items i set made = became, refusal = why where i.bulk_id = m.bulk_id and i.ordinal = m.ordinal;
      done := done + 1;
    end loop;
    update delivery.bulk x
       set worked_at = clock_timestamp(),
           (state, ended_at) = (select case when o then 'running' else 'done' end, case when not o then now() end
                                  from (select exists (select from delivery.bulk_items i where i.bulk_id = b.bulk_id and i.made is null and i.refusal is null) as o) e)
     where x.bulk_id = b.bulk_id;
  end loop;
end $$;

create view read.redeliveries_v1 as
  select b.bulk_id, b.action, b.filter, b.hash, b.reason, b.requested_by, b.requested_at, b.per_second, b.state, b.count, b.ended_at
    from delivery.bulk b;
create view read.redelivery_items_v1 as
  select i.bulk_id, i.ordinal, i.delivery_id, i.made, i.refusal from delivery.bulk_items i;

-- ---- who may do what ---------------------------------------------------------------------------------------------

revoke all on all functions in schema delivery, api from public;
grant execute on function
  api.put_endpoint(uuid, int, jsonb, bytea, text[], text, uuid, bytea, text), api.rotate_secret(uuid, uuid, bytea, text, text, interval, text),
  api.reveal_secret(uuid, uuid), api.put_allow_list(int, text[], text), api.sealing_key(),
  api.endpoint_headers(uuid) to bizing_admin;
grant execute on function
  api.change_endpoint(uuid, int, text, timestamptz, text), api.try_filter(text[], jsonb, int), api.send_test(uuid, uuid, text),
  api.redeliver(uuid, text), api.cancel_delivery(uuid, text), api.start_bulk(uuid, text, jsonb, text, uuid[], int, text),
  api.change_bulk(uuid, text) to bizing_manager;
grant execute on function delivery.work_bulks() to bizing_worker;
grant execute on function api.sealing_key() to bizing_worker;
grant select on read.redeliveries_v1, read.redelivery_items_v1 to bizing_viewer, bizing_worker;
