-- What an event of the provider led to is kept with its signal, and no longer guessed from the second in which it was consumed.
--
-- The saga consumes its signals in the transaction in which it writes what it found, after writing it: what it has recorded in its
-- booking's stream since that transaction began is what they led to.
--
-- Locks: none but the catalogue's. A signal that was consumed before names nothing.

alter table saga.signal add column led_to bigint[];

create function saga.note_led_to() returns trigger language plpgsql security definer set search_path = pg_catalog, saga, core as $$
begin
  new.led_to := array(
    select e.position
      from saga.instance i
      join core.streams s on s.stream_id = 'booking-' || i.booking_id
      join core.events e on e.stream_no = s.stream_no and e.version > s.version - 20
     where i.saga_id = new.saga_id and e.recorded_at >= now() and e.causation_id = new.saga_id
     order by e.position);
  return new;
end $$;
create trigger note_led_to before update of consumed_at on saga.signal for each row
  when (old.consumed_at is null and new.consumed_at is not null and new.saga_id is not null)
  execute function saga.note_led_to();

create or replace view read.saga_signals_v1 as
  select signal_id, saga_id, correlation_key, type, received_at, consumed_at, ignored_reason, led_to from saga.signal;

revoke all on function saga.note_led_to() from public;
