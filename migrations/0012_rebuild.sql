-- Rebuilds: rows of a projection made anew beside the live ones, compared, and swapped in when somebody says so. What
-- admins ask, and why, stands in read.projection_log; workers carry it out under a lease and a fence.
--
-- bizing_projector is what a connection that fills read models acts as: it reads the log and writes the generations'
-- tables, and it can write no event, saga, delivery or job. So no replay has an effect outside of them.
--
-- Locks: none on existing tables but their rights.

create table read.rebuilds (
  rebuild_id uuid primary key,
  name text not null,
  version int not null,
  generation int,                                    -- null until its tables are there, and once they are gone
  live_generation int not null,
  live_version int not null,
  source jsonb not null,                             -- {"from": "start" | "position" | "time" | "stream", ...}
  from_position bigint not null default 0,           -- rows that no later event touches are taken over as they are
  stream text,                                       -- only this one's rows are made anew
  mode text not null check (mode in ('dry_run', 'rebuild')),
  speed text not null check (speed in ('gentle', 'normal', 'all_cores')),
  state text not null default 'running'
    check (state in ('running', 'paused', 'waits_for_swap', 'done', 'cancelled', 'failed', 'rolled_back')),
  phase text not null default 'prepare' check (phase in ('prepare', 'read', 'catch_up', 'compare', 'swap')),
  phases jsonb not null default '[]',                -- [{phase, started_at, ended_at}]
  target bigint,                                     -- safe position when reading began
  events_total bigint not null default 0,
  events_done bigint not null default 0,
  rate_per_s double precision,
  compare jsonb,
  error text,
  asked_by text not null,
  reason text not null check (char_length(btrim(reason)) >= 10),
  started_at timestamptz not null default now(),
  ended_at timestamptz,
  ended_by text,
  owner uuid,                                        -- the worker that holds it
  lease_until timestamptz,
  fence bigint not null default 0,                   -- +1 with each claim: a late owner's write is refused
  updated_at timestamptz not null default now()
) with (fillfactor = 50);
-- One at a time for each projection.
create unique index rebuilds_one_open on read.rebuilds (name) where state in ('running', 'paused', 'waits_for_swap');
create index on read.rebuilds (started_at desc, rebuild_id);

-- What a stop keeps: each part's rows are committed with its mark.
create table read.rebuild_parts (
  rebuild_id uuid not null references read.rebuilds on delete cascade,
  part int not null,
  lo bigint not null,                                -- streams by number, [lo, hi)
  hi bigint not null,
  events bigint not null,
  done_at timestamptz,
  primary key (rebuild_id, part)
) with (fillfactor = 50);

-- Of a replay of one stream or from a position: the streams whose rows are made anew.
create table read.rebuild_streams (
  rebuild_id uuid not null references read.rebuilds on delete cascade,
  stream_no bigint not null,
  booking_id uuid not null,
  primary key (rebuild_id, stream_no)
);

create table read.rebuild_diffs (
  rebuild_id uuid not null references read.rebuilds on delete cascade,
  kind text not null check (kind in ('different', 'only_live', 'only_new')),
  no int not null,
  table_name text not null,
  key text not null,
  live jsonb,
  new jsonb,
  primary key (rebuild_id, kind, no)
);

-- Events that a person let a projection pass by. Rebuilds pass them by too.
create table read.projection_skips (
  name text not null,
  position bigint not null,
  event_id uuid,
  error text,
  reason text not null check (char_length(btrim(reason)) >= 10),
  skipped_by text not null default session_user,
  skipped_at timestamptz not null default now(),
  primary key (name, position)
);

-- Who did what, and why. Never changed.
create table read.projection_log (
  command_id uuid primary key,
  at timestamptz not null default now(),
  by text not null default session_user,
  name text not null,
  action text not null,
  rebuild_id uuid,
  generation int,
  reason text,
  before jsonb
);
create index on read.projection_log (name, at desc);

-- Events a second, one row for ten seconds in which something moved; kept for a quarter of an hour.
create table read.projection_rates (
  name text not null,
  at timestamptz not null,                           -- beginning of the ten seconds
  events bigint not null,
  holder text,
  primary key (name, at)
);

alter table read.generations add column paused_why text, add column parked_at timestamptz;

-- ---- what admins ask ---------------------------------------------------------------------------------------------

-- The answer is a status: `done`, `repeated` (this command was carried out before), or why not.
create function api.start_replay(p_command uuid, p_name text, p_version int, p_source jsonb, p_from_position bigint, p_stream text,
                                 p_mode text, p_speed text, p_reason text) returns text
language plpgsql security definer set search_path = pg_catalog, read as $$
declare
  live read.generations;
begin
  if exists (select 1 from read.projection_log where command_id = p_command) then return 'repeated'; end if;
  if char_length(btrim(coalesce(p_reason, ''))) < 10 then return 'reason'; end if;
  select * into live from read.generations where name = p_name and role = 'live' for update;
  if not found then return 'unknown'; end if;
  if exists (select 1 from read.rebuilds where name = p_name and state in ('running', 'paused', 'waits_for_swap')) then return 'running'; end if;
  if p_version <> live.version and (p_from_position > 0 or p_stream is not null) then return 'other_shape'; end if;
  insert into read.rebuilds (rebuild_id, name, version, live_generation, live_version, source, from_position, stream, mode, speed,
                             asked_by, reason)
    values (p_command, p_name, p_version, live.generation, live.version, p_source, p_from_position, p_stream, p_mode, p_speed,
            session_user, btrim(p_reason));
  insert into read.projection_log (command_id, name, action, rebuild_id, reason)
    values (p_command, p_name, p_mode, p_command, btrim(p_reason));
  return 'done';
end $$;

create function api.change_rebuild(p_command uuid, p_rebuild uuid, p_action text, p_reason text) returns text
language plpgsql security definer set search_path = pg_catalog, read as $$
declare
  r read.rebuilds;
begin
  if exists (select 1 from read.projection_log where command_id = p_command) then return 'repeated'; end if;
  select * into r from read.rebuilds where rebuild_id = p_rebuild for update;
  if not found then return 'unknown'; end if;
  if r.state in ('done', 'cancelled', 'failed', 'rolled_back') then return 'over'; end if;
  if p_action in ('cancel', 'swap') and char_length(btrim(coalesce(p_reason, ''))) < 10 then return 'reason'; end if;
  case p_action
    when 'pause' then
      if r.state <> 'running' then return 'not_running'; end if;
      update read.rebuilds set state = 'paused', rate_per_s = null, updated_at = now() where rebuild_id = p_rebuild;
    when 'resume' then
      if r.state <> 'paused' then return 'not_paused'; end if;
      update read.rebuilds set state = 'running', error = null, updated_at = now() where rebuild_id = p_rebuild;
    when 'cancel' then
      update read.rebuilds set state = 'cancelled', ended_at = now(), ended_by = session_user, rate_per_s = null, updated_at = now()
       where rebuild_id = p_rebuild;
    when 'swap' then
      if r.state <> 'waits_for_swap' or r.mode <> 'rebuild' then return 'not_ready'; end if;
      update read.rebuilds set state = 'running', phase = 'swap', ended_by = session_user, updated_at = now() where rebuild_id = p_rebuild;
    when 'gentle', 'normal', 'all_cores' then
      update read.rebuilds set speed = p_action, updated_at = now() where rebuild_id = p_rebuild;
    else
      raise exception 'no such action: %', p_action using errcode = 'invalid_parameter_value';
  end case;
  insert into read.projection_log (command_id, name, action, rebuild_id, reason, before)
    values (p_command, r.name, p_action || case when p_action in ('gentle', 'normal', 'all_cores') then '' else '_rebuild' end, p_rebuild,
            p_reason, jsonb_build_object('state', r.state, 'phase', r.phase, 'speed', r.speed));
  return 'done';
end $$;

-- Pause, resume, retry or skip what it is parked at, or go back to the generation before.
create function api.change_projection(p_command uuid, p_name text, p_action text, p_position bigint, p_reason text) returns text
language plpgsql security definer set search_path = pg_catalog, read as $$
declare
  live read.generations;
  before read.generations;
begin
  if exists (select 1 from read.projection_log where command_id = p_command) then return 'repeated'; end if;
  select * into live from read.generations where name = p_name and role = 'live' for update;
  if not found then return 'unknown'; end if;
  if p_action in ('skip', 'roll_back') and char_length(btrim(coalesce(p_reason, ''))) < 10 then return 'reason'; end if;
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
            jsonb_build_object('position', live.position, 'parked', live.parked, 'paused_by', live.paused_by));
  return 'done';
end $$;

-- ---- what a rebuild's owner does -----------------------------------------------------------------------------------

create or replace function core.make_generation(p_name text, p_version int, p_bare boolean) returns int
language plpgsql security definer set search_path = pg_catalog as $$
declare
  shape text := format('shape_%s_v%s', p_name, p_version);
  no int;
  target text;
  t record;
begin
  if to_regnamespace(shape) is null then
    raise exception 'no shape % version % is declared', p_name, p_version using errcode = 'undefined_object';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('generation ' || p_name, 0));
  select coalesce(max(generation), 0) + 1 into no from read.generations where name = p_name;
  -- Numbers are not used twice: history names them.
  select greatest(no, coalesce(max(greatest(generation, live_generation)), 0) + 1) into no from read.rebuilds where name = p_name;
  while to_regnamespace(core.generation_schema(p_name, no)) is not null loop no := no + 1; end loop;
  target := core.generation_schema(p_name, no);
  execute format('create schema %I', target);
  execute format('grant usage on schema %I to bizing_projector', target);
  for t in select relname, reloptions from pg_class where relnamespace = shape::regnamespace and relkind = 'r' order by relname loop
    execute format('create table %I.%I (like %I.%I including all %s)', target, t.relname, shape, t.relname,
                   case when p_bare then 'excluding indexes' else '' end);
    if t.reloptions is not null then
      execute format('alter table %I.%I set (%s)', target, t.relname, array_to_string(t.reloptions, ', '));
    end if;
    execute format('grant select, insert, update, delete on %I.%I to bizing_projector', target, t.relname);
  end loop;
  insert into read.generations (name, generation, version, role) values (p_name, no, p_version, 'building');
  return no;
end $$;

-- The rebuild, if this owner still holds it.
create function core.holds_rebuild(p_rebuild uuid, p_fence bigint, p_lock boolean) returns read.rebuilds
language plpgsql security definer set search_path = pg_catalog, read as $$
declare
  r read.rebuilds;
begin
  if p_lock then
    select * into r from read.rebuilds where rebuild_id = p_rebuild for update;
  else
    select * into r from read.rebuilds where rebuild_id = p_rebuild;
  end if;
  if r.fence is distinct from p_fence then
    raise exception 'the rebuild % is in other hands', p_rebuild using errcode = 'serialization_failure';
  end if;
  return r;
end $$;

-- Its tables, once.
create function core.prepare_rebuild(p_rebuild uuid, p_fence bigint) returns int
language plpgsql security definer set search_path = pg_catalog, read as $$
declare
  r read.rebuilds := core.holds_rebuild(p_rebuild, p_fence, true);
  no int := r.generation;
begin
  if no is null then
    no := core.make_generation(r.name, r.version, true);
    update read.rebuilds set generation = no where rebuild_id = p_rebuild;
  end if;
  return no;
end $$;

-- The statements that make the keys and indexes of a loaded generation, as its shape declares them, those that are missing.
create function core.missing_indexes(p_name text, p_generation int) returns setof text
language sql stable security definer set search_path = pg_catalog as $$
  with g as (
    select format('shape_%s_v%s', name, version) as shape, core.generation_schema(name, generation) as target
      from read.generations where name = p_name and generation = p_generation
  )
  select case when k.oid is not null then format('alter table %I.%I add constraint %I %s', g.target, t.relname, k.conname, pg_get_constraintdef(k.oid))
              else replace(pg_get_indexdef(i.indexrelid), format(' ON %I.%I ', g.shape, t.relname), format(' ON %I.%I ', g.target, t.relname)) end
    from g
    join pg_class t on t.relnamespace = g.shape::regnamespace and t.relkind = 'r'
    join pg_index i on i.indrelid = t.oid
    join pg_class x on x.oid = i.indexrelid
    left join pg_constraint k on k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')
   where not exists (select 1 from pg_class y where y.relnamespace = g.target::regnamespace and y.relname = x.relname)
   order by k.oid is null, x.relname
$$;
-- One of them. Made by the owner of the tables, so it is checked to be one of that list.
create function core.make_index(p_rebuild uuid, p_fence bigint, p_statement text) returns void
language plpgsql security definer set search_path = pg_catalog, read, public as $$
declare
  r read.rebuilds := core.holds_rebuild(p_rebuild, p_fence, false);
begin
  if p_statement not in (select core.missing_indexes(r.name, r.generation)) then
    raise exception 'not an index of this generation' using errcode = 'insufficient_privilege';
  end if;
  execute p_statement;
end $$;
create function core.analyze_generation(p_rebuild uuid, p_fence bigint) returns void
language plpgsql security definer set search_path = pg_catalog, read as $$
declare
  r read.rebuilds := core.holds_rebuild(p_rebuild, p_fence, false);
  t name;
begin
  for t in select relname from pg_class where relnamespace = core.generation_schema(r.name, r.generation)::regnamespace and relkind = 'r' loop
    execute format('analyze %I.%I', core.generation_schema(r.name, r.generation), t);
  end loop;
end $$;

-- The new rows become those that are read, in the caller's transaction; it holds the live generation and has brought the
-- new one to the same position.
create function core.swap_rebuild(p_rebuild uuid, p_fence bigint) returns void
language plpgsql security definer set search_path = pg_catalog, read as $$
declare
  r read.rebuilds := core.holds_rebuild(p_rebuild, p_fence, true);
begin
  if r.mode <> 'rebuild' or r.phase <> 'swap' or r.state <> 'running' then
    raise exception 'the rebuild % is not to be swapped', p_rebuild using errcode = 'object_not_in_prerequisite_state';
  end if;
  if (select position from read.generations where name = r.name and generation = r.generation)
     < (select position from read.generations where name = r.name and role = 'live') then
    raise exception 'the new rows are behind the live ones' using errcode = 'object_not_in_prerequisite_state';
  end if;
  perform core.publish_generation(r.name, r.generation);
  update read.rebuilds set state = 'done', ended_at = now(), rate_per_s = null, owner = null, lease_until = null, updated_at = now()
   where rebuild_id = p_rebuild;
end $$;

-- Drops what a cancelled or ended rebuild left, and generations that nobody needs any more. Never the live one.
create function core.drop_generation(p_name text, p_generation int) returns boolean
language plpgsql security definer set search_path = pg_catalog, read as $$
declare
  g read.generations;
begin
  select * into g from read.generations where name = p_name and generation = p_generation for update;
  if not found then return false; end if;
  if g.role = 'live' or exists (
    select 1 from read.rebuilds where name = p_name and generation = p_generation and state in ('running', 'paused', 'waits_for_swap')
  ) then
    return false;
  end if;
  -- A view of another shape may still show it to an older window.
  if g.role = 'previous' and g.version <> (select version from read.generations where name = p_name and role = 'live')
     and g.retired_at > now() - interval '7 days' then
    return false;
  end if;
  delete from read.generations where name = p_name and generation = p_generation;
  execute format('drop schema if exists %I cascade', core.generation_schema(p_name, p_generation));
  return true;
end $$;

-- ---- who may do what ---------------------------------------------------------------------------------------------

revoke execute on all functions in schema core from public;
revoke execute on function api.start_replay(uuid, text, int, jsonb, bigint, text, text, text, text), api.change_rebuild(uuid, uuid, text, text),
  api.change_projection(uuid, text, text, bigint, text) from public;
grant execute on function api.start_replay(uuid, text, int, jsonb, bigint, text, text, text, text), api.change_rebuild(uuid, uuid, text, text),
  api.change_projection(uuid, text, text, bigint, text) to bizing_admin;

grant select on read.rebuilds, read.rebuild_parts, read.rebuild_streams, read.rebuild_diffs, read.projection_skips, read.projection_log, read.projection_rates
  to bizing_viewer, bizing_projector;

grant usage on schema api, core, read, booking to bizing_projector;
grant select on core.events, core.streams, core.event_types, core.position to bizing_projector;
grant select on all tables in schema read, booking to bizing_projector;
grant execute on function api.safe_position(), api.subject_keys(uuid[]) to bizing_projector;
grant update (position, event_at, parked, parked_at, updated_at) on read.generations to bizing_projector;
grant insert, update, delete on read.rebuild_parts, read.rebuild_streams, read.rebuild_diffs, read.projection_rates to bizing_projector;
grant update (state, phase, phases, target, events_total, events_done, rate_per_s, compare, error, ended_at, owner, lease_until, fence, generation, updated_at)
  on read.rebuilds to bizing_projector;
grant execute on function core.holds_rebuild(uuid, bigint, boolean), core.prepare_rebuild(uuid, bigint), core.missing_indexes(text, int),
  core.make_index(uuid, bigint, text), core.analyze_generation(uuid, bigint), core.swap_rebuild(uuid, bigint), core.drop_generation(text, int),
  core.generation_schema(text, int) to bizing_projector;
do $$
declare
  t record;
begin
  for t in select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname ~ '^p_.*_g[0-9]+$' and c.relkind = 'r' loop
    execute format('grant usage on schema %I to bizing_projector', t.nspname);
    execute format('grant select, insert, update, delete on %I.%I to bizing_projector', t.nspname, t.relname);
  end loop;
end $$;
