-- What a reader of the log asks before it follows, and where the log ends: the role that fills read models may ask, too.
--
-- Locks: none on existing tables.

grant execute on function api.log_assumptions(), api.issued_position() to bizing_projector;
