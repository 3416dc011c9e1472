-- Operations, continued: who keeps old rows, prepared transactions among them; what the doctor found, for everybody who may
-- look; and how many rows a projection has.
--
-- Locks: none on existing tables.

-- As in 0009, and a prepared transaction too: it has no process, keeps old rows all the same, and is the one that nobody
-- looks for.
create or replace function api.oldest_snapshot() returns table (pid int, age_seconds double precision, query text, login name, state text, database name)
language sql volatile security definer set search_path = pg_catalog as $$
  select x.pid, x.age_seconds, x.query, x.login, x.state, x.database
    from (select a.pid, extract(epoch from clock_timestamp() - coalesce(a.xact_start, a.state_change))::double precision as age_seconds,
                 left(a.query, 200) as query, a.usename as login, a.state, a.datname as database,
                 greatest(age(a.backend_xmin), age(a.backend_xid)) as behind, a.xact_start as since
            from pg_stat_activity a
           where a.backend_type = 'client backend' and a.pid <> pg_backend_pid() and (a.backend_xmin is not null or a.backend_xid is not null)
          union all
          select null, extract(epoch from clock_timestamp() - p.prepared)::double precision, 'prepared transaction ' || p.gid, p.owner, 'prepared',
                 p.database, age(p.transaction), p.prepared
            from pg_prepared_xacts p) x
   order by x.behind desc nulls last, x.since limit 1
$$;

-- The last word of the doctor on this database, whoever asked it.
create table admin.doctor_run (
  run_id uuid primary key,
  at timestamptz not null default now(),
  asked_by name not null default session_user,
  seconds double precision not null,
  deep boolean not null,                   -- every event was hashed again
  upto_position bigint not null,           -- the log up to here was there when it began
  events bigint not null,
  audits jsonb not null check (jsonb_typeof(audits) = 'object')   -- name of each audit: how much it found
);
create index on admin.doctor_run (at);
create view read.doctor_runs_v1 as
  select run_id, at, asked_by, seconds, deep, upto_position, events, audits from admin.doctor_run;

-- Only logins that may run the doctor may say what it found. Each kind of run is kept for a month, the newest of each for good.
create function api.record_doctor_run(p_run uuid, p_seconds double precision, p_deep boolean, p_upto bigint, p_events bigint, p_audits jsonb)
returns void language plpgsql security definer set search_path = pg_catalog, admin as $$
begin
  insert into doctor_run (run_id, seconds, deep, upto_position, events, audits)
    values (p_run, p_seconds, p_deep, p_upto, p_events, p_audits) on conflict (run_id) do nothing;
  delete from doctor_run d where d.at < now() - interval '30 days'
    and exists (select 1 from doctor_run n where n.deep = d.deep and n.at > d.at);
end $$;

-- Rows of a generation: counted where that costs little, else as the server's statistics have them, and null where they have
-- nothing yet.
create function api.generation_rows(p_name text, p_generation int) returns table (rows bigint, estimated boolean)
language plpgsql stable security definer set search_path = pg_catalog as $$
declare
  t record;
  n bigint;
begin
  rows := 0;
  estimated := false;
  for t in select c.oid::regclass as place, c.reltuples, pg_relation_size(c.oid) as bytes
             from pg_class c join pg_namespace s on s.oid = c.relnamespace
            where s.nspname = format('p_%s_g%s', p_name, p_generation) and c.relkind = 'r' loop
    if t.bytes <= 2 << 20 then
      execute format('select count(*) from %s', t.place) into n;
      rows := rows + n;
    elsif t.reltuples < 0 then
      return query select null::bigint, true;
      return;
    else
      rows := rows + t.reltuples::bigint;
      estimated := true;
    end if;
  end loop;
  return next;
end $$;

revoke all on function api.generation_rows(text, int), api.record_doctor_run(uuid, double precision, boolean, bigint, bigint, jsonb) from public;
grant execute on function api.record_doctor_run(uuid, double precision, boolean, bigint, bigint, jsonb) to bizing_admin, bizing_worker;
grant execute on function api.generation_rows(text, int) to bizing_viewer, bizing_worker;
grant select on read.doctor_runs_v1 to bizing_viewer, bizing_worker;
