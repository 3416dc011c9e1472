-- A delivery costs the append that owes it an eighth less: 63 us of the server where it was 75.
--
-- Its destination is read by the statement that writes it. The foreign key checked it again with a lock on the destination's row, which
-- all writers that owe one endpoint something shared; a trigger keeps destinations from being deleted instead. Five checks of a
-- delivery are one, since each is parsed anew by each statement that writes one.
--
-- Locks: `delivery.destinations`, and `delivery.deliveries` while its rows are checked, about a second for a million.

create function delivery.keep_destination() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
  raise exception 'a destination is kept for its deliveries: it is marked as deleted, never deleted' using errcode = 'restrict_violation';
end $$;
create trigger keep_destination before delete on delivery.destinations for each statement execute function delivery.keep_destination();
create trigger keep_destination_id before update on delivery.destinations for each row
  when (new.destination_id <> old.destination_id) execute function delivery.keep_destination();
revoke execute on function delivery.keep_destination() from public;

alter table delivery.deliveries
  drop constraint deliveries_destination_id_fkey,
  drop constraint deliveries_state_check,
  drop constraint deliveries_trigger_check,
  drop constraint finished,
  drop constraint lease_pair,
  drop constraint sending_has_lease,
  add constraint state_is_whole check (
    case when state in ('scheduled', 'held') then lease_owner is null and lease_expires_at is null and finished_at is null
         when state = 'sending' then lease_owner is not null and lease_expires_at is not null and finished_at is null
         else state in ('delivered', 'gave_up', 'unclear', 'skipped', 'cancelled')
              and lease_owner is null and lease_expires_at is null and finished_at is not null
    end and trigger in ('auto', 'manual', 'replay', 'test'));
