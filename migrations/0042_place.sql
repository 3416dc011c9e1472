-- Where a saga stands, told by its definition with one look: as in 0031, without the three functions in SQL that each write
-- of a saga planned anew (a fifth of a booking's time in the server).

create or replace function saga.place_instance() returns trigger language plpgsql set search_path = pg_catalog, saga as $$
declare
  spec jsonb;
  steps int;
  here jsonb;
begin
  if tg_op = 'UPDATE' and (new."cursor", new.state, new.direction, new.definition, new.def_version)
       is not distinct from (old."cursor", old.state, old.direction, old.definition, old.def_version) then
    return new;
  end if;
  select d.spec into spec from saga.definition d where d.name = new.definition and d.version = new.def_version;
  steps := jsonb_array_length(spec->'steps');
  if new."cursor" not between -1 and steps then
    raise exception 'saga %: %@% has no step %', new.saga_id, new.definition, new.def_version, new."cursor" using errcode = 'check_violation';
  end if;
  if new.state = 'completed' and new."cursor" <> steps or new.state = 'compensated' and new."cursor" <> -1 then
    raise exception 'saga %: % at step % of %', new.saga_id, new.state, new."cursor", steps using errcode = 'check_violation';
  end if;
  if tg_op = 'UPDATE' then
    if new.definition <> old.definition then
      raise exception 'saga %: it stays a %', new.saga_id, old.definition using errcode = 'check_violation';
    end if;
    if new.def_version <> old.def_version and (new.version = old.version
         or exists (select 1 from saga.effect e where e.saga_id = new.saga_id and e.resolved_at is null)) then
      raise exception 'saga %: a definition changes between two steps, with nothing open', new.saga_id using errcode = 'check_violation';
    end if;
    -- Beyond it nothing is taken back: the customer knows, and the slot may be somebody else's.
    if new.direction = 'C' and old.direction = 'F' and old."cursor" >= (spec->>'forward_only_from')::int then
      raise exception 'saga %: from step % on % only goes forward', new.saga_id, spec->>'forward_only_from', new.definition using errcode = 'check_violation';
    end if;
    -- Forward never goes back; back goes up only to the step that took the money, should it have been taken after all.
    -- Opening again is a person's act, and begins at the last step.
    if old.finished_at is null and new.def_version = old.def_version and (
         new.direction = 'F' and old.direction = 'F' and new."cursor" < old."cursor"
      or new.direction = 'C' and new."cursor" > old."cursor" and not coalesce((spec#>>array['steps', new."cursor"::text, 'pivot'])::boolean, false)) then
      raise exception 'saga %: % -> % is not a way of %@%', new.saga_id, old."cursor", new."cursor", new.definition, new.def_version using errcode = 'check_violation';
    end if;
  end if;
  -- Written out: a function in SQL that pins its path is analysed and planned anew in each transaction.
  here := case when new."cursor" >= 0 then spec#>array['steps', new."cursor"::text] end;
  new.step := here->>'name';
  new.asks := case when new.context->>'provider' is distinct from 'none' then here->>'provider' end;
  return new;
end $$;
