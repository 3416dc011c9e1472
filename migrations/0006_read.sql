-- Projections. Tables carry the generation, views the shape of their rows: an open window keeps reading
-- read.bookings_v1 while another shape is built beside it.
--
-- Locks: none on existing tables.

create table read.checkpoints (
  name text not null,
  version int not null,
  position bigint not null default 0,      -- everything at or below it is in the tables
  event_at timestamptz,                    -- recorded time of the newest event applied
  updated_at timestamptz not null default now(),
  parked jsonb,                            -- event and error that stopped it; null = it runs
  primary key (name, version)
) with (fillfactor = 50);

create table read.customers_g1 (
  customer_id uuid primary key,
  name text not null,
  email text,
  phone text,
  erased boolean not null default false,
  bookings bigint not null default 0,
  last_booking_at timestamptz,
  search text not null default ''
);
create index on read.customers_g1 using gin (search gin_trgm_ops);
create view read.customers_v1 as
  select customer_id, name, email, phone, erased, bookings, last_booking_at, search from read.customers_g1;

create table read.bookings_g1 (
  booking_id uuid primary key,
  reference text not null,
  customer_id uuid not null,
  customer_name text not null,
  service_id uuid not null,
  service_name text not null,
  resources jsonb not null,                -- [{id, name}], staff first
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  zone text not null,
  state text not null,
  hold_expires_at timestamptz,
  payment text not null,
  payment_mode text not null,
  price_minor bigint not null,
  currency text not null,
  authorised_minor bigint not null default 0,
  captured_minor bigint not null default 0,
  refunded_minor bigint not null default 0,
  payment_intent text,
  pay_url text,
  cancelled jsonb,
  version bigint not null,
  correlation_id uuid not null,
  changed_at timestamptz not null,
  search text not null default ''
) with (fillfactor = 80);
create index on read.bookings_g1 (starts_at, booking_id);
create index on read.bookings_g1 (changed_at, booking_id);
create index on read.bookings_g1 (customer_name, booking_id);
create index on read.bookings_g1 (price_minor, booking_id);
create index on read.bookings_g1 (reference);
create index on read.bookings_g1 (customer_id);
create index on read.bookings_g1 (state, starts_at);
create index on read.bookings_g1 (payment, starts_at);
create index on read.bookings_g1 (service_id, starts_at);
create index on read.bookings_g1 using gin (resources jsonb_path_ops);
create index on read.bookings_g1 using gin (search gin_trgm_ops);
create view read.bookings_v1 as select * from read.bookings_g1;

create table read.timeline_g1 (
  booking_id uuid not null,
  position bigint not null,
  event_id uuid not null,
  event_name text not null,
  schema_version smallint not null,
  occurred_at timestamptz not null,
  actor text not null,
  on_behalf_of text,
  correlation_id uuid not null,
  causation_id uuid,
  data jsonb not null,
  primary key (booking_id, position)
);
create view read.timeline_v1 as select * from read.timeline_g1;

-- What the window shows of a saga, its effects and the messages, straight from the rows that decide.
create view read.sagas_v1 as
  select saga_id, definition, def_version, state, direction, "cursor", pivot_passed_at, version, lease_owner, lease_expires_at,
         wake_at, attempt, await_key, await_until, hold_expires_at, cancel_requested_at, cancel_requested_by, paused_at,
         park_reason, parked_at, error_class, error_message, outcome, booking_id, customer_id, amount_minor, currency, context,
         correlation_id, started_by, created_at, updated_at, finished_at
    from saga.instance;
create view read.saga_attempts_v1 as select * from saga.attempt;
create view read.effects_v1 as
  select effect_id, saga_id, step, direction, generation, provider, operation, idempotency_key, intended_at, first_sent_at,
         last_sent_at, sends, outcome, provider_object, provider_status, provider_request_id, resolved_at, resolved_via
    from saga.effect;
create view read.workers_v1 as
  select worker_id, host, app_version, kind, started_at, heartbeat_at, draining from saga.worker;
create view read.deliveries_v1 as
  select d.delivery_id, k.kind, k.name as destination, d.template, d.event_id, d.position, d.stream_id, d.correlation_id, d.state,
         d.attempt, d.next_at, d.give_up_at, d.outcome, d.created_at, d.finished_at
    from delivery.deliveries d join delivery.destinations k using (destination_id);
create view read.delivery_attempts_v1 as select * from delivery.attempts;
create view read.poll_cursors_v1 as select * from delivery.poll_cursor;
create view read.events_v1 as
  select e.position, s.stream_id, e.version, t.name, t.schema_version, e.event_id, e.correlation_id, e.causation_id, e.occurred_at,
         e.recorded_at, e.actor, e.metadata, e.data
    from core.events e join core.streams s using (stream_no) join core.event_types t using (type_no);
create view read.locations_v1 as select * from booking.location;
create view read.resources_v1 as select * from booking.resource;
create view read.services_v1 as select * from booking.service;
create view read.service_resources_v1 as select * from booking.service_resource;
create view read.working_hours_v1 as select * from booking.working_hours;
-- Live claims only: what is taken, by which booking, until when.
create view read.claims_v1 as
  select claim_id, resource_id, unit, during, kind, booking_id, expires_at from booking.inventory_claim where released_at is null;
create view read.installation_v1 as select installation_id, mode, kind, created_at from admin.installation;
create view read.settings_v1 as select name, value from admin.setting where name not like 'secret.%';
create view read.migrations_v1 as select version, description, installed_on, success from admin.schema_migrations;
