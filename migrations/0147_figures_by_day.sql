-- How sagas went over 30 and 90 days is read from sums by day, and not counted anew from each of them: among a million sagas the page of
-- figures took a fifth of a second and more. A day that is over is summed up once, by a worker; today, the first day where it is asked for
-- in part, and each day that is not summed are counted as before, so nothing is late and nothing is missing before a worker came by.
--
-- What changes a day afterwards (a saga that is opened again, an end or a failure that is told late) takes its sums away in the same
-- transaction, and it is counted as before until a worker sums it again. So the figures are those of the rows, whatever happened.
--
-- Locks: saga.instance and saga.attempt for a moment while triggers are made; the ledger's rows hold writers off while an index is built,
-- about a second for a million. A worker that sums a day holds writers of sagas off for as long as that takes, some ten milliseconds, once
-- a day; where it has to wait for them itself, it tries again later.

-- Of days in UTC.
create table saga.day_over (
  day date not null, definition text not null, "over" bigint not null, completed bigint not null, warned bigint not null, compensated bigint not null,
  resolved bigint not null, primary key (day, definition));
-- sagas: those that failed so on that day, and on no later one. Then days add up to sagas, and one that failed on two days is one.
create table saga.day_failed (
  day date not null, step text not null, undoing boolean not null, cause text not null, tries bigint not null, sagas bigint not null, last_at timestamptz not null,
  primary key (day, step, undoing, cause));
-- Whose sums are true.
create table saga.day_summed (day date primary key);

create function saga.day_of(p_at timestamptz) returns date language sql immutable set search_path = pg_catalog as $$ select (p_at at time zone 'UTC')::date $$;
create function saga.begin_of(p_day date) returns timestamptz language sql immutable set search_path = pg_catalog as $$ select p_day::timestamp at time zone 'UTC' $$;

-- ---- counting ---------------------------------------------------------------------------------------------------------

create function saga.count_over(p_from timestamptz, p_to timestamptz)
returns table (definition text, "over" bigint, completed bigint, warned bigint, compensated bigint, resolved bigint)
language sql stable set search_path = pg_catalog, saga as $$
  select i.definition, count(*), count(*) filter (where i.state = 'completed' and i.outcome is distinct from 'completed_with_warnings'),
         count(*) filter (where i.outcome = 'completed_with_warnings'), count(*) filter (where i.state = 'compensated'), count(*) filter (where i.state = 'resolved')
    from saga.instance i where i.finished_at >= p_from and i.finished_at < p_to group by 1
$$;

create function saga.count_failed(p_from timestamptz, p_to timestamptz)
returns table (step text, undoing boolean, cause text, tries bigint, sagas bigint, last_at timestamptz)
language sql stable set search_path = pg_catalog, saga as $$
  select a.step, a.direction = 'C', a.error_class, count(*),
         count(distinct a.saga_id) filter (where not exists (
           select from saga.attempt b where b.saga_id = a.saga_id and b.step = a.step and b.direction = a.direction and b.error_class = a.error_class and b.started_at >= p_to)),
         max(a.started_at)
    from saga.attempt a where a.started_at >= p_from and a.started_at < p_to and a.error_class is not null group by 1, 2, 3
$$;

-- ---- a day is over ----------------------------------------------------------------------------------------------------

-- Sums up the newest day that is over and not summed, of those that figures are asked for. `false`: there is none, or not now.
create function saga.sum_day() returns boolean language plpgsql security definer set search_path = pg_catalog, saga set lock_timeout = '100ms' as $$
declare
  today date := saga.day_of(now());
  summed date;
begin
  select d.day into summed
    from generate_series(
           greatest(saga.day_of(least((select min(i.finished_at) from saga.instance i where i.finished_at is not null),
                                      (select min(a.started_at) from saga.attempt a where a.error_class is not null))), today - 366), today - 1, interval '1 day') as d(day)
   where not exists (select from saga.day_summed s where s.day = d.day::date) order by d.day desc limit 1;
  if summed is null then return false; end if;
  -- Whoever has written something of that day and not yet said so is waited for; whoever writes it later takes the sums away.
  lock table saga.instance, saga.attempt in share row exclusive mode;
  delete from saga.day_over o where o.day = summed;
  delete from saga.day_failed f where f.day = summed;
  insert into saga.day_over select summed, c.* from saga.count_over(saga.begin_of(summed), saga.begin_of(summed + 1)) c;
  insert into saga.day_failed select summed, c.* from saga.count_failed(saga.begin_of(summed), saga.begin_of(summed + 1)) c;
  insert into saga.day_summed values (summed) on conflict do nothing;
  return true;
exception when lock_not_available then return false;
end $$;

-- ---- a day changes afterwards -----------------------------------------------------------------------------------------

create function saga.unsum_ends() returns trigger language plpgsql security definer set search_path = pg_catalog, saga as $$
begin
  delete from saga.day_summed s
   where s.day in (saga.day_of(case when tg_op <> 'INSERT' then old.finished_at end), saga.day_of(case when tg_op <> 'DELETE' then new.finished_at end));
  return null;
end $$;
-- The clock as it is, since a transaction may last past midnight. What ends today, as nearly all does, calls nothing.
create trigger unsum_new after insert on saga.instance for each row
  when (new.finished_at < date_trunc('day', clock_timestamp(), 'UTC')) execute function saga.unsum_ends();
create trigger unsum_changed after update on saga.instance for each row
  when ((old.finished_at < date_trunc('day', clock_timestamp(), 'UTC') or new.finished_at < date_trunc('day', clock_timestamp(), 'UTC'))
        and (old.definition, old.state, old.outcome, old.finished_at) is distinct from (new.definition, new.state, new.outcome, new.finished_at))
  execute function saga.unsum_ends();
create trigger unsum_gone after delete on saga.instance for each row
  when (old.finished_at < date_trunc('day', clock_timestamp(), 'UTC')) execute function saga.unsum_ends();

-- Also of the day on which the saga failed so before: it is no longer the last one.
create function saga.unsum_failure() returns trigger language plpgsql security definer set search_path = pg_catalog, saga as $$
begin
  delete from saga.day_summed s
   where s.day in (saga.day_of(new.started_at),
                   (select saga.day_of(max(b.started_at)) from saga.attempt b
                     where b.saga_id = new.saga_id and b.step = new.step and b.direction = new.direction and b.error_class = new.error_class and b.started_at < new.started_at));
  return null;
end $$;
create trigger unsum_failure after insert on saga.attempt for each row when (new.error_class is not null) execute function saga.unsum_failure();

-- ---- what people read -------------------------------------------------------------------------------------------------

-- The days since then whose sums are read, and the times that are counted.
create function saga.summed_since(p_since timestamptz) returns setof date language sql stable set search_path = pg_catalog, saga as $$
  select s.day from saga.day_summed s where s.day >= saga.day_of(p_since) and saga.begin_of(s.day) >= p_since and s.day < saga.day_of(now())
$$;
create function saga.counted_since(p_since timestamptz) returns table (from_at timestamptz, to_at timestamptz) language sql stable rows 5 set search_path = pg_catalog, saga as $$
  select greatest(p_since, saga.begin_of(d.day::date)), case when d.day::date >= saga.day_of(now()) then 'infinity' else saga.begin_of(d.day::date + 1) end
    from generate_series(saga.day_of(p_since), saga.day_of(now()), interval '1 day') as d(day)
   where d.day::date not in (select saga.summed_since(p_since))
$$;

create function api.sagas_over(p_since timestamptz)
returns table (definition text, "over" bigint, completed bigint, warned bigint, compensated bigint, resolved bigint)
language sql stable security definer set search_path = pg_catalog, saga as $$
  select x.definition, sum(x."over")::bigint, sum(x.completed)::bigint, sum(x.warned)::bigint, sum(x.compensated)::bigint, sum(x.resolved)::bigint
    from (select o.definition, o."over", o.completed, o.warned, o.compensated, o.resolved from saga.day_over o where o.day in (select saga.summed_since(p_since))
          union all
          select c.* from saga.counted_since(p_since) t cross join lateral saga.count_over(t.from_at, t.to_at) c) x
   group by 1
$$;

create function api.sagas_failed(p_since timestamptz)
returns table (step text, undoing boolean, cause text, tries bigint, sagas bigint, last_at timestamptz)
language sql stable security definer set search_path = pg_catalog, saga as $$
  select x.step, x.undoing, x.cause, sum(x.tries)::bigint, sum(x.sagas)::bigint, max(x.last_at)
    from (select f.step, f.undoing, f.cause, f.tries, f.sagas, f.last_at from saga.day_failed f where f.day in (select saga.summed_since(p_since))
          union all
          select c.* from saga.counted_since(p_since) t cross join lateral saga.count_failed(t.from_at, t.to_at) c) x
   group by 1, 2, 3
$$;

-- What went back is a twentieth of what the ledger posts, and found by itself.
do $$
declare
  place text;
begin
  for place in select nspname from pg_namespace where nspname ~ '^(shape_ledger_v|p_ledger_g)[0-9]+$' order by nspname loop
    if to_regclass(format('%I.ledger_transfers', place)) is null then continue; end if;
    execute format('create index ledger_given_back on %I.ledger_transfers (day) include (currency, amount_minor, debit, credit)
                     where event_name in (''PaymentRefunded'', ''RefundReturned'')', place);
  end loop;
end $$;

revoke all on function saga.day_of(timestamptz), saga.begin_of(date), saga.count_over(timestamptz, timestamptz), saga.count_failed(timestamptz, timestamptz), saga.sum_day(),
  saga.unsum_ends(), saga.unsum_failure(), saga.summed_since(timestamptz), saga.counted_since(timestamptz), api.sagas_over(timestamptz), api.sagas_failed(timestamptz) from public;
grant execute on function saga.sum_day() to bizing_worker;
grant execute on function api.sagas_over(timestamptz), api.sagas_failed(timestamptz) to bizing_viewer;
