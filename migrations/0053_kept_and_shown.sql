-- Webhooks: what is held after an absence, how long deliveries are kept, what a viewer sees of an address, and the order of old
-- messages.
--
-- Locks: none but on the rows of messages from before 0028, which get new ids: about a second for 30,000 of them.

-- ---- what is held ------------------------------------------------------------------------------------------------

-- As in 0028; held is only what has been overdue for longer than p_longest. What fell due in the hours before somebody came back
-- is sent, as if nothing had been.
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
       and d.destination_id in (select destination_id from delivery.destinations where kind = 'webhook');
    get diagnostics held = row_count;
    if held > 0 then
      insert into delivery.changes (what, destination_id, reason, after)
        select 'held', d.destination_id, 'absence', jsonb_build_object('since', before, 'count', count(*))
          from delivery.deliveries d where d.state = 'held' and d.changed_at = now() group by 2;
    end if;
  end if;
  update delivery.attendance set seen_at = now();
  return held;
end $$;

-- ---- messages from before ids rose with time ---------------------------------------------------------------------

-- Lists go by the id. A random one gets the time of its row in front, and keeps the rest. What is being sent keeps its id.
create table delivery.renamed as
  select d.delivery_id as old,
         encode(set_bit(set_bit(overlay(uuid_send(d.delivery_id)
           placing substring(int8send(floor(extract(epoch from d.created_at) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1), 'hex')::uuid as new
    from delivery.deliveries d
   where get_byte(uuid_send(d.delivery_id), 6) >> 4 = 4 and d.state <> 'sending';
update delivery.attempts a set delivery_id = r.new from delivery.renamed r where a.delivery_id = r.old;
update delivery.changes c set delivery_id = r.new from delivery.renamed r where c.delivery_id = r.old;
update delivery.bulk_items i set delivery_id = r.new from delivery.renamed r where i.delivery_id = r.old;
update delivery.bulk_items i set made = r.new from delivery.renamed r where i.made = r.old;
update delivery.deliveries d set delivery_id = r.new from delivery.renamed r where d.delivery_id = r.old;
drop table delivery.renamed;

-- ---- how long deliveries are kept --------------------------------------------------------------------------------

-- Each change is a version with its reason; the newest counts.
create table delivery.retention (
  version int primary key,
  deliveries_days int not null check (deliveries_days between 90 and 3650),
  changed_at timestamptz not null default now(),
  changed_by text not null default session_user,
  reason text
);
insert into delivery.retention (version, deliveries_days) values (0, 730);

-- Deletes webhooks that are over for longer than that: delivered, or given up by a person. Never what is owed, what gave up, is
-- unclear or held, and no message to a customer, by which a saga knows that it was told. Ids rise with time, so that the oldest stand
-- together. Says how many went.
create function delivery.forget_deliveries(p_most int) returns int language sql security definer set search_path = pg_catalog, delivery as $$
  with k as materialized (
    select now() - make_interval(days => deliveries_days) as until from delivery.retention order by version desc limit 1),
  old as materialized (
    select d.delivery_id from delivery.deliveries d
     where d.delivery_id < (select overlay('00000000-0000-7000-8000-000000000000' placing
                                           lpad(to_hex(floor(extract(epoch from k.until) * 1000)::bigint / 65536), 8, '0') from 1 for 8)::uuid from k)
       and d.state in ('delivered', 'cancelled') and d.finished_at < (select until from k)
       and d.destination_id = any(array(select destination_id from delivery.destinations where kind = 'webhook'))
     order by d.delivery_id limit p_most for update skip locked),
  gone as (delete from delivery.deliveries d where d.delivery_id = any(array(select delivery_id from old)) returning 1)
  select count(*)::int from gone
$$;

create view read.delivery_retention_v1 as select version, deliveries_days, changed_at, changed_by, reason from delivery.retention;

-- 'done' | 'changed' | 'reason' | 'days'
create function api.put_delivery_retention(p_version int, p_days int, p_reason text) returns text language plpgsql security definer
  set search_path = pg_catalog, delivery as $$
declare
  newest int;
begin
  if char_length(btrim(coalesce(p_reason, ''))) < 10 then
    return 'reason';
  elsif p_days is null or p_days not between 90 and 3650 then
    return 'days';
  end if;
  lock table delivery.retention in share row exclusive mode;
  select max(version) into newest from delivery.retention;
  if newest <> p_version then
    return 'changed';
  end if;
  insert into delivery.retention (version, deliveries_days, reason) values (newest + 1, p_days, btrim(p_reason));
  return 'done';
end $$;

-- As in 0029; what is older than deliveries are kept is not owed anew, since nobody can say any more whether it was delivered.
create or replace function delivery.recover(p_destination uuid, p_since timestamptz) returns bigint language plpgsql
  set search_path = pg_catalog, delivery, core as $$
#variable_conflict use_column
declare
  d delivery.destinations;
  since timestamptz;
  n bigint;
  m bigint;
begin
  select * into d from delivery.destinations x where x.destination_id = p_destination;
  select greatest(p_since, now() - make_interval(days => r.deliveries_days)) into since from delivery.retention r order by r.version desc limit 1;
  insert into delivery.deliveries (destination_id, template, event_id, position, stream_id, correlation_id, order_key, give_up_at)
  select d.destination_id, t.name, e.event_id, e.position, s.stream_id, e.correlation_id, case when d.ordered_by = 'stream' then s.stream_id end, 'infinity'
    from core.events e
    join core.event_types t using (type_no)
    join core.streams s using (stream_no)
   where e.position > api.position_at(since) and e.recorded_at >= since
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

-- ---- what a viewer sees of an address ----------------------------------------------------------------------------

-- Many receivers take the path or a parameter for a password. Who may only look sees where it goes: https://hooks.example.com/…
create or replace view read.destinations_v1 as
  select d.destination_id, d.kind, d.name, d.active,
         case when pg_has_role(session_user, 'bizing_staff', 'member') or pg_has_role(session_user, 'bizing_worker', 'member') then d.url
              else regexp_replace(d.url, '^(https?://[^/?#]+)[/?#].+$', '\1/…') end as url,
         d.note, d.events, d.filter, d.ordered_by, d.max_in_flight, d.rate_per_s, d.timeout_ms,
         d.schedule_s, d.header_names, d.state, d.state_reason, d.state_at, d.version, d.created_at, d.changed_at,
         h.breaker, h.opened_at, h.open_until, h.failures, h.failing_since, h.limit_now, h.paused_until, h.last_failed_at, h.last_error,
         h.last_class, h.last_status
    from delivery.destinations d left join delivery.health h using (destination_id) where d.deleted_at is null;
create or replace view read.destination_names_v1 as
  select destination_id, kind, name,
         case when pg_has_role(session_user, 'bizing_staff', 'member') or pg_has_role(session_user, 'bizing_worker', 'member') then url
              else regexp_replace(url, '^(https?://[^/?#]+)[/?#].+$', '\1/…') end as url, deleted_at
    from delivery.destinations;
create or replace view read.delivery_tries_v1 as
  select delivery_id, no, started_at, ended_at, result, error, response, trigger, late,
         case when pg_has_role(session_user, 'bizing_staff', 'member') or pg_has_role(session_user, 'bizing_worker', 'member') then url
              else regexp_replace(url, '^(https?://[^/?#]+)[/?#].+$', '\1/…') end as url,
         status, error_class, dns_ms, connect_ms, tls_ms, first_byte_ms, body_ms, total_ms, peer, request_headers, response_headers, body, body_cut
    from delivery.attempts;
create or replace view read.delivery_changes_v1 as
  select change_id, at, by, what, destination_id, delivery_id, reason,
         case when pg_has_role(session_user, 'bizing_staff', 'member') or before ->> 'url' is null then before
              else before || jsonb_build_object('url', regexp_replace(before ->> 'url', '^(https?://[^/?#]+)[/?#].+$', '\1/…')) end as before,
         case when pg_has_role(session_user, 'bizing_staff', 'member') or after ->> 'url' is null then after
              else after || jsonb_build_object('url', regexp_replace(after ->> 'url', '^(https?://[^/?#]+)[/?#].+$', '\1/…')) end as after
    from delivery.changes;

revoke all on function delivery.forget_deliveries(int), api.put_delivery_retention(int, int, text) from public;
grant execute on function delivery.forget_deliveries(int) to bizing_worker;
grant execute on function api.put_delivery_retention(int, int, text) to bizing_admin;
grant select on read.delivery_retention_v1 to bizing_viewer, bizing_worker;
