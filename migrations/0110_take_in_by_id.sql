-- Taking an event in looked through all that its provider had ever sent: the plan that is kept was made for an empty table, where
-- walking every row of a source costs as little as finding the one of that id, and so it stayed. 100,000 events cost 3,400 index
-- entries each, and the slowest answers more than 100 ms. A row that was there before is now looked for by its id, and only where
-- none was made: no plan can find it in another way.
--
-- Newest version before this one: 0039, with the settings of 0086. Locks: none on tables.
create or replace function delivery.take_in(
  p_source text, p_via text, p_id text[], p_kind text[], p_object text[], p_version text[], p_payload jsonb[], p_created timestamptz[],
  p_bytes int, p_sha256 bytea, p_secret_no smallint, p_secrets smallint, p_signed timestamptz, p_skew double precision, p_receiver text)
returns int language plpgsql security definer
set search_path = pg_catalog, delivery
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  new int;
begin
  with came as (
    select x.*, row_number() over (partition by x.id order by x.no) as nth
      from unnest(p_id, p_kind, p_object, p_version, p_payload, p_created) with ordinality as x(id, kind, object, version, payload, created, no)),
  fresh as (
    insert into delivery.inbox (source, external_id, kind, object_id, api_version, payload, created_at, via)
      select p_source, c.id, c.kind, c.object, c.version, c.payload, c.created, p_via from came c where c.nth = 1 order by c.no
      on conflict (source, external_id) do nothing returning inbox_id, external_id),
  noted as (
    insert into delivery.arrivals (inbox_id, source, via, external_id, kind, object_id, verdict, result, bytes, sha256, secret_no, secrets,
                                   signed_at, skew_s, receiver)
      select coalesce(f.inbox_id, (select i.inbox_id from delivery.inbox i where i.source = p_source and i.external_id = c.id)), p_source, p_via,
             c.id, c.kind, c.object, case p_via when 'poll' then 'asked' else 'genuine' end,
             case when f.inbox_id is null or c.nth > 1 then 'duplicate' else 'kept' end, p_bytes, p_sha256, p_secret_no, p_secrets, p_signed,
             p_skew, p_receiver
        from came c
        left join fresh f on f.external_id = c.id
       where p_via <> 'poll' or (f.inbox_id is not null and c.nth = 1)
       order by c.no)
  select count(*)::int into new from fresh;
  return new;
end $$;
