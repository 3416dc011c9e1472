-- Generations: the rows of a projection live in a schema of their own, p_<projection>_g<generation>, so that the same
-- SQL (which names its tables without a schema) fills the live rows or new ones beside them. What a window reads is
-- read.<table>_v<version>: the version is the shape of the rows, and the view points at the generation that is live.
--
-- shape_<projection>_v<version> holds the tables as they are declared, always empty: each generation is a copy of it.
-- A new projection is one module and one migration:
--   create schema shape_x_v1; create table shape_x_v1.x (...); create index ...; select core.begin_projection('x', 1);
--
-- Locks: the three tables of read models, exclusively, for as long as it takes to rename them. No row is touched.

create table read.generations (
  name text not null check (name ~ '^[a-z][a-z_]{0,30}$'),
  generation int not null check (generation > 0),
  version int not null check (version > 0),          -- shape of the rows
  role text not null check (role in ('building', 'live', 'previous')),
  position bigint not null default 0,                -- everything at or below it is in the rows
  event_at timestamptz,                              -- recorded time of the newest event applied
  parked jsonb,                                      -- event and error that stopped it; null = it runs
  paused_at timestamptz,
  paused_by text,
  made_at timestamptz not null default now(),
  live_since timestamptz,
  retired_at timestamptz,
  updated_at timestamptz not null default now(),
  primary key (name, generation)
) with (fillfactor = 50);
create unique index generations_one_live on read.generations (name) where role = 'live';
create unique index generations_one_building on read.generations (name) where role = 'building';

-- ---- how generations are made ------------------------------------------------------------------------------------

create function core.generation_schema(p_name text, p_generation int) returns text language sql immutable as $$
  select format('p_%s_g%s', p_name, p_generation)
$$;

-- An empty generation beside the live one. Bare: without indexes, for a load that makes them at its end.
create function core.make_generation(p_name text, p_version int, p_bare boolean) returns int
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
  -- a dropped generation keeps its number while its schema is still there
  while to_regnamespace(core.generation_schema(p_name, no)) is not null loop no := no + 1; end loop;
  target := core.generation_schema(p_name, no);
  execute format('create schema %I', target);
  execute format('grant usage on schema %I to bizing_worker', target);
  for t in select relname, reloptions from pg_class where relnamespace = shape::regnamespace and relkind = 'r' order by relname loop
    execute format('create table %I.%I (like %I.%I including all %s)', target, t.relname, shape, t.relname,
                   case when p_bare then 'excluding indexes' else '' end);
    if t.reloptions is not null then
      execute format('alter table %I.%I set (%s)', target, t.relname, array_to_string(t.reloptions, ', '));
    end if;
    execute format('grant select, insert, update, delete on %I.%I to bizing_worker', target, t.relname);
  end loop;
  insert into read.generations (name, generation, version, role) values (p_name, no, p_version, 'building');
  return no;
end $$;

-- Makes a generation the one that is read, in the caller's transaction. The one before it stays and is kept up to date.
create function core.publish_generation(p_name text, p_generation int) returns void
language plpgsql security definer set search_path = pg_catalog as $$
declare
  g read.generations;
  t record;
begin
  select * into g from read.generations where name = p_name and generation = p_generation for update;
  if not found then
    raise exception 'projection % has no generation %', p_name, p_generation using errcode = 'undefined_object';
  end if;
  for t in
    select c.relname, string_agg(quote_ident(a.attname), ', ' order by a.attnum) as columns
      from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where c.relnamespace = core.generation_schema(p_name, p_generation)::regnamespace and c.relkind = 'r' group by c.relname order by 1
  loop
    execute format('create or replace view read.%I as select %s from %I.%I', format('%s_v%s', t.relname, g.version), t.columns,
                   core.generation_schema(p_name, p_generation), t.relname);
    execute format('grant select on read.%I to bizing_viewer, bizing_worker', format('%s_v%s', t.relname, g.version));
  end loop;
  update read.generations set role = 'previous', retired_at = now(), updated_at = now() where name = p_name and role = 'live';
  update read.generations set role = 'live', live_since = now(), retired_at = null, updated_at = now()
   where name = p_name and generation = p_generation;
end $$;

-- The first generation of a declared shape, live at once and filled by whoever follows the log.
create function core.begin_projection(p_name text, p_version int) returns void
language sql security definer set search_path = pg_catalog as $$
  select core.publish_generation(p_name, core.make_generation(p_name, p_version, false))
$$;
revoke execute on function core.generation_schema(text, int), core.make_generation(text, int, boolean),
  core.publish_generation(text, int), core.begin_projection(text, int) from public;

-- ---- the three that are there become generation 1 ------------------------------------------------------------------

create schema p_bookings_g1;
create schema p_customers_g1;
create schema p_timeline_g1;
alter table read.bookings_g1 rename to bookings;
alter table read.customers_g1 rename to customers;
alter table read.timeline_g1 rename to timeline;
alter table read.bookings set schema p_bookings_g1;
alter table read.customers set schema p_customers_g1;
alter table read.timeline set schema p_timeline_g1;

create schema shape_bookings_v1;
create schema shape_customers_v1;
create schema shape_timeline_v1;
create table shape_bookings_v1.bookings (like p_bookings_g1.bookings including all) with (fillfactor = 80);
create table shape_customers_v1.customers (like p_customers_g1.customers including all);
create table shape_timeline_v1.timeline (like p_timeline_g1.timeline including all);

insert into read.generations (name, generation, version, role, position, event_at, parked, live_since, updated_at)
  select n, 1, 1, 'building', coalesce(c.position, 0), c.event_at, c.parked, now(), coalesce(c.updated_at, now())
    from unnest(array['bookings', 'customers', 'timeline']) n left join read.checkpoints c on c.name = n and c.version = 1;
select core.publish_generation(n, 1) from unnest(array['bookings', 'customers', 'timeline']) n;

-- Where the live generations stand: what windows of any version ask.
drop table read.checkpoints;
create view read.checkpoints as
  select name, version, position, event_at, updated_at, parked, generation, paused_at from read.generations where role = 'live';

-- ---- who may do what ---------------------------------------------------------------------------------------------

grant select on read.generations, read.checkpoints to bizing_viewer, bizing_worker;
grant update (position, event_at, parked, updated_at) on read.generations to bizing_worker;
-- People read the views only; a generation's own tables are the worker's.
revoke all on p_bookings_g1.bookings, p_customers_g1.customers, p_timeline_g1.timeline from bizing_viewer;
grant usage on schema p_bookings_g1, p_customers_g1, p_timeline_g1 to bizing_worker;
