-- Webhooks that are being sent are rows of a narrow table of their own, and no longer a second and a third version of the delivery.
--
-- To be claimed and to be recorded were two updates of a wide row with five indexes each, the dearest part of a delivery by far. A claim
-- now writes a lease and locks the delivery; only the record changes it. So a webhook that is under way is `scheduled` with a lease.
-- Messages to customers stay as they were: what is sent at most once has its mark in its own row.
--
-- Unlogged: a lease is a promise of a living server to a living worker. After a crash of the server there are none, a record finds its
-- lease gone, changes nothing, and what it was about is sent again with the same id.
--
-- Whoever locks both locks the delivery first.
--
-- Locks: `delivery.deliveries` for as long as it takes to change what is being sent.

create unlogged table delivery.leases (
  delivery_id uuid primary key,
  destination_id uuid not null,
  fence bigint not null,                 -- what the delivery's becomes with the record
  owner uuid not null,
  expires_at timestamptz not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);
create index leases_ends on delivery.leases (expires_at);

-- What a program of before has under way: its record will be late, as if its lease had ended.
insert into delivery.leases (delivery_id, destination_id, fence, owner, expires_at)
  select d.delivery_id, d.destination_id, d.fence, d.lease_owner, d.lease_expires_at
    from delivery.deliveries d join delivery.destinations t using (destination_id) where d.state = 'sending' and t.kind = 'webhook';
update delivery.deliveries d
   set state = 'scheduled', lease_owner = null, lease_expires_at = null, attempt = d.attempt - 1, fence = d.fence - 1
 where d.delivery_id = any(array(select l.delivery_id from delivery.leases l));

create view read.delivery_leases_v1 as select delivery_id, destination_id, expires_at from delivery.leases;

-- As in 0029; what has a lease is being sent.
create or replace function delivery.again(p_delivery uuid, p_at_once boolean, out made uuid, out refusal text)
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
  elsif d.state = 'sending' or exists (select from delivery.leases l where l.delivery_id = p_delivery) then
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

-- As in 0029; what has a lease is being sent, and is not stopped any more.
create or replace function delivery.stop(p_delivery uuid) returns text language plpgsql set search_path = pg_catalog, delivery as $$
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
  elsif exists (select from delivery.leases l where l.delivery_id = p_delivery) then
    return 'sending';
  end if;
  update delivery.deliveries x set state = 'cancelled', finished_at = now(), fence = x.fence + 1, changed_at = now(), by_hand = false
   where x.delivery_id = p_delivery;
  return null;
end $$;

-- As in 0053; what has a lease is not held.
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
  update delivery.attendance set seen_at = now();
  return held;
end $$;

revoke all on all functions in schema delivery from public;
grant select, insert, update, delete on delivery.leases to bizing_worker;
grant select on read.delivery_leases_v1 to bizing_viewer, bizing_worker;
