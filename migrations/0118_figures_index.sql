-- How sagas went is counted from an index that holds what is counted, and not from their rows, which are wide: among a million sagas
-- those of 30 days (120,000) in 40 ms and not in 130.
--
-- Replaced: the index `instance_over` of 0025, by one with the same keys.
--
-- Locks: saga.instance holds writers off while the index is built (about 1.5 seconds for a million sagas).

drop index saga.instance_over;
create index instance_over on saga.instance (finished_at, saga_id) include (definition, state, outcome) where finished_at is not null;
