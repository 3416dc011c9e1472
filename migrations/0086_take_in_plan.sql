-- Taking an event in was planned anew at each call all the same: the server guesses ten rows of a list that it does not know and one of
-- a list that it does, and so the plan that it could keep always looked dearer. Now it keeps it, and stays on the indexes whatever it
-- knew of the tables when it made it.
--
-- Locks: none on tables.

alter function delivery.take_in(text, text, text[], text[], text[], text[], jsonb[], timestamptz[], int, bytea, smallint, smallint,
                                timestamptz, double precision, text)
  set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off;
