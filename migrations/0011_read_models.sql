-- Six more read models: schedule, customers' history, payments ledger, saga and delivery statistics, daily report.
--
-- Their rows are facts of one booking each; what is counted by day or account is a view over them, exact at any moment
-- and with nothing that could drift. All of them are bounded by a day or a booking through an index. Nothing personal
-- stands in them, so that an erasure has nothing to do here.
--
-- Locks: none on existing tables. The new ones are filled by whoever follows the log.

-- ---- schedule ----------------------------------------------------------------------------------------------------

create schema shape_schedule_v1;
create table shape_schedule_v1.schedule_bookings (
  booking_id uuid primary key,
  reference text not null,
  customer_id uuid not null,
  service_id uuid not null,
  service_name text not null,
  resources jsonb not null,                -- [{id, name, role}]
  zone text not null,
  starts_at timestamptz not null,          -- of the service; the slot has the buffers too
  ends_at timestamptz not null,
  state text not null check (state in ('held', 'awaiting_payment', 'confirmed', 'cancelled', 'expired')),
  hold_expires_at timestamptz              -- a hold that is over is free, whether or not an event has said so yet
) with (fillfactor = 80);
create table shape_schedule_v1.schedule_slots (
  claim_id uuid not null,
  day date not null,                       -- in the zone of the booking; a slot over midnight has a row for each day
  resource_id uuid not null,
  unit smallint not null,
  resource_name text not null,
  role text not null,
  booking_id uuid not null,
  blocked_from timestamptz not null,       -- [from, until), buffers included, whole on each of its days
  blocked_until timestamptz not null,
  released_at timestamptz,
  primary key (claim_id, day)
) with (fillfactor = 80);
create index on shape_schedule_v1.schedule_slots (resource_id, day, blocked_from);
create index on shape_schedule_v1.schedule_slots (day);
create index on shape_schedule_v1.schedule_slots (booking_id);
select core.begin_projection('schedule', 1);

-- What is taken. Ask by resource and day.
create view read.schedule_v1 as
  select s.resource_id, s.day, s.unit, s.blocked_from, s.blocked_until, s.claim_id, s.resource_name, s.role, b.booking_id, b.reference,
         b.customer_id, b.service_id, b.service_name, b.zone, b.starts_at, b.ends_at, b.state, b.hold_expires_at
    from read.schedule_slots_v1 s join read.schedule_bookings_v1 b using (booking_id)
   where s.released_at is null;

-- ---- customers' history ------------------------------------------------------------------------------------------

create schema shape_customer_history_v1;
create table shape_customer_history_v1.history_bookings (
  booking_id uuid primary key,
  customer_id uuid not null,
  starts_at timestamptz not null,
  confirmed boolean not null,
  ended boolean not null                   -- cancelled or expired
) with (fillfactor = 80);
create table shape_customer_history_v1.customer_history (
  customer_id uuid primary key,
  bookings bigint not null,
  confirmed bigint not null,               -- ever, whatever became of them
  cancelled bigint not null,
  expired bigint not null,
  no_shows bigint,                         -- null = not known: no event tells it yet
  first_booking_at timestamptz,            -- when they booked
  last_booking_at timestamptz,
  last_start_at timestamptz                -- of what was confirmed
) with (fillfactor = 70);
create table shape_customer_history_v1.customer_spend (
  customer_id uuid not null,
  currency text not null,
  captured_minor bigint not null,
  refunded_minor bigint not null,
  primary key (customer_id, currency)
) with (fillfactor = 70);
select core.begin_projection('customer_history', 1);

-- ---- payments ledger ---------------------------------------------------------------------------------------------

create schema shape_ledger_v1;
create table shape_ledger_v1.ledger_bookings (
  booking_id uuid primary key,
  customer_id uuid not null,
  zone text not null,
  currency text not null,
  price_minor bigint not null,
  confirmed boolean not null,
  ended boolean not null,
  captured_minor bigint not null,
  refunded_minor bigint not null,
  given_up_minor bigint not null           -- refunded while the booking stood
) with (fillfactor = 80);
-- A transfer is both sides of a posting in one row and one currency: what it posts sums to zero by its shape. An event
-- posts one or more of them.
create table shape_ledger_v1.ledger_transfers (
  position bigint not null,
  line smallint not null,
  booking_id uuid not null,
  event_id uuid not null,
  event_name text not null,
  provider_ref text,
  occurred_at timestamptz not null,
  day date not null,
  debit text not null check (debit in ('customer_receivable', 'provider_clearing', 'revenue', 'refunds', 'fees')),
  credit text not null check (credit in ('customer_receivable', 'provider_clearing', 'revenue', 'refunds', 'fees')),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  amount_minor bigint not null check (amount_minor > 0),
  primary key (position, line),
  constraint two_accounts check (debit <> credit)
);
create index on shape_ledger_v1.ledger_transfers (booking_id);
create index on shape_ledger_v1.ledger_transfers (day);
select core.begin_projection('ledger', 1);

-- The same as postings: a debit is positive, a credit negative.
create view read.ledger_postings_v1 as
  select t.position, t.line, t.booking_id, t.event_id, t.event_name, t.occurred_at, t.day, p.account, t.currency, p.amount_minor
    from read.ledger_transfers_v1 t
   cross join lateral (values (t.debit, t.amount_minor), (t.credit, -t.amount_minor)) as p(account, amount_minor);
-- Of a booking. receivable_minor: what the customer owes; below zero, what is owed to them. Fees: null = not known, since
-- no event tells them.
create view read.ledger_balances_v1 as
  select booking_id, currency,
         coalesce(sum(amount_minor) filter (where account = 'customer_receivable'), 0)::bigint as receivable_minor,
         coalesce(sum(amount_minor) filter (where account = 'provider_clearing'), 0)::bigint as at_provider_minor,
         coalesce(-sum(amount_minor) filter (where account = 'revenue'), 0)::bigint as revenue_minor,
         coalesce(sum(amount_minor) filter (where account = 'refunds'), 0)::bigint as refunds_minor,
         sum(amount_minor) filter (where account = 'fees')::bigint as fees_minor
    from read.ledger_postings_v1 group by booking_id, currency;
create view read.ledger_days_v1 as
  select day, currency, account,
         coalesce(sum(amount_minor) filter (where amount_minor > 0), 0)::bigint as debited_minor,
         coalesce(-sum(amount_minor) filter (where amount_minor < 0), 0)::bigint as credited_minor,
         sum(amount_minor)::bigint as moved_minor
    from read.ledger_postings_v1 group by day, currency, account;
create view read.ledger_accounts_v1 as
  select currency, account, sum(moved_minor)::bigint as balance_minor from read.ledger_days_v1 group by currency, account;

-- ---- saga statistics ---------------------------------------------------------------------------------------------

create schema shape_saga_statistics_v1;
create table shape_saga_statistics_v1.saga_runs (
  booking_id uuid primary key,
  correlation_id uuid not null,
  zone text not null,
  state text not null check (state in ('running', 'confirmed', 'done', 'undoing', 'undone')),
  started_at timestamptz not null,
  started_day date not null,
  held_at timestamptz,
  authorised_at timestamptz,
  captured_at timestamptz,
  confirmed_at timestamptz,
  told_at timestamptz,
  turned_at timestamptz,
  released_at timestamptz,
  refund_open boolean not null,            -- asked for and not done, failed ones among them
  undone_at timestamptz,
  turned_because text,                     -- asked, hold_expired, payment_failed, not_told
  failed_step text,                        -- payment, notify; null = it did not fail
  declines int not null,
  lost_messages int not null
) with (fillfactor = 70);
create index on shape_saga_statistics_v1.saga_runs (started_day);
select core.begin_projection('saga_statistics', 1);

create view read.saga_days_v1 as
  select started_day as day, zone, count(*) as started,
         count(*) filter (where state = 'done') as done,
         count(*) filter (where state = 'confirmed') as confirmed,
         count(*) filter (where state = 'undone') as undone,
         count(*) filter (where state in ('running', 'undoing')) as open,
         sum(declines)::bigint as declines, sum(lost_messages)::bigint as lost_messages,
         percentile_cont(array[0.5, 0.95, 0.99]) within group (order by extract(epoch from told_at - started_at) * 1000) as done_p50_p95_p99_ms,
         percentile_cont(array[0.5, 0.95, 0.99]) within group (order by extract(epoch from undone_at - turned_at) * 1000) as undo_p50_p95_p99_ms
    from read.saga_runs_v1 group by started_day, zone;
create view read.saga_failures_v1 as
  select started_day as day, zone, failed_step, turned_because, count(*) as runs
    from read.saga_runs_v1 where turned_because is not null group by started_day, zone, failed_step, turned_because;
-- Seconds to the end, in steps of two: 1 holds what took up to 1 s, 2 what took 1 to 2 s, 4 what took 2 to 4 s, ...
create view read.saga_durations_v1 as
  select started_day as day, zone, state, power(2, greatest(ceil(log(2, greatest(seconds, 0.000001))), 0))::bigint as upto_s, count(*) as runs
    from (select started_day, zone, state, extract(epoch from coalesce(told_at, undone_at) - started_at) as seconds
            from read.saga_runs_v1 where state in ('done', 'undone')) x
   group by 1, 2, 3, 4;

-- ---- delivery statistics -----------------------------------------------------------------------------------------

create schema shape_delivery_statistics_v1;
create table shape_delivery_statistics_v1.delivery_places (
  booking_id uuid primary key,
  zone text not null
);
create table shape_delivery_statistics_v1.delivery_outcomes (
  position bigint primary key,
  delivery_id uuid not null,
  booking_id uuid not null,
  template text not null,
  channel text not null,
  outcome text not null check (outcome in ('sent', 'failed')),
  attempts int not null,
  occurred_at timestamptz not null,
  day date not null
);
create index on shape_delivery_statistics_v1.delivery_outcomes (day);
select core.begin_projection('delivery_statistics', 1);

create view read.delivery_days_v1 as
  select day, template, channel, outcome, count(*) as messages, count(*) filter (where attempts <= 1) as at_first_try,
         sum(attempts)::bigint as attempts, max(attempts) as most_attempts
    from read.delivery_outcomes_v1 group by day, template, channel, outcome;

-- ---- daily report ------------------------------------------------------------------------------------------------

create schema shape_daily_report_v1;
create table shape_daily_report_v1.report_bookings (
  booking_id uuid primary key,
  zone text not null,
  currency text not null,
  price_minor bigint not null,
  service_id uuid not null,
  booked_day date not null,
  starts_day date not null,
  duration_min int not null,
  lead_min bigint not null,                -- from booking to start
  confirmed_day date,
  cancelled_day date,
  cancelled_by text,
  expired_day date
) with (fillfactor = 70);
create index on shape_daily_report_v1.report_bookings (booked_day);
create index on shape_daily_report_v1.report_bookings (starts_day);
create index on shape_daily_report_v1.report_bookings (confirmed_day) where confirmed_day is not null;
create index on shape_daily_report_v1.report_bookings (cancelled_day) where cancelled_day is not null;
create index on shape_daily_report_v1.report_bookings (expired_day) where expired_day is not null;
create table shape_daily_report_v1.report_resources (
  booking_id uuid not null,
  resource_id uuid not null,
  role text not null,
  starts_day date not null,
  duration_min int not null,
  primary key (booking_id, resource_id)
);
create index on shape_daily_report_v1.report_resources (starts_day, resource_id);
create table shape_daily_report_v1.report_money (
  position bigint primary key,
  booking_id uuid not null,
  day date not null,
  zone text not null,
  currency text not null,
  captured_minor bigint not null,
  refunded_minor bigint not null
);
create index on shape_daily_report_v1.report_money (day);
select core.begin_projection('daily_report', 1);

-- Each number belongs to the day on which it happened, in the zone of the place; visits and booked minutes to the day on
-- which they take place. no_shows: null = not known, since no event tells it yet.
create view read.daily_report_v1 as
  with said as (
    select booked_day as day, zone, currency, 1 as made, 0 as confirmed, 0 as cancelled, 0 as expired, 0 as visits, 0 as booked_min,
           lead_min, 0::bigint as captured_minor, 0::bigint as refunded_minor from read.report_bookings_v1
    union all select confirmed_day, zone, currency, 0, 1, 0, 0, 0, 0, null, 0, 0 from read.report_bookings_v1 where confirmed_day is not null
    union all select cancelled_day, zone, currency, 0, 0, 1, 0, 0, 0, null, 0, 0 from read.report_bookings_v1 where cancelled_day is not null
    union all select expired_day, zone, currency, 0, 0, 0, 1, 0, 0, null, 0, 0 from read.report_bookings_v1 where expired_day is not null
    union all select starts_day, zone, currency, 0, 0, 0, 0, 1, duration_min, null, 0, 0 from read.report_bookings_v1
               where confirmed_day is not null and cancelled_day is null
    union all select day, zone, currency, 0, 0, 0, 0, 0, 0, null, captured_minor, refunded_minor from read.report_money_v1
  )
  select day, zone, currency, sum(made)::bigint as made, sum(confirmed)::bigint as confirmed, sum(cancelled)::bigint as cancelled,
         sum(expired)::bigint as expired, sum(visits)::bigint as visits, sum(booked_min)::bigint as booked_min,
         sum(captured_minor)::bigint as captured_minor, sum(refunded_minor)::bigint as refunded_minor,
         null::bigint as no_shows,
         percentile_cont(0.5) within group (order by lead_min) as lead_median_min, round(avg(lead_min), 1) as lead_average_min,
         count(*) filter (where lead_min < 60) as lead_within_hour, count(*) filter (where lead_min >= 60 and lead_min < 1440) as lead_within_day,
         count(*) filter (where lead_min >= 1440 and lead_min < 10080) as lead_within_week, count(*) filter (where lead_min >= 10080) as lead_longer
    from said group by day, zone, currency;

-- Booked minutes of each person at work against the opening minutes of that weekday, as the working hours stand now: no
-- event tells them, so they are looked up when this is read and are no part of the projection. Buffers do not count.
-- opening_min is null where no hours are known, and then so is the share.
create view read.utilisation_v1 as
  select d.day, r.resource_id, r.name, coalesce(b.booked_min, 0) as booked_min, o.opening_min,
         round(coalesce(b.booked_min, 0)::numeric / nullif(o.opening_min, 0), 4) as utilisation
    from (select distinct starts_day as day from read.report_resources_v1) d
   cross join booking.resource r
   cross join lateral (
     select sum(x.duration_min)::bigint as booked_min from read.report_resources_v1 x join read.report_bookings_v1 k using (booking_id)
      where x.starts_day = d.day and x.resource_id = r.resource_id and k.confirmed_day is not null and k.cancelled_day is null) b
   cross join lateral (
     select (sum(extract(epoch from h.closes - h.opens)) / 60)::bigint as opening_min from booking.working_hours h
      where h.resource_id = r.resource_id and h.weekday = extract(isodow from d.day)) o
   where r.kind = 'staff' and r.active;

grant select on read.schedule_v1, read.ledger_postings_v1, read.ledger_balances_v1, read.ledger_days_v1, read.ledger_accounts_v1,
  read.saga_days_v1, read.saga_failures_v1, read.saga_durations_v1, read.delivery_days_v1, read.daily_report_v1, read.utilisation_v1
  to bizing_viewer, bizing_worker;
