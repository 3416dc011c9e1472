-- What was told of a saga, in its order: for its page, and for the saga that looks whether news came while it worked. The
-- index of before knew only what nobody had looked at yet.
--
-- Locks: saga.signal holds writers off while its index is built (a second for a million rows).

create index signal_by_saga on saga.signal (saga_id, received_at);
drop index saga.signal_of_saga;
