-- One pipeline for everything that leaves, and one inbox for everything that comes in.
--
-- A delivery is one event owed to one destination. The append function writes it in the event's transaction.
-- An attempt is written before the call, so that a crash shows as an unclear outcome and never as a new message.
--
-- Locks: none on existing tables.

create table delivery.destinations (
  destination_id uuid primary key,
  kind text not null check (kind in ('email')),
  name text not null unique,
  active boolean not null default true,
  created_at timestamptz not null default now()
);

create table delivery.subscriptions (
  destination_id uuid not null references delivery.destinations,
  event_name text not null,
  template text not null,
  created_at timestamptz not null default now(),  -- what was recorded before it is not owed
  primary key (destination_id, event_name)
);

create table delivery.deliveries (
  delivery_id uuid primary key default gen_random_uuid(),
  destination_id uuid not null references delivery.destinations,
  template text not null,
  event_id uuid not null,
  position bigint not null,
  stream_id text not null,
  correlation_id uuid not null,
  dedupe_key text not null unique,         -- a message goes out at most once per destination, template and event
  state text not null default 'scheduled'
    check (state in ('scheduled', 'sending', 'delivered', 'gave_up', 'unclear', 'skipped')),
  attempt int not null default 0,
  fence bigint not null default 0,
  lease_owner uuid,
  lease_expires_at timestamptz,
  next_at timestamptz not null default now(),
  give_up_at timestamptz not null default now() + interval '30 minutes',
  outcome jsonb,
  created_at timestamptz not null default now(),
  finished_at timestamptz,
  constraint lease_pair check ((lease_owner is null) = (lease_expires_at is null)),
  constraint sending_has_lease check ((state = 'sending') = (lease_owner is not null)),
  constraint finished check ((state in ('delivered', 'gave_up', 'unclear', 'skipped')) = (finished_at is not null))
) with (fillfactor = 70);
create index deliveries_due on delivery.deliveries (destination_id, next_at, delivery_id) where state = 'scheduled';
create index deliveries_leased on delivery.deliveries (lease_expires_at) where state = 'sending';
create index deliveries_event on delivery.deliveries (event_id);
create index deliveries_stream on delivery.deliveries (stream_id);

create table delivery.attempts (
  delivery_id uuid not null references delivery.deliveries,
  no int not null,
  fence bigint not null,
  worker_id uuid not null,
  started_at timestamptz not null default clock_timestamp(),
  ended_at timestamptz,
  result text check (result in ('accepted', 'not_sent', 'later', 'refused', 'unclear', 'skipped')),
  error text,
  response text,
  primary key (delivery_id, no)
);

create table delivery.inbox (
  inbox_id bigint generated always as identity primary key,
  source text not null check (source in ('stripe')),
  external_id text not null,
  kind text not null,
  object_id text,
  api_version text,
  via text not null check (via in ('webhook', 'poll')),
  payload jsonb not null,
  created_at timestamptz,
  received_at timestamptz not null default now(),
  processed_at timestamptz,
  result text,
  unique (source, external_id)
);
create index inbox_open on delivery.inbox (inbox_id) where processed_at is null;
create index inbox_object on delivery.inbox (object_id);

create table delivery.poll_cursor (
  source text primary key,
  cursor text,
  checked_at timestamptz,
  problem text
);
