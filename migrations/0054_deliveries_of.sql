-- The index by which an endpoint's deliveries are listed is for that alone. While the table is small or believed to be, it costs
-- as much as the primary key to look ids up by its second column, and a plan that is kept then reads it from end to end for each claim
-- and each record. A query that names the endpoint implies the predicate; one that names only ids does not.
--
-- Locks: writers of `delivery.deliveries` while the index is made, about a second for a million rows.

drop index delivery.deliveries_of;
create index deliveries_of on delivery.deliveries (destination_id, delivery_id) where destination_id is not null;
