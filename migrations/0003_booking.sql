-- Catalogue and inventory. Inventory is the write-side guard, not a projection: no replay ever touches it.
--
-- Locks: none on existing tables.

create table booking.location (
  location_id uuid primary key,
  business_name text not null,
  name text not null,
  zone text not null,                      -- IANA name; wall time plus zone is the truth of an appointment
  currency char(3) not null,
  active boolean not null default true
);

create table booking.resource (
  resource_id uuid primary key,
  location_id uuid not null references booking.location,
  kind text not null check (kind in ('staff', 'room', 'equipment', 'pool')),
  name text not null,
  capacity smallint not null default 1 check (capacity between 1 and 500),
  active boolean not null default true
);

create table booking.service (
  service_id uuid primary key,
  version int not null default 1,          -- a booking keeps the version it was sold under
  name text not null,
  category text not null default '',
  duration_min int not null check (duration_min between 5 and 1440),
  buffer_before_min int not null default 0 check (buffer_before_min between 0 and 240),
  buffer_after_min int not null default 0 check (buffer_after_min between 0 and 240),
  price_minor bigint not null check (price_minor >= 0),
  currency char(3) not null,
  active boolean not null default true
);

-- Who performs a service, and the rooms it can take place in.
create table booking.service_resource (
  service_id uuid not null references booking.service,
  resource_id uuid not null references booking.resource,
  primary key (service_id, resource_id)
);

-- Rules in the wall time of the location. ISO weekday: 1 = Monday.
create table booking.working_hours (
  resource_id uuid not null references booking.resource,
  weekday smallint not null check (weekday between 1 and 7),
  opens time not null,
  closes time not null,
  check (opens < closes),
  primary key (resource_id, weekday, opens)
);

-- The write side's register of bookings: a reference is given once.
create table booking.booking (
  booking_id uuid primary key,
  reference text not null unique check (reference ~ '^BK-[0-9A-HJKMNP-TV-Z]{6}$'),
  created_at timestamptz not null default now()
);

create table booking.inventory_claim (
  claim_id uuid primary key,
  resource_id uuid not null references booking.resource,
  unit smallint not null default 1 check (unit >= 1),   -- 1..capacity; above it lies the lane of deliberate overbooking
  during tstzrange not null                             -- service time and buffers, [start, end)
    check (not isempty(during) and lower_inc(during) and not upper_inc(during)
           and lower(during) is not null and upper(during) is not null),
  kind text not null check (kind in ('hold', 'booking', 'block')),
  booking_id uuid,
  expires_at timestamptz,                               -- null = firm. Not indexed, so that hold -> booking stays in the page
  released_at timestamptz,
  release_reason text,
  constraint inventory_claim_no_overlap
    exclude using gist (resource_id with =, unit with =, during with &&) where (released_at is null)
) with (fillfactor = 80);
create index inventory_claim_booking on booking.inventory_claim (booking_id);
