-- Whoever holds a slot first frees it of holds that have expired. That statement locks, sorts and updates, and nearly always
-- finds nothing: it was a quarter of a booking's time in the server (140 of 530 us). Now it is carried out only where an index
-- search says that there is something.
--
-- As in 0014, with the settings of 0041. Locks: none.

create or replace function api.hold_inventory(p_booking uuid, p_reference text, p_expires timestamptz,
                                              p_claim uuid[], p_resource uuid[], p_unit smallint[], p_during tstzrange[])
returns table (resource_id uuid, taken tstzrange, by_booking uuid)
language plpgsql security definer set search_path = pg_catalog, booking, public set plan_cache_mode = force_generic_plan
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
#variable_conflict use_column
declare
  held int;
  beyond record;
begin
  select r.name, r.capacity, w.unit into beyond
    from unnest(p_resource, p_unit) as w(resource_id, unit) join booking.resource r on r.resource_id = w.resource_id
   where w.unit > r.capacity limit 1;
  if found and not admin.caller_is('manager') then
    raise exception '% has % unit(s), and % asked for unit %: only a manager may overbook',
      beyond.name, beyond.capacity, session_user, beyond.unit using errcode = 'insufficient_privilege';
  end if;

  -- Expiry is decided here, by the one clock that counts: correctness never waits for a sweeper. Most slots have no expired hold,
  -- and to see that costs a third of locking none.
  if exists (select from unnest(p_resource, p_during) as w(r, d)
              where exists (select from booking.inventory_claim c
                             where c.resource_id = w.r and c.during && w.d and c.released_at is null and c.expires_at < now())) then
    -- Locked in one order: two who find the same expired holds must not wait for each other.
    with stale as (
      select c.claim_id from booking.inventory_claim c join unnest(p_resource, p_during) as w(r, d) on c.resource_id = w.r and c.during && w.d
       where c.released_at is null and c.expires_at < now()
       order by c.resource_id, c.unit, lower(c.during) for update of c
    )
    update booking.inventory_claim c set released_at = now(), release_reason = 'expired'
     where c.claim_id = any(array(select claim_id from stale));
  end if;

  insert into booking.booking (booking_id, reference) values (p_booking, p_reference) on conflict (booking_id) do nothing;

  with want as (
    select * from unnest(p_claim, p_resource, p_unit, p_during) as w(claim_id, resource_id, unit, during)
     order by resource_id, unit, lower(during)
  ), ins as (
    insert into booking.inventory_claim (claim_id, resource_id, unit, during, kind, booking_id, expires_at)
    select claim_id, resource_id, unit, during, case when p_expires is null then 'booking' else 'hold' end, p_booking, p_expires from want
    on conflict do nothing returning claim_id
  )
  select count(*) into held from ins;
  if held < cardinality(p_claim) then
    return query
      select c.resource_id, c.during, c.booking_id from booking.inventory_claim c
        join unnest(p_resource, p_unit, p_during) as w(r, u, d) on c.resource_id = w.r and c.unit = w.u and c.during && w.d
       where c.released_at is null and c.booking_id is distinct from p_booking;
    if not found then   -- the rival let go between the two statements
      raise exception 'inventory changed while it was claimed' using errcode = 'serialization_failure';
    end if;
  end if;
end $$;
