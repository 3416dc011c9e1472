-- Turning an endpoint on again commits at once, and what it missed is owed to it by a decision that a worker carries out piece by piece.
--
-- Before, all of it was owed in the transaction that turned the endpoint on. An event that was appended meanwhile saw the endpoint off and
-- was not seen by the recovery: it was owed by nobody. And only the first 100,000 events were looked at, without a word, a second time too.
--
-- Now: the endpoint is on for everybody, then the transactions end that may have seen it off, and only then is it fixed up to which
-- position the log is gone through. What is later was appended by somebody who saw it on. What both owe is owed once, by `deliveries_once`.
--
-- Locks: `delivery.bulk` for as long as it takes to write columns into the catalogue.

alter table delivery.bulk
  drop constraint bulk_action_check,
  add constraint bulk_action_check check (action in ('redeliver', 'cancel', 'recover')),
  -- Of a recovery: whose, since when, whom it waits for, and from where to where the log is gone through.
  add column destination_id uuid references delivery.destinations,
  add column since timestamptz,
  add column waits_for text[],
  add column at_position bigint,
  add column from_position bigint,
  add column upto_position bigint,
  add constraint recovery_is_whole check ((action = 'recover') = (destination_id is not null and since is not null and waits_for is not null));
create or replace view read.redeliveries_v1 as
  select b.bulk_id, b.action, b.filter, b.hash, b.reason, b.requested_by, b.requested_at, b.per_second, b.state, b.count, b.ended_at,
         b.destination_id, b.since,
         case when b.action = 'recover' then least(1.0, (b.at_position - b.from_position)::float8 / greatest(b.upto_position - b.from_position, 1)) end as looked
    from delivery.bulk b;

-- Since when, at most: what is older than deliveries are kept is not owed anew, for nobody can say any more whether it was delivered. And a
-- minute more: an append is as old as its call, and may have waited for its stream until the endpoint was off.
create function delivery.recoverable_since(p_since timestamptz) returns timestamptz language sql stable set search_path = pg_catalog, delivery as $$
  select greatest(p_since - interval '1 minute', now() - make_interval(days => r.deliveries_days)) from delivery.retention r order by r.version desc limit 1
$$;

-- What the endpoint wanted of the events after p_after up to p_upto, and was never owed. Imported ones are history.
create function delivery.missed(p_destination uuid, p_since timestamptz, p_after bigint, p_upto bigint)
returns table (template text, event_id uuid, "position" bigint, stream_id text, correlation_id uuid)
language sql stable set search_path = pg_catalog, delivery, core as $$
  with d as materialized (
    select x.destination_id, x.filter, array(select delivery.matching_types(x.events)) as wanted from delivery.destinations x
     where x.destination_id = p_destination)
  select t.name, e.event_id, e.position, s.stream_id, e.correlation_id
    from d
    cross join core.events e
    join core.event_types t using (type_no)
    join core.streams s using (stream_no)
   where e.position > p_after and e.position <= p_upto and e.recorded_at >= p_since
     and t.name = any(d.wanted)
     and (d.filter is null or delivery.matches(d.filter, jsonb_build_object('id', e.event_id, 'type', t.name, 'stream', s.stream_id, 'data', e.data)))
     and not exists (select from core.imports m where e.position > m.after_position and e.position <= m.upto_position)
     and not exists (select from delivery.deliveries x
                      where x.event_id = e.event_id and x.destination_id = p_destination and x.template = t.name and x.replay_no = 0)
$$;

-- What was given up since then, or before, if it ended since: the message that was answered with 410 is older than its answer.
create function delivery.given_up(p_destination uuid, p_since timestamptz, p_until timestamptz) returns setof uuid language sql stable
  set search_path = pg_catalog, delivery as $$
  select x.delivery_id from delivery.deliveries x
   where x.destination_id = p_destination and x.state in ('gave_up', 'unclear', 'held') and x.trigger <> 'test'
     and (x.created_at >= p_since or x.finished_at >= p_since) and coalesce(x.finished_at, x.created_at) < p_until
$$;

-- What turning it on with that would owe: events that it missed, and deliveries that were given up. Counted up to 100,000 of each.
create function api.preview_recovery(p_id uuid, p_since timestamptz, out missed bigint, out given_up bigint) language plpgsql stable
  security definer set search_path = pg_catalog, delivery as $$
declare
  since constant timestamptz := delivery.recoverable_since(p_since);
begin
  select count(*) into missed from (select from delivery.missed(p_id, since, api.position_at(since), api.issued_position()) limit 100000) x;
  select count(*) into given_up from (select from delivery.given_up(p_id, since, now()) limit 100000) x;
end $$;

-- Transactions that may have read the subscriptions before they changed: who reads a table keeps a lock on it until the end, and takes the
-- lock before it looks. As `create index concurrently` waits for writers.
create function delivery.readers_of_subscriptions() returns text[] language sql volatile set search_path = pg_catalog as $$
  select array(select distinct l.virtualtransaction from pg_locks l
                where l.locktype = 'relation' and l.relation = 'delivery.subscriptions'::regclass
                  and l.database = (select oid from pg_database where datname = current_database()) and l.pid is distinct from pg_backend_pid())
$$;

-- One piece of a recovery. Says how many deliveries came of it.
create function delivery.work_recovery(p_bulk uuid) returns int language plpgsql set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
declare
  b delivery.bulk;
  d delivery.destinations;
  pieces constant bigint := 5000;
  most constant int := 500;
  piece_end bigint;
  n int;
begin
  select * into b from delivery.bulk x where x.bulk_id = p_bulk;
  select * into d from delivery.destinations x where x.destination_id = b.destination_id;
  if not d.active then
    -- It was turned off again, or deleted: nothing is owed to it.
    update delivery.bulk x set state = 'cancelled', ended_at = now() where x.bulk_id = p_bulk;
    return 0;
  end if;
  if b.upto_position is null then
    -- The first look is after the endpoint was on for everybody: whoever reads later sees it on.
    b.waits_for := case when b.worked_at is null then delivery.readers_of_subscriptions()
                        else array(select unnest(b.waits_for) intersect select unnest(delivery.readers_of_subscriptions())) end;
    update delivery.bulk x
       set waits_for = b.waits_for, worked_at = clock_timestamp(),
           upto_position = case when cardinality(b.waits_for) = 0 then api.issued_position() end
     where x.bulk_id = p_bulk;
    return 0;
  end if;
  if b.at_position < b.upto_position then
    piece_end := least(b.at_position + pieces, b.upto_position);
    with owed as (
      insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, order_key, give_up_at)
      select d.destination_id, m.template, m.event_id, m.position, m.stream_id, m.correlation_id, case when d.ordered_by = 'stream' then m.stream_id end,
             'infinity'
        from delivery.missed(d.destination_id, b.since, b.at_position, piece_end) m order by m.position
      on conflict do nothing
      returning delivery_id)
    insert into delivery.bulk_items (bulk_id, ordinal, delivery_id, made)
      select p_bulk, b.count + row_number() over (order by delivery_id), delivery_id, delivery_id from owed;
    get diagnostics n = row_count;
  else
    piece_end := b.at_position;
    with again as (
      update delivery.deliveries x
         set state = 'scheduled', next_at = now(), finished_at = null, fence = x.fence + 1, tries_from = x.attempt, changed_at = now()
       where x.delivery_id = any(array(select g from delivery.given_up(d.destination_id, b.since, b.requested_at) g limit most))
      returning x.delivery_id)
    insert into delivery.bulk_items (bulk_id, ordinal, delivery_id, made)
      select p_bulk, b.count + row_number() over (order by delivery_id), delivery_id, delivery_id from again;
    get diagnostics n = row_count;
  end if;
  update delivery.bulk x
     set at_position = piece_end, count = x.count + n, worked_at = clock_timestamp(),
         state = case when b.at_position = b.upto_position and n < most then 'done' else x.state end,
         ended_at = case when b.at_position = b.upto_position and n < most then now() end
   where x.bulk_id = p_bulk;
  return n;
end $$;

-- As in 0029, and recoveries.
create or replace function delivery.work_bulks(out open int, out done int) language plpgsql security definer set search_path = pg_catalog, delivery as $$
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
    if b.action = 'recover' then
      done := done + delivery.work_recovery(b.bulk_id);
      continue;
    end if;
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

-- As in 0029; a recovery that goes on goes on where it was.
create or replace function api.change_bulk(p_bulk uuid, p_change text) returns text
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
         ended_at = case when p_change = 'cancel' then now() end,
         worked_at = case when b.action = 'recover' then x.worked_at end
   where x.bulk_id = p_bulk;
  perform delivery.noted('bulk_' || p_change, null, null, null, null, jsonb_build_object('bulk_id', p_bulk));
  return 'changed';
end $$;

-- As in 0122; what it missed is owed afterwards, and the time of its failures begins anew where a person says so.
create or replace function api.change_endpoint(p_id uuid, p_version int, p_action text, p_recover_since timestamptz, p_reason text)
returns jsonb language plpgsql security definer set search_path = pg_catalog, delivery, core as $$
#variable_conflict use_column
declare
  d delivery.destinations;
  was jsonb;
  what text;
  since timestamptz;
  recovery uuid;
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
      update delivery.health h set failed_for = '0', counted_at = now(), warned = 0 where h.destination_id = p_id;
      what := 'kept_on';
    when 'disable' then
      if d.state = 'disabled' and d.state_reason = 'by_person' then
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
         set (breaker, opened_at, opened_times, open_until, probe_until, probes_ok, failures, failing_since, failed_for, counted_at, warned, window_from,
              limit_now, limit_ok, paused_until)
           = ('closed', null, 0, null, null, 0, 0, null, '0', null, 0, null, null, 0, null)
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
    since := delivery.recoverable_since(p_recover_since);
    recovery := gen_random_uuid();
    insert into delivery.bulk (bulk_id, action, filter, hash, reason, per_second, count, destination_id, since, waits_for, from_position, at_position)
      values (recovery, 'recover', jsonb_build_object('destination_ids', jsonb_build_array(p_id), 'since', since), '',
              coalesce(nullif(btrim(left(p_reason, 1000)), ''), 'turned on again'), 1000, 0, p_id, since, '{}',
              api.position_at(since), api.position_at(since));
  end if;
  perform delivery.noted(what, p_id, null, p_reason, was,
                         delivery.shown(p_id) || jsonb_strip_nulls(jsonb_build_object('sent', nullif(n, 0), 'cancelled', nullif(m, 0), 'recover_since', p_recover_since, 'recovery', recovery)));
  return jsonb_build_object('status', 'done', 'sent', n, 'cancelled', m, 'recovery', recovery);
end $$;

drop function delivery.recover(uuid, timestamptz);

revoke all on function delivery.recoverable_since(timestamptz), delivery.missed(uuid, timestamptz, bigint, bigint), delivery.work_recovery(uuid),
  delivery.given_up(uuid, timestamptz, timestamptz), delivery.readers_of_subscriptions(), api.preview_recovery(uuid, timestamptz) from public;
grant execute on function api.preview_recovery(uuid, timestamptz) to bizing_admin;
