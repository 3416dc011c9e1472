-- A command id makes an append idempotent for 90 days. After that it is forgotten.
--
-- Locks: core.commands against writing while its index is made, about a second for ten million rows.

-- Rows come in the order of their time, so this stays a few pages.
create index commands_recorded on core.commands using brin (recorded_at);

-- A piece at a time; says how many went.
create function core.forget_commands(p_most int) returns int language plpgsql security definer set search_path = pg_catalog, core as $$
declare
  gone int;
begin
  delete from core.commands where ctid = any (array(
    select ctid from core.commands where recorded_at < now() - interval '90 days' limit p_most for update skip locked));
  get diagnostics gone = row_count;
  return gone;
end $$;
revoke all on function core.forget_commands(int) from public;
grant execute on function core.forget_commands(int) to bizing_worker;
