-- The next partition of the log is made beside it and then attached. `create table … partition of` locks the whole log
-- against everybody: behind one open reader, a backup for example, it waited, and behind it every append did. Attaching lets
-- readers and appends go on.
--
-- Locks: none on existing tables.

-- Ten million positions a partition. Uniqueness stands on each partition, because the parent would ask for the
-- partition key in it; across partitions the stream row (version) and the command id keep it. What still stands in the way of
-- attaching (somebody else who changes the log's shape) is not waited for long: a worker asks again every minute, long
-- before the room is needed.
create or replace function core.ensure_partition(p_position bigint) returns void language plpgsql security definer
  set search_path = pg_catalog, core set lock_timeout = '2s' as $$
declare
  lo bigint := (p_position / 10000000) * 10000000;
  part text := 'events_' || lpad((lo / 10000000)::text, 4, '0');
begin
  if to_regclass('core.' || part) is not null then return; end if;
  execute format('create table core.%I (like core.events including defaults including constraints including storage including compression, primary key (position))', part);
  execute format('alter table core.%I add unique (stream_no, version), add unique (event_id)', part);
  execute format('create index on core.%I (correlation_id)', part);
  execute format('create index on core.%I (type_no, position)', part);
  execute format('create index on core.%I using brin (recorded_at)', part);
  execute format('create trigger append_only before update or delete or truncate on core.%I for each statement execute function core.append_only()', part);
  execute format('alter table core.events attach partition core.%I for values from (%s) to (%s)', part, lo, lo + 10000000);
exception when duplicate_table or unique_violation then null;   -- another worker was faster
end $$;
