-- People: who has a login of their own, in which group, and when they were last here. The logins themselves are the server's; here
-- stands what it does not keep: the person's name, who gave the login, and each change to it.
--
-- Locks: none on existing tables.

create table admin.person (
  login name primary key check (login::text ~ '^[a-z][a-z0-9_]{1,30}$'),
  display_name text not null check (length(btrim(display_name)) between 1 and 80),
  created_at timestamptz not null default now(),
  created_by name not null,
  password_at timestamptz not null default now(),
  disabled_at timestamptz,
  disabled_by name,
  last_seen_at timestamptz,
  constraint disabled check ((disabled_at is null) = (disabled_by is null))
);
create table admin.person_change (
  login name not null,
  at timestamptz not null default clock_timestamp(),
  by name not null,
  what text not null check (what in ('added', 'viewer', 'staff', 'manager', 'admin', 'password', 'disabled', 'enabled')),
  primary key (login, at)
);

-- Every login in a group of this installation, a person's or a computer's; and people whose login is not on this server, as after a
-- restore on another one.
create view read.people_v1 as
  with groups as (
    select g, admin.role_of(g) as role, no from unnest(array['admin', 'manager', 'staff', 'viewer']) with ordinality as x(g, no)),
  logins as (
    select distinct on (r.rolname) r.rolname as login, s.g as "group", r.rolcanlogin as active
      from groups s
      join pg_catalog.pg_roles o on o.rolname = s.role
      join pg_catalog.pg_auth_members m on m.roleid = o.oid
      join pg_catalog.pg_roles r on r.oid = m.member
     where r.rolname not in (select role from groups) and not r.rolsuper
     order by r.rolname, s.no)
  select coalesce(l.login, p.login) as login, p.display_name, l."group", coalesce(l.active, false) as active, l.login is null as missing,
         p.login is null as computer, p.created_at, p.created_by, p.password_at, p.disabled_at, p.disabled_by, p.last_seen_at
    from logins l full join admin.person p on p.login = l.login;
create view read.people_changes_v1 as select login, at, by, what from admin.person_change;

-- A window says that somebody is there; at most once a minute is it written.
create function api.seen() returns void language sql security definer set search_path = pg_catalog, admin as $$
  update admin.person p set last_seen_at = now()
   where p.login = session_user and (p.last_seen_at is null or p.last_seen_at < now() - interval '1 minute')
$$;

revoke all on function api.seen from public;
grant execute on function api.seen to bizing_viewer;
grant select on read.people_v1, read.people_changes_v1 to bizing_admin;
