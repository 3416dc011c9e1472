-- Deliveries are found by why their last try failed. Without this, a reason that is rare among many was looked for in all of them.
--
-- Only what failed last stands in it: a delivery that went through at once never enters, and one that goes through later leaves.
-- The reason comes first: a query that names only ids does not imply the predicate, and cannot be led astray (see 0054).
--
-- Locks: writers of `delivery.deliveries` while the index is made, about a second for a million rows.

create index deliveries_failed on delivery.deliveries (last_class, delivery_id) where last_class is not null;
