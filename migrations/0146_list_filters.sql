-- The list of sagas is narrowed down by definition, age and price, and shown by price. Of what lives there are few; among the
-- million that are over each of these has to find its page by an index. The page is chosen first, by columns that stand in the
-- index alone, so that also what fits seldom, or only long ago, is found without reading the rows between.
--
-- Prices and currencies are there for every saga since the first release; now the table says so, since a page that goes by
-- them cannot begin behind a row that has none.
--
-- Locks: saga.instance against everything while its rows are checked (about half a second for a million sagas), and against
-- writers while three indexes are built (about four seconds for a million).

alter table saga.instance alter column amount_minor set not null, alter column currency set not null;

drop index saga.instance_over;
create index instance_over on saga.instance (finished_at, saga_id) include (definition, state, outcome, currency, amount_minor) where finished_at is not null;
create index instance_over_kind on saga.instance (definition, finished_at, saga_id) include (currency, amount_minor) where finished_at is not null;
create index instance_over_price on saga.instance (currency, amount_minor, saga_id) include (definition, finished_at) where finished_at is not null;
