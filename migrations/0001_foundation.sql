-- Schemas, the installation, settings and audit.
--
-- Group names (bizing_owner, bizing_viewer < bizing_staff < bizing_manager < bizing_admin, bizing_worker) are
-- written here without their suffix. Roles belong to the whole server, so `migrate` adds the installation's
-- suffix to each of these six words before it runs a file, and makes the roles first.
-- Everything is owned by bizing_owner, as which nobody can log in.
--
-- Locks: none on existing tables; this is an empty database.

-- A function is for nobody until it is granted to somebody.
alter default privileges revoke execute on functions from public;

create extension if not exists btree_gist;
create extension if not exists pg_trgm;

create schema api;       -- what people and workers may call
create schema core;      -- events, streams
create schema booking;   -- catalogue and inventory
create schema saga;      -- orchestration
create schema delivery;  -- everything that leaves, and the inbox
create schema read;      -- projections
create schema queue;     -- jobs
-- schema admin exists already: it holds the table of applied migrations

create table admin.installation (
  only_row boolean primary key default true check (only_row),
  installation_id text not null check (installation_id ~ '^[a-z0-9]{8}$'),  -- part of every idempotency key
  mode text not null check (mode in ('sandbox', 'live')),                    -- never changes: the two never mix
  kind text not null check (kind in ('demo', 'own', 'server')),
  created_at timestamptz not null default now()
);
create function admin.installation_is_fixed() returns trigger language plpgsql as $$
begin
  raise exception 'an installation never changes its mode or its id' using errcode = 'check_violation';
end $$;
create trigger fixed before update or delete on admin.installation
  for each row execute function admin.installation_is_fixed();
create trigger fixed_whole before truncate on admin.installation
  for each statement execute function admin.installation_is_fixed();

create table admin.setting (
  name text primary key,
  value jsonb not null,
  changed_at timestamptz not null default now(),
  changed_by text not null default session_user
);

-- The role that a group has on this server.
create function admin.role_of(p_group text) returns name language sql immutable as $$
  select (case p_group when 'viewer' then 'bizing_viewer' when 'staff' then 'bizing_staff' when 'manager' then 'bizing_manager'
                       when 'admin' then 'bizing_admin' when 'worker' then 'bizing_worker' end)::name
$$;
create function admin.caller_is(p_group text) returns boolean language sql stable as $$
  select pg_has_role(session_user, admin.role_of(p_group), 'member')
$$;
-- The highest group of people that the caller is in; null for a login that is in none.
create function admin.caller_group() returns text language sql stable as $$
  select g from unnest(array['admin', 'manager', 'staff', 'viewer']) with ordinality as x(g, o)
   where admin.caller_is(g) order by o limit 1
$$;
