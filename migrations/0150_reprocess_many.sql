-- All that a filter finds in the inbox is processed again by one decision, as many deliveries are sent again by one: the set that was
-- seen is frozen, a worker goes through it at its pace, and it can be stopped, let go on and ended. Where it is stands in the database, so
-- whoever goes on need not be whoever began.
--
-- Locks: `delivery.bulk` for as long as it takes to write a constraint into the catalogue and to look through its few rows.

alter table delivery.bulk
  drop constraint bulk_action_check,
  add constraint bulk_action_check check (action in ('redeliver', 'cancel', 'recover', 'reprocess'));

-- No foreign key to the inbox: what came in is forgotten after its time, and that it was part of a decision stays.
create table delivery.reprocess_items (
  bulk_id uuid not null references delivery.bulk,
  ordinal int not null,
  inbox_id bigint not null,
  again_at timestamptz,                  -- when it was put before the door again
  refusal text,
  primary key (bulk_id, ordinal)
);
create index reprocess_items_open on delivery.reprocess_items (bulk_id, ordinal) where again_at is null and refusal is null;

-- What all decisions for many have in common. `started`, `repeated`, or why not; the caller adds the set.
create function delivery.begin_bulk(p_bulk uuid, p_action text, p_filter jsonb, p_hash text, p_count int, p_per_second int, p_reason text)
returns text language plpgsql set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
declare
  there delivery.bulk;
begin
  select * into there from delivery.bulk b where b.bulk_id = p_bulk;
  if found then
    return case when there.hash = p_hash and there.action = p_action then 'repeated' else 'reused' end;
  elsif coalesce(btrim(p_reason), '') = '' then
    return 'reason';
  elsif coalesce(p_count, 0) not between 1 and 100000 then
    return 'count';
  elsif coalesce(p_per_second, 0) not between 1 and 1000 then
    return 'per_second';
  end if;
  insert into delivery.bulk (bulk_id, action, filter, hash, reason, per_second, count)
    values (p_bulk, p_action, p_filter, p_hash, p_reason, p_per_second, p_count);
  perform delivery.noted('bulk_started', null, null, p_reason, null,
    jsonb_build_object('bulk_id', p_bulk, 'action', p_action, 'count', p_count, 'filter', p_filter));
  return 'started';
end $$;

-- As in 0120.
create or replace function api.start_bulk(p_bulk uuid, p_action text, p_filter jsonb, p_hash text, p_ids uuid[], p_per_second int, p_reason text)
returns text language plpgsql security definer set search_path = pg_catalog, delivery as $$
declare
  began constant text := case when p_action in ('redeliver', 'cancel')
    then delivery.begin_bulk(p_bulk, p_action, p_filter, p_hash, cardinality(p_ids), p_per_second, p_reason) else 'action' end;
begin
  if began = 'started' then
    insert into delivery.bulk_items (bulk_id, ordinal, delivery_id) select p_bulk, o, i from unnest(p_ids) with ordinality x(i, o);
  end if;
  return began;
end $$;

create function api.start_reprocess(p_bulk uuid, p_filter jsonb, p_hash text, p_ids bigint[], p_per_second int, p_reason text)
returns text language plpgsql security definer set search_path = pg_catalog, delivery as $$
declare
  -- A reason is copied to each event, where 500 signs are the limit.
  began constant text := case when char_length(btrim(p_reason)) > 500 then 'reason'
    else delivery.begin_bulk(p_bulk, 'reprocess', p_filter, p_hash, cardinality(p_ids), p_per_second, p_reason) end;
begin
  if began = 'started' then
    insert into delivery.reprocess_items (bulk_id, ordinal, inbox_id) select p_bulk, o, i from unnest(p_ids) with ordinality x(i, o);
  end if;
  return began;
end $$;

-- Puts the next ones before the door again, in the order in which they came. As `api.reprocess_inbox`, in the name of whoever decided.
create function delivery.work_reprocess(p_bulk uuid, p_most int) returns int language sql set search_path = pg_catalog, delivery as $$
  with next as materialized (
    select i.ordinal, i.inbox_id from delivery.reprocess_items i
     where i.bulk_id = p_bulk and i.again_at is null and i.refusal is null order by i.ordinal limit p_most),
  again as (
    update delivery.inbox i set state = 'waiting', processed_at = null, tries = 0, next_at = now(), problem = null
     where i.inbox_id = any(array(select n.inbox_id from next n)) returning i.inbox_id),
  told as (
    insert into delivery.inbox_commands (inbox_id, by, reason)
      select a.inbox_id, b.requested_by::name, btrim(b.reason) from again a, delivery.bulk b where b.bulk_id = p_bulk),
  done as (
    update delivery.reprocess_items i
       set again_at = case when a.inbox_id is not null then clock_timestamp() end, refusal = case when a.inbox_id is null then 'forgotten' end
      from next n left join again a using (inbox_id)
     where i.bulk_id = p_bulk and i.ordinal = n.ordinal
    returning 1)
  select count(*)::int from done
$$;

-- As in 0141, and what came in.
create or replace function delivery.work_bulks(out open int, out done int) language plpgsql security definer set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
declare
  b delivery.bulk;
  m record;
  most int;
  became uuid;
  why text;
begin
  open := 0;
  done := 0;
  for b in select * from delivery.bulk x where x.state = 'running' order by x.requested_at limit 8 for update skip locked loop
    open := open + 1;
    if b.action = 'recover' then
      done := done + delivery.work_recovery(b.bulk_id);
      continue;
    end if;
    most := least(500, floor(b.per_second * least(1.0, coalesce(extract(epoch from clock_timestamp() - b.worked_at), 0.25)))::int);
    continue when most < 1 and b.worked_at is not null;
    if b.action = 'reprocess' then
      done := done + delivery.work_reprocess(b.bulk_id, greatest(most, 1));
    else
      for m in select * from delivery.bulk_items i where i.bulk_id = b.bulk_id and i.made is null and i.refusal is null
                order by i.ordinal limit greatest(most, 1) loop
        if b.action = 'redeliver' then
          select a.made, a.refusal into became, why from delivery.again(m.delivery_id, false) a;
        else
          why := delivery.stop(m.delivery_id);
          became := case when why is null then m.delivery_id end;
        end if;
        update delivery.bulk_items i set made = became, refusal = why where i.bulk_id = m.bulk_id and i.ordinal = m.ordinal;
        done := done + 1;
      end loop;
    end if;
    update delivery.bulk x
       set worked_at = clock_timestamp(),
           (state, ended_at) = (select case when o then 'running' else 'done' end, case when not o then now() end
                                  from (select exists (select from delivery.bulk_items i where i.bulk_id = b.bulk_id and i.made is null and i.refusal is null)
                                            or exists (select from delivery.reprocess_items i where i.bulk_id = b.bulk_id and i.again_at is null and i.refusal is null) as o) e)
     where x.bulk_id = b.bulk_id;
  end loop;
end $$;

create view read.reprocess_items_v1 as
  select i.bulk_id, i.ordinal, i.inbox_id, i.again_at, i.refusal from delivery.reprocess_items i;

revoke all on function delivery.begin_bulk(uuid, text, jsonb, text, int, int, text), delivery.work_reprocess(uuid, int),
  api.start_reprocess(uuid, jsonb, text, bigint[], int, text) from public;
grant execute on function api.start_reprocess(uuid, jsonb, text, bigint[], int, text) to bizing_manager;
grant select on read.reprocess_items_v1 to bizing_viewer, bizing_worker;
