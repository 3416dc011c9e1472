-- Live rows whose checkpoint stands above the end of the log, as after a restore of the database beneath them, are replaced by rows
-- that stand at its end. Before, new rows were moved up to that checkpoint as well, and what was written at these positions
-- next was never read.
--
-- Locks: none.

create or replace function core.swap_rebuild(p_rebuild uuid, p_fence bigint) returns void
language plpgsql security definer set search_path = pg_catalog, read as $$
declare
  r read.rebuilds := core.holds_rebuild(p_rebuild, p_fence, true);
begin
  if r.mode <> 'rebuild' or r.phase <> 'swap' or r.state <> 'running' then
    raise exception 'the rebuild % is not to be swapped', p_rebuild using errcode = 'object_not_in_prerequisite_state';
  end if;
  if (select position from read.generations where name = r.name and generation = r.generation)
     < least((select position from read.generations where name = r.name and role = 'live'), api.issued_position()) then
    raise exception 'the new rows are behind the live ones' using errcode = 'object_not_in_prerequisite_state';
  end if;
  perform core.publish_generation(r.name, r.generation);
  update read.rebuilds set state = 'done', ended_at = now(), rate_per_s = null, owner = null, lease_until = null, updated_at = now()
   where rebuild_id = p_rebuild;
end $$;
