-- How sagas went in the last days is read from what failed since then, and not from all that was tried.
--
-- Locks: saga.attempt holds writers off while its index is built (about two seconds for six million tries).

create index attempt_failed on saga.attempt (started_at) where error_class is not null;
