-- Sending never waits for the forgetting of old tries. A partition is dropped, and a new one attached, under a lock that each record of a try
-- queues behind. Before, that lock was waited for up to three seconds, and then held while thousands of other rows were deleted.
--
-- Now it is waited for a fifth of a second, one partition at a time, after everything else; where somebody reads, the next round tries again.
--
-- Locks: none but the catalogue's.

create or replace function delivery.keep_attempts(p_keep interval default '90 days') returns bigint language plpgsql security definer
  set search_path = pg_catalog, delivery set lock_timeout = '200ms' as $$
declare
  old text;
  gone bigint;
begin
  delete from delivery.attempts_rest r using (select delivery_id, no, started_at from delivery.attempts_rest where started_at < now() - p_keep limit 10000) x
   where (r.delivery_id, r.no, r.started_at) = (x.delivery_id, x.no, x.started_at);
  get diagnostics gone = row_count;
  delete from delivery.stats_hourly where hour < now() - interval '400 days';
  select c.relname into old from pg_inherits i join pg_class c on c.oid = i.inhrelid
   where i.inhparent = 'delivery.attempts'::regclass and c.relname ~ '^attempts_\d{4}_\d{2}$'
     and to_date(substr(c.relname, 10), 'YYYY_MM') + interval '1 month' < now() - p_keep
   order by c.relname limit 1;
  begin
    -- Two months ahead: a round that finds no moment for it is early enough with the next one.
    perform delivery.make_attempts((date_trunc('month', now() at time zone 'UTC') + n * interval '1 month')::date) from generate_series(0, 2) n;
    if old is not null then
      execute format('drop table delivery.%I', old);
    end if;
  exception when lock_not_available then
    null;
  end;
  return gone;
end $$;
