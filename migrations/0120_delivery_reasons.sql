-- Why somebody did something with webhooks is refused where it is too long, and no longer cut at 1,000 signs without a word. As in
-- 0095: a constraint `<field>_length` is told to the writer at that field.
--
-- Locks: the tables of what people decided about webhooks, each against writers while it is read once.

alter table delivery.changes add constraint reason_length check (char_length(reason) <= 1000);
alter table delivery.bulk add constraint reason_length check (char_length(reason) <= 1000);

-- As in 0029, not cut.
create or replace function delivery.noted(p_what text, p_destination uuid, p_delivery uuid, p_reason text, p_before jsonb, p_after jsonb)
returns void language sql volatile set search_path = pg_catalog, delivery as $$
  insert into delivery.changes (what, destination_id, delivery_id, reason, before, after)
    values (p_what, p_destination, p_delivery, nullif(p_reason, ''), p_before, p_after)
$$;

-- As in 0029, not cut.
create or replace function api.put_allow_list(p_version int, p_entries text[], p_reason text) returns text
language plpgsql security definer set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
declare
  now_at int;
begin
  lock table delivery.allow_list in share row exclusive mode;
  select max(version) into now_at from delivery.allow_list;
  if now_at <> p_version then
    return 'conflict';
  elsif cardinality(p_entries) > 200 or exists (select from unnest(p_entries) x where length(x) not between 1 and 255) then
    return 'invalid';
  end if;
  insert into delivery.allow_list (version, entries, reason) values (now_at + 1, p_entries, nullif(p_reason, ''));
  -- Workers read an endpoint anew when its version rises, and this list with it.
  update delivery.destinations x set version = x.version + 1 where x.kind = 'webhook' and x.deleted_at is null;
  return 'changed';
end $$;

-- As in 0029, not cut.
create or replace function api.start_bulk(p_bulk uuid, p_action text, p_filter jsonb, p_hash text, p_ids uuid[], p_per_second int, p_reason text)
returns text language plpgsql security definer set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
declare
  there delivery.bulk;
begin
  select * into there from delivery.bulk b where b.bulk_id = p_bulk;
  if found then
    return case when there.hash = p_hash and there.action = p_action then 'repeated' else 'reused' end;
  elsif coalesce(btrim(p_reason), '') = '' then
    return 'reason';
  elsif coalesce(cardinality(p_ids), 0) not between 1 and 100000 then
    return 'count';
  elsif coalesce(p_per_second, 0) not between 1 and 1000 then
    return 'per_second';
  end if;
  insert into delivery.bulk (bulk_id, action, filter, hash, reason, per_second, count)
    values (p_bulk, p_action, p_filter, p_hash, p_reason, p_per_second, cardinality(p_ids));
  insert into delivery.bulk_items (bulk_id, ordinal, delivery_id) select p_bulk, o, i from unnest(p_ids) with ordinality x(i, o);
  perform delivery.noted('bulk_started', null, null, p_reason, null,
    jsonb_build_object('bulk_id', p_bulk, 'action', p_action, 'count', cardinality(p_ids), 'filter', p_filter));
  return 'started';
end $$;
