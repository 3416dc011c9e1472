-- An erasure takes what receivers of webhooks answered about the person's bookings: nobody knows what stands in it. That there
-- was an answer, its code and its times stay.
--
-- Locks: none.

create function delivery.forget_answers() returns trigger language plpgsql security definer set search_path = pg_catalog, delivery, core as $$
begin
  update delivery.attempts a
     set body = null, response_headers = null, error = core.without_addresses(a.error)
    from delivery.deliveries d
   where a.delivery_id = d.delivery_id
     and d.stream_id in (select 'booking-' || i.booking_id from saga.instance i where i.customer_id = new.subject_id
                         union all select 'customer-' || new.subject_id)
     and d.destination_id in (select destination_id from delivery.destinations where kind = 'webhook');
  return null;
end $$;
create trigger forget_answers after update of key on core.subject_keys for each row
  when (old.key is not null and new.key is null) execute function delivery.forget_answers();

revoke all on function delivery.forget_answers() from public;
