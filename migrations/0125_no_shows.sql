-- Whether somebody came: two events that people of the place write, counted with each customer and in the daily report.
--
-- No event of the past tells of it, so what the read models get is what a rebuild would give them: none. Workers of an
-- earlier version pass over these events; they are to be started anew before people write them.
--
-- Locks: the rows of customers' history and of the daily report, exclusively, for a rewrite of the first: half a second for
-- 100,000 customers.

insert into core.event_types (name, schema_version) values ('NoShowRecorded', 1), ('NoShowWithdrawn', 1);
insert into core.event_rights (name, group_name) values ('NoShowRecorded', 'staff'), ('NoShowWithdrawn', 'staff');

do $$
declare
  place text;
begin
  for place in
    select nspname from pg_namespace where nspname = 'shape_customer_history_v1' or nspname ~ '^p_customer_history_g[0-9]+$' order by nspname
  loop
    if to_regclass(format('%I.customer_history', place)) is null then continue; end if;
    execute format('update %I.customer_history set no_shows = 0 where no_shows is null', place);
    execute format('alter table %I.customer_history alter column no_shows set default 0, alter column no_shows set not null', place);
  end loop;
  for place in
    select nspname from pg_namespace where nspname = 'shape_daily_report_v1' or nspname ~ '^p_daily_report_g[0-9]+$' order by nspname
  loop
    if to_regclass(format('%I.report_bookings', place)) is null then continue; end if;
    execute format('alter table %I.report_bookings add column no_show boolean not null default false', place);
  end loop;
end $$;

-- A view names its columns, so the one that reads the live rows has to be told of the new one. As in 0008.
do $$
declare
  place text;
  columns text;
begin
  select core.generation_schema(name, generation) into place from read.generations where name = 'daily_report' and role = 'live' and version = 1;
  if place is null then return; end if;
  select string_agg(quote_ident(attname), ', ' order by attnum) into columns
    from pg_attribute where attrelid = format('%I.report_bookings', place)::regclass and attnum > 0 and not attisdropped;
  execute format('create or replace view read.report_bookings_v1 as select %s from %I.report_bookings', columns, place);
end $$;

-- As in 0011, with those who did not come and their share of the visits of that day.
create or replace view read.daily_report_v1 as
  with said as (
    select booked_day as day, zone, currency, 1 as made, 0 as confirmed, 0 as cancelled, 0 as expired, 0 as visits, 0 as booked_min,
           lead_min, 0::bigint as captured_minor, 0::bigint as refunded_minor, 0 as missed from read.report_bookings_v1
    union all select confirmed_day, zone, currency, 0, 1, 0, 0, 0, 0, null, 0, 0, 0 from read.report_bookings_v1 where confirmed_day is not null
    union all select cancelled_day, zone, currency, 0, 0, 1, 0, 0, 0, null, 0, 0, 0 from read.report_bookings_v1 where cancelled_day is not null
    union all select expired_day, zone, currency, 0, 0, 0, 1, 0, 0, null, 0, 0, 0 from read.report_bookings_v1 where expired_day is not null
    union all select starts_day, zone, currency, 0, 0, 0, 0, 1, duration_min, null, 0, 0, no_show::int from read.report_bookings_v1
               where confirmed_day is not null and cancelled_day is null
    union all select day, zone, currency, 0, 0, 0, 0, 0, 0, null, captured_minor, refunded_minor, 0 from read.report_money_v1
  )
  select day, zone, currency, sum(made)::bigint as made, sum(confirmed)::bigint as confirmed, sum(cancelled)::bigint as cancelled,
         sum(expired)::bigint as expired, sum(visits)::bigint as visits, sum(booked_min)::bigint as booked_min,
         sum(captured_minor)::bigint as captured_minor, sum(refunded_minor)::bigint as refunded_minor,
         sum(missed)::bigint as no_shows,
         percentile_cont(0.5) within group (order by lead_min) as lead_median_min, round(avg(lead_min), 1) as lead_average_min,
         count(*) filter (where lead_min < 60) as lead_within_hour, count(*) filter (where lead_min >= 60 and lead_min < 1440) as lead_within_day,
         count(*) filter (where lead_min >= 1440 and lead_min < 10080) as lead_within_week, count(*) filter (where lead_min >= 10080) as lead_longer,
         -- of the visits that were to take place; null where there was none
         round(sum(missed)::numeric / nullif(sum(visits), 0), 4) as no_show_rate
    from said group by day, zone, currency;
