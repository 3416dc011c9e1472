-- What keeps a projection from moving though no event is to blame: a missing grant, a full disk. It is tried again and again,
-- each time after a longer rest, and does not keep the others waiting; here everybody sees why it stands still.
--
-- Locks: read.generations, for a moment.

-- Said of one position. Once the rows have moved on, it is over, whoever moved them.
alter table read.generations add column trouble jsonb;
grant update (trouble) on read.generations to bizing_worker, bizing_projector;
