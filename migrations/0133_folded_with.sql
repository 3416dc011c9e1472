-- What the rows of a generation were folded with. A worker of an older build knows fewer event types and would pass the others by
-- without a word: it sees here that a newer one was at these rows, and leaves them alone. A newer one that takes rows over notes
-- which events were passed by before it.
--
-- Locks: read.generations, for a moment.

alter table read.generations
  -- {"BookingCreated": 1, …}: the types that the code wants that moves it, each with the newest version it reads. null: not said yet.
  add column folded_with jsonb,
  -- {"BookingCreated": 4711}: types of which there are events up to that position that code before it did not know.
  add column folded_without jsonb not null default '{}';
grant update (folded_with, folded_without) on read.generations to bizing_worker, bizing_projector;
