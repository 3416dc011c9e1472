-- What the provider keeps of each payment, as an event of its own: it is known only after the payment, and asking for it must not
-- stand in the way of money. The log itself says which payments there are; a cursor follows it, so that nothing is written for this
-- while a booking is made.
--
-- Locks: none on existing tables.

insert into core.event_types (name, schema_version) values ('ProviderFeeCharged', 1);
insert into core.event_rights (name, group_name) values ('ProviderFeeCharged', 'worker');

-- One row a payment that was captured, also of those before this migration.
create table saga.fees (
  payment_intent text primary key,
  payment_id uuid not null,
  booking_id uuid not null,
  correlation_id uuid not null,
  event_id uuid not null,                    -- of its PaymentReceived
  look_at timestamptz,                       -- null: it is known, or will never be
  tries int not null default 0,              -- looks
  known_at timestamptz,
  problem text check (length(problem) <= 500)
);
create index fees_due on saga.fees (look_at) where look_at is not null;
grant select, insert, update on saga.fees to bizing_worker;

create table saga.fees_cursor (
  one boolean primary key default true check (one),
  position bigint not null                   -- payments up to it have their row
);
insert into saga.fees_cursor (position) values (0);

-- Notes up to so many payments that the log has and `saga.fees` does not. Returns how many. A look a minute after the payment finds the
-- provider's books written.
create function saga.note_payments(p_most int) returns int language plpgsql security definer
  set search_path = pg_catalog, saga, core
  set enable_seqscan = off
as $$
declare
  safe constant bigint := core.safe_position();
  kinds constant int[] := array(select t.type_no from core.event_types t where t.name = 'PaymentReceived');   -- of each version
  since bigint;
  last bigint;
  n int;
begin
  select c.position into since from saga.fees_cursor c for update skip locked;
  if not found then   -- another worker is at it
    return 0;
  end if;
  with paid as materialized (
    select e.position, e.event_id, e.correlation_id, e.recorded_at, substr(e.stream_id, 9)::uuid as booking_id, (e.data ->> 'payment_id')::uuid as payment_id,
           e.data ->> 'payment_intent' as payment_intent
      from unnest(kinds) k
      cross join lateral (select x.position, x.event_id, x.correlation_id, x.recorded_at, x.data, s.stream_id
                            from core.events x join core.streams s on s.stream_no = x.stream_no
                           where x.type_no = k and x.position > since and x.position <= safe and s.category = 'booking'
                           order by x.position limit p_most) e
     order by e.position limit p_most),
  noted as (
    insert into saga.fees (payment_intent, payment_id, booking_id, correlation_id, event_id, look_at)
    select p.payment_intent, p.payment_id, p.booking_id, p.correlation_id, p.event_id, p.recorded_at + interval '60 seconds' from paid p
    on conflict (payment_intent) do nothing)
  select count(*), max(p.position) into n, last from paid p;
  -- Fewer than asked for: there are no more of them up to where it is safe to read.
  update saga.fees_cursor set position = case when n < p_most then greatest(since, safe) else last end
   where position <> case when n < p_most then greatest(since, safe) else last end;
  return n;
end $$;
revoke all on function saga.note_payments(int) from public;
grant execute on function saga.note_payments(int) to bizing_worker;
