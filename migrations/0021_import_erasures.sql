-- Whoever the imported log says was erased is erased here too: their key is destroyed if there is one, and none can be made
-- later. In import_settled(), which every import calls after each batch and before the first one, so that a kill in between
-- leaves nobody out.
--
-- Locks: none on existing tables.

create or replace function api.import_settled() returns bigint language plpgsql security definer set search_path = pg_catalog, core as $$
declare
  top bigint;
begin
  insert into core.subject_keys as k (subject_id, key, erased_at)
    select distinct on (x.subject) x.subject, null::bytea, x.occurred_at
      from (select (e.data->>'customer_id')::uuid as subject, e.occurred_at
              from core.imports m
              join core.event_types t on t.name = 'CustomerErased'
              join core.events e on e.type_no = t.type_no and e.position > m.after_position and e.position <= m.upto_position) x
     where not exists (select 1 from core.subject_keys there where there.subject_id = x.subject and there.key is null)
     order by x.subject, x.occurred_at
    on conflict (subject_id) do update set key = null, erased_at = excluded.erased_at where k.key is not null;

  lock table core.events in share row exclusive mode;   -- nobody draws a position meanwhile
  select coalesce(max(position), 0) into top from core.events;
  if top > (select case when is_called then last_value else last_value - 1 end from core.position) then
    perform setval('core.position', top);
  end if;
  return top;
end $$;
