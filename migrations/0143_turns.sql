-- An endpoint that takes only so many a second, or fewer at once than there are workers, is sent to by one worker at a time.
--
-- A rate, and places too few to be shared out, were kept by each process for itself: three workers sent three a second to a chat program
-- that takes one. A worker now takes a turn, for a minute and for as long as something is due, and keeps the limit alone.
--
-- Unlogged: after a crash of the server there are no turns, and the next claim takes one.
--
-- Locks: none on existing tables.

create unlogged table delivery.turns (
  destination_id uuid primary key,
  owner uuid not null,
  until timestamptz not null
);
revoke all on delivery.turns from public;
grant select, insert, update, delete on delivery.turns to bizing_worker;
