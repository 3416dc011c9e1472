-- A skip is withdrawn: rebuilds fold the event again. The live rows lack it until one has been swapped in. The skip itself, with who asked
-- for it and why, moves into the log's entry, so the reports of earlier rebuilds still name it.
--
-- Locks: none. Again: `api.change_projection`, of 0012.

-- Pause, resume, retry or skip what it is parked at, withdraw a skip, or go back to the generation before.
create or replace function api.change_projection(p_command uuid, p_name text, p_action text, p_position bigint, p_reason text) returns text
language plpgsql security definer set search_path = pg_catalog, read as $$
declare
  live read.generations;
  before read.generations;
  skip read.projection_skips;
begin
  if exists (select 1 from read.projection_log where command_id = p_command) then return 'repeated'; end if;
  select * into live from read.generations where name = p_name and role = 'live' for update;
  if not found then return 'unknown'; end if;
  if p_action in ('skip', 'withdraw_skip', 'roll_back') and char_length(btrim(coalesce(p_reason, ''))) < 10 then return 'reason'; end if;
  case p_action
    when 'pause' then
      if live.paused_at is not null then return 'paused'; end if;
      update read.generations set paused_at = now(), paused_by = session_user, paused_why = p_reason, updated_at = now()
       where name = p_name and role in ('live', 'previous');
    when 'resume' then
      if live.paused_at is null then return 'not_paused'; end if;
      update read.generations set paused_at = null, paused_by = null, paused_why = null, updated_at = now()
       where name = p_name and role in ('live', 'previous');
    when 'retry' then
      if live.parked is null then return 'not_parked'; end if;
      update read.generations set parked = null, parked_at = null, updated_at = now() where name = p_name and role in ('live', 'previous');
    when 'skip' then
      if live.parked is null then return 'not_parked'; end if;
      if (live.parked->>'position')::bigint is distinct from p_position then return 'other_event'; end if;
      insert into read.projection_skips (name, position, event_id, error, reason)
        values (p_name, p_position, (live.parked->>'event_id')::uuid, live.parked->>'error', btrim(p_reason)) on conflict do nothing;
      update read.generations set parked = null, parked_at = null, updated_at = now() where name = p_name and role in ('live', 'previous');
    when 'withdraw_skip' then
      -- A rebuild that is under way may have passed the event by already, and nobody could tell whether its rows have it.
      if exists (select 1 from read.rebuilds where name = p_name and state in ('running', 'paused', 'waits_for_swap')) then return 'running'; end if;
      -- Whoever fills the live rows may have read just before that it is to be passed by.
      if live.position < p_position then return 'not_passed'; end if;
      delete from read.projection_skips where name = p_name and position = p_position returning * into skip;
      if not found then return 'not_skipped'; end if;
    when 'roll_back' then
      select * into before from read.generations where name = p_name and role = 'previous' order by retired_at desc limit 1 for update;
      if not found then return 'no_previous'; end if;
      if before.parked is not null then return 'previous_parked'; end if;
      -- Whoever reads must not see the past: it has to be where the live one is, give or take what is just being written.
      if before.position < live.position - 10000 then return 'previous_behind'; end if;
      set local lock_timeout = '500ms';
      perform core.publish_generation(p_name, before.generation);
      update read.rebuilds set state = 'rolled_back', ended_by = session_user, updated_at = now()
       where name = p_name and generation = live.generation and state = 'done';
    else
      raise exception 'no such action: %', p_action using errcode = 'invalid_parameter_value';
  end case;
  insert into read.projection_log (command_id, name, action, generation, reason, before)
    values (p_command, p_name, p_action, live.generation, p_reason,
            jsonb_build_object('position', live.position, 'parked', live.parked, 'paused_by', live.paused_by)
              || case when skip.position is null then '{}' else jsonb_build_object('skip', to_jsonb(skip)) end);
  return 'done';
end $$;
