-- What an endpoint is turned off for counts only while it was tried, and what a person tries uses up nothing.
--
-- "Five days of nothing but failures" ran by the clock on the wall: a desk that was closed for the weekend, or without a network, came
-- back to endpoints that it turned off at the first failure. The time is now added up from failure to failure, and left out where nobody
-- looked after webhooks or where the fault was at our end.
--
-- Locks: `delivery.health` and `delivery.attempts` for as long as it takes to write columns into the catalogue.

alter table delivery.health
  add column failed_for interval not null default '0',    -- of `failing_since` until `counted_at`, what counts
  add column counted_at timestamptz,
  add constraint counted check (failing_since is null or counted_at is not null) not valid;
update delivery.health set failed_for = now() - failing_since, counted_at = now() where failing_since is not null;
alter table delivery.health validate constraint counted;

-- As in 0121, with when it turns itself off if it goes on like this.
create or replace view read.destinations_v1 as
  select d.destination_id, d.kind, d.name, d.active,
         case when pg_has_role(session_user, 'bizing_staff', 'member') or pg_has_role(session_user, 'bizing_worker', 'member') then d.url
              else regexp_replace(d.url, '^(https?://[^/?#]+)[/?#].+$', '\1/…') end as url,
         d.note, d.events, d.filter, d.ordered_by, d.max_in_flight, d.rate_per_s, d.timeout_ms,
         d.schedule_s, d.header_names, d.state, d.state_reason, d.state_at, d.version, d.created_at, d.changed_at,
         h.breaker, h.opened_at, h.open_until, h.failures, h.failing_since, h.limit_now, h.paused_until, h.last_failed_at, h.last_error,
         h.last_class, h.last_status, d.shape, h.warned,
         case when h.failing_since is not null and d.state <> 'disabled' then h.counted_at + interval '5 days' - h.failed_for end as off_at
    from delivery.destinations d left join delivery.health h using (destination_id) where d.deleted_at is null;

-- As in 0122, with the same.
create or replace view read.endpoints_in_trouble_v1 as
  select d.destination_id, d.name, d.state_reason, d.state_at, h.failing_since, h.warned, h.last_error, c.change_id, c.what, c.at,
         case when d.state <> 'disabled' then h.counted_at + interval '5 days' - h.failed_for end as off_at
    from delivery.destinations d join delivery.health h using (destination_id)
    cross join lateral (
      select c.change_id, c.what, c.at from delivery.changes c
       where c.destination_id = d.destination_id and c.what in ('warned', 'disabled') and c.before is null order by c.change_id desc limit 1) c
   where d.kind = 'webhook' and d.deleted_at is null
     and (d.state = 'disabled' and d.state_reason in ('gone', 'days_of_failures') or d.state <> 'disabled' and h.warned > 0);

-- Whether it looks as if we had no network: this endpoint and another could not be reached, and nobody at all answered lately, whatever
-- they said. Where there is only one endpoint and no provider, it cannot be told, and the endpoint is taken to be at fault.
create function delivery.seems_offline(p_destination uuid, p_class text) returns boolean language sql stable
  set search_path = pg_catalog, delivery as $$
  select p_class in ('no_such_name', 'dns', 'connect', 'timeout')
     and exists (select from delivery.health h
                  where h.destination_id <> p_destination and h.last_class in ('no_such_name', 'dns', 'connect', 'timeout') and h.last_failed_at > now() - interval '1 hour')
     and not exists (select from delivery.health h
                      where h.destination_id <> p_destination and h.last_status is not null and h.last_failed_at > now() - interval '10 minutes')
     and not exists (select from delivery.stats_hourly s join delivery.destinations d using (destination_id)
                      where d.kind = 'webhook' and s.last_ok_at > now() - interval '10 minutes' and s.hour > now() - interval '2 hours')
     and not exists (select from delivery.poll_cursor c
                      where c.polls and c.problem is null and c.checked_at > now() - interval '10 minutes')
$$;

-- As in 0028; the days of failures are those in which it was tried.
create or replace function delivery.note_results(p_ids uuid[], p_ok int[], p_failed int[], p_tail int[], p_slow int[], p_wait_until timestamptz[],
                                      p_gone boolean[], p_errors text[], p_classes text[], p_status smallint[])
returns setof uuid language plpgsql security definer set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
declare
  i int;
  h delivery.health;
  b delivery.health;
  most int;
  share numeric;
  told jsonb;
begin
  -- Sorted, so that two workers never wait for each other in a ring.
  for i in select o from unnest(p_ids) with ordinality x(id, o) order by id loop
    select * into h from delivery.health x where x.destination_id = p_ids[i] for update;
    continue when not found;
    b := h;
    select max_in_flight into most from delivery.destinations d where d.destination_id = p_ids[i];

    h.failures := case when p_ok[i] > 0 then p_tail[i] else h.failures + p_failed[i] end;
    h.failing_since := case when p_tail[i] > 0 and (p_ok[i] > 0 or h.failing_since is null) then now()
                            when p_ok[i] > 0 then null else h.failing_since end;
    if p_ok[i] > 0 then
      h.warned := 0;
    end if;
    if h.failing_since is null then
      h.failed_for := '0';
      h.counted_at := null;
    else
      h.failed_for := case when p_ok[i] > 0 or b.failing_since is null then '0'
                           when delivery.seems_offline(p_ids[i], p_classes[i]) then h.failed_for
                           else h.failed_for + (now() - h.counted_at) end;
      h.counted_at := now();
    end if;
    if p_failed[i] > 0 then
      h.last_failed_at := now();
      h.last_error := left(p_errors[i], 500);
      h.last_class := p_classes[i];
      h.last_status := p_status[i];
    end if;

    if h.window_from is null or h.window_from < now() - interval '60 seconds' then
      h.window_from := case when p_failed[i] > 0 then now() end;
      h.window_ok := 0;
      h.window_failed := 0;
    end if;
    if h.window_from is not null then
      h.window_ok := h.window_ok + p_ok[i];
      h.window_failed := h.window_failed + p_failed[i];
    end if;

    if p_slow[i] > 0 then
      h.limit_now := greatest(1, least(coalesce(h.limit_now, most), most) / 2);
      h.limit_ok := 0;
    elsif h.limit_now is not null then
      h.limit_ok := h.limit_ok + p_ok[i];
      h.limit_now := h.limit_now + h.limit_ok / 20;
      h.limit_ok := h.limit_ok % 20;
      if h.limit_now >= most then
        h.limit_now := null;
        h.limit_ok := 0;
      end if;
    end if;
    if p_wait_until[i] is not null then
      h.paused_until := greatest(h.paused_until, least(p_wait_until[i], now() + interval '24 hours'));
    end if;
    if h.paused_until <= now() then
      h.paused_until := null;
    end if;

    if h.breaker = 'closed' and (h.failures >= 5 or h.window_ok + h.window_failed >= 20 and h.window_failed >= h.window_ok)
       or h.breaker = 'half_open' and p_failed[i] > 0 then
      h.breaker := 'open';
      h.opened_at := now();
      h.open_until := now() + least(interval '30 seconds' * (2 ^ least(h.opened_times, 10)), interval '30 minutes');
      h.opened_times := h.opened_times + 1;
      h.probe_until := null;
      h.probes_ok := 0;
    elsif h.breaker = 'half_open' and p_ok[i] > 0 then
      h.probes_ok := h.probes_ok + p_ok[i];
      h.probe_until := null;
      if h.probes_ok >= 3 then
        h.breaker := 'closed';
        h.opened_at := null;
        h.open_until := null;
        h.opened_times := 0;
        h.probes_ok := 0;
        h.window_from := null;
        h.window_ok := 0;
        h.window_failed := 0;
      end if;
    end if;

    share := extract(epoch from h.failed_for) / 432000;   -- of five days
    if p_failed[i] > 0 and (p_gone[i] or share >= 1) then
      update delivery.destinations d
         set state = 'disabled', active = false, version = d.version + 1, state_at = now(), changed_at = now(),
             state_reason = case when p_gone[i] then 'gone' else 'days_of_failures' end
       where d.destination_id = p_ids[i] and d.state <> 'disabled' and d.deleted_at is null;
      if found then
        perform delivery.subscribe(p_ids[i]);
        insert into delivery.changes (what, destination_id, reason, after)
          values ('disabled', p_ids[i], case when p_gone[i] then 'gone' else 'days_of_failures' end,
                  jsonb_build_object('error', h.last_error, 'failing_since', h.failing_since));
        return next p_ids[i];
      end if;
    elsif p_failed[i] > 0 and share >= 0.5 and h.warned < (case when share >= 0.9 then 90 when share >= 0.7 then 70 else 50 end) then
      h.warned := case when share >= 0.9 then 90 when share >= 0.7 then 70 else 50 end;
      insert into delivery.changes (what, destination_id, reason, after)
        values ('warned', p_ids[i], 'failing', jsonb_build_object('percent', h.warned, 'failing_since', h.failing_since, 'error', h.last_error,
                                                            'off_at', h.counted_at + interval '5 days' - h.failed_for));
      return next p_ids[i];
    end if;

    if h is distinct from b then
      update delivery.health x
         set (breaker, opened_at, opened_times, open_until, probe_until, probes_ok, failures, failing_since, failed_for, counted_at, warned, window_from,
              window_ok, window_failed, limit_now, limit_ok, paused_until, last_failed_at, last_error, last_class, last_status)
           = (h.breaker, h.opened_at, h.opened_times, h.open_until, h.probe_until, h.probes_ok, h.failures, h.failing_since, h.failed_for, h.counted_at, h.warned, h.window_from,
              h.window_ok, h.window_failed, h.limit_now, h.limit_ok, h.paused_until, h.last_failed_at, h.last_error, h.last_class, h.last_status)
       where x.destination_id = p_ids[i];
      if h.breaker <> b.breaker then
        return next p_ids[i];
      end if;
    end if;
  end loop;
end $$;

-- As in 0085; what nobody tried for does not count.
create or replace function delivery.attend(p_longest interval default '24 hours') returns bigint language plpgsql security definer
  set search_path = pg_catalog, delivery as $$
declare
  before timestamptz;
  held bigint := 0;
begin
  select seen_at into before from delivery.attendance for update;
  if before < now() - p_longest then
    update delivery.deliveries d set state = 'held', fence = d.fence + 1, changed_at = now()
     where d.state = 'scheduled' and d.trigger = 'auto' and d.next_at < now() - p_longest
       and d.destination_id in (select destination_id from delivery.destinations where kind = 'webhook')
       and not exists (select from delivery.leases l where l.delivery_id = d.delivery_id);
    get diagnostics held = row_count;
    if held > 0 then
      insert into delivery.changes (what, destination_id, reason, after)
        select 'held', d.destination_id, 'absence', jsonb_build_object('since', before, 'count', count(*))
          from delivery.deliveries d where d.state = 'held' and d.changed_at = now() group by 2;
    end if;
  end if;
  if before < now() - interval '5 minutes' then
    -- Nobody tried anything meanwhile, so nothing of it counts against an endpoint. In the order of `note_results`.
    perform from delivery.health h where h.failing_since is not null order by h.destination_id for update;
    update delivery.health h set failed_for = h.failed_for + greatest(before - h.counted_at, interval '0'), counted_at = now()
     where h.failing_since is not null;
  end if;
  update delivery.attendance set seen_at = now();
  return held;
end $$;

-- As in 0122; when it turns itself off is written beside the warning.
create or replace function delivery.claim_notices(p_most int, p_mail boolean)
returns table (change_id bigint, entry text, tries int, at timestamptz, what text, reason text, name text, host text, facts jsonb, off_at timestamptz)
language sql security definer set search_path = pg_catalog, delivery as $$
  with due as (
    select n.change_id, n.entry from delivery.notices n where n.sent_at is null and n.gave_up_at is null and n.next_at <= now()
       and (p_mail or n.entry like 'http%')
     order by n.next_at limit p_most for update skip locked),
  mine as (
    update delivery.notices n set tries = n.tries + 1, next_at = now() + least(interval '1 minute' * 2 ^ least(n.tries, 10), interval '6 hours')
      from due d where n.change_id = d.change_id and n.entry = d.entry returning n.change_id, n.entry, n.tries)
  select m.change_id, m.entry, m.tries, c.at, c.what, c.reason, t.name, substring(t.url from '^https?://([^/?#]+)'), c.after,
         coalesce((c.after ->> 'off_at')::timestamptz, (c.after ->> 'failing_since')::timestamptz + interval '5 days')
    from mine m join delivery.changes c using (change_id) left join delivery.destinations t using (destination_id)
$$;

revoke all on function delivery.seems_offline(uuid, text) from public;
