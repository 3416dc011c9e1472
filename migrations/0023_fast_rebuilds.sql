-- Read models that are quick to keep up and to rebuild: bookings without a trigram index of their own, and keys and indexes
-- of a rebuild made side by side.
--
-- Locks: the bookings read model, exclusively, while two indexes are made: a second for 100,000 bookings.

-- ---- bookings are found by their customer --------------------------------------------------------------------------

-- Every booking carried its customer's name, address and number into a trigram index, some 65 entries a row, written anew
-- with each change of the row. The customers' own index holds them once. What is left is the booking's own: its reference
-- and the provider's ids, both found by how they begin. (A text beyond 2,000 bytes is no id; it must not stop the index.)
do $$
declare
  place text;
  old text;
begin
  for place in
    select nspname from pg_namespace where nspname = 'shape_bookings_v1' or nspname ~ '^p_bookings_g[0-9]+$' order by nspname
  loop
    if to_regclass(format('%I.bookings', place)) is null then continue; end if;
    for old in
      select indexname from pg_indexes where schemaname = place and tablename = 'bookings'
         and (indexdef like '%gin_trgm_ops%' or indexdef like '%(reference)')
    loop
      execute format('drop index %I.%I', place, old);
    end loop;
    execute format('create index bookings_reference_begins on %I.bookings ((lower(reference)) collate "C", booking_id)', place);
    execute format($i$create index bookings_provider_ids on %I.bookings using gin (array_to_tsvector((string_to_array(search, E'\n'))[5:]))
                        where octet_length(search) <= 2000$i$, place);
  end loop;
end $$;

-- ---- indexes of a rebuild -------------------------------------------------------------------------------------------

-- The statements that are still missing for a loaded generation to have the keys and indexes of its shape, the longest
-- first. `add primary key` would lock out whoever makes another index, so a key is first an index like the others; once
-- that is there, the statement that names it a key is missing.
create or replace function core.missing_indexes(p_name text, p_generation int) returns setof text
language sql stable security definer set search_path = pg_catalog as $$
  with g as (
    select format('shape_%s_v%s', name, version) as shape, core.generation_schema(name, generation) as target
      from read.generations where name = p_name and generation = p_generation
  )
  select case when y.oid is not null then
                format('alter table %I.%I add constraint %I %s using index %I', g.target, t.relname, k.conname,
                       case k.contype when 'p' then 'primary key' else 'unique' end, x.relname)
              when k.contype = 'x' then
                format('alter table %I.%I add constraint %I %s', g.target, t.relname, k.conname, pg_get_constraintdef(k.oid))
              else replace(pg_get_indexdef(i.indexrelid), format(' ON %I.%I ', g.shape, t.relname), format(' ON %I.%I ', g.target, t.relname)) end
    from g
    join pg_class t on t.relnamespace = g.shape::regnamespace and t.relkind = 'r'
    join pg_index i on i.indrelid = t.oid
    join pg_class x on x.oid = i.indexrelid
    join pg_am a on a.oid = x.relam
    left join pg_constraint k on k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')
    left join pg_class y on y.relnamespace = to_regnamespace(g.target) and y.relname = x.relname
   where y.oid is null or k.contype in ('p', 'u') and not exists (select 1 from pg_constraint c where c.conindid = y.oid)
   order by a.amname = 'gin' desc, x.relname
$$;

-- What a planner has to know of new rows: the columns that b-trees are made of. Whole rows, with their texts and lists,
-- would take longer than an index; autovacuum looks at them in its own time.
create or replace function core.analyze_generation(p_rebuild uuid, p_fence bigint) returns void
language plpgsql security definer set search_path = pg_catalog, read as $$
declare
  r read.rebuilds := core.holds_rebuild(p_rebuild, p_fence, false);
  t record;
begin
  for t in
    select c.relname, string_agg(distinct quote_ident(a.attname), ', ') as columns
      from pg_class c
      join pg_index i on i.indrelid = c.oid
      join pg_class x on x.oid = i.indexrelid
      join pg_am m on m.oid = x.relam and m.amname = 'btree'
      join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey::int2[])
     where c.relnamespace = core.generation_schema(r.name, r.generation)::regnamespace and c.relkind = 'r'
     group by c.relname
  loop
    execute format('analyze %I.%I (%s)', core.generation_schema(r.name, r.generation), t.relname, t.columns);
  end loop;
end $$;
