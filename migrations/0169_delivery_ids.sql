-- The id of a delivery is drawn from the session's own generator, and no longer from the operating system's.
--
-- A server that was built without OpenSSL, as the one that comes with the desk is, opens, reads and closes /dev/urandom for each
-- `gen_random_uuid`: an id cost 4.1 us of the server's time there and costs 0.7, of about 29 to owe one webhook (2.4 and 0.7 on Debian's
-- PostgreSQL 15). `random()` is seeded from there once a session; with the millisecond in front and 64 bits of it behind, ids stay apart,
-- and they are no secrets: who knows one may do nothing with it. They still rise with time.
--
-- Locks: `delivery.deliveries` for as long as it takes to write the default into the catalogue.

alter table delivery.deliveries alter column delivery_id set default
  encode(substring(int8send(floor(date_part('epoch', clock_timestamp()) * 1000)::bigint) from 3)
      || int2send((28672 + random() * 4095)::int2)                                                         -- version 7
      || int8send((random() * 4611686018427387904)::bigint | (-9223372036854775807 - 1)), 'hex')::uuid;
