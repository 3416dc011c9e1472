-- A desk with one endpoint tells its own absence of network apart, too. Before, two endpoints had to fail together, so with one alone each hour
-- offline counted towards its being turned off.
--
-- What else was asked at that time is the provider: where not even its list could be reached, and nobody at all answered, it is us.
--
-- Locks: `delivery.poll_cursor` for as long as it takes to write a column into the catalogue.

-- When the last question found no connection. A refusal is an answer.
alter table delivery.poll_cursor add column unreached_at timestamptz;

-- As in 0140, and the provider.
create or replace function delivery.seems_offline(p_destination uuid, p_class text) returns boolean language sql stable
  set search_path = pg_catalog, delivery as $$
  select p_class in ('no_such_name', 'dns', 'connect', 'timeout')
     and (exists (select from delivery.health h
                   where h.destination_id <> p_destination and h.last_class in ('no_such_name', 'dns', 'connect', 'timeout') and h.last_failed_at > now() - interval '1 hour')
       or exists (select from delivery.poll_cursor c where c.polls and c.unreached_at > now() - interval '10 minutes'))
     and not exists (select from delivery.health h
                      where h.destination_id <> p_destination and h.last_status is not null and h.last_failed_at > now() - interval '10 minutes')
     and not exists (select from delivery.stats_hourly s join delivery.destinations d using (destination_id)
                      where d.kind = 'webhook' and s.last_ok_at > now() - interval '10 minutes' and s.hour > now() - interval '2 hours')
     and not exists (select from delivery.poll_cursor c
                      where c.polls and c.problem is null and c.checked_at > now() - interval '10 minutes')
$$;
