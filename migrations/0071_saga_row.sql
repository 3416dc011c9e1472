-- What a write of a saga's row costs. Of a transition's time in the server a good third was its row: ten checks, each parsed
-- anew by each statement; two triggers; and nine indexes, all of them written again by each change, since one held the time
-- of the change and one the step.
--
-- Locks: `saga.instance` and `saga.effect` against everything while their rows are checked and two indexes are built, about two
-- seconds for a million sagas.

-- What the ten said, in one.
alter table saga.instance
  drop constraint state_known,
  drop constraint dir_known,
  drop constraint dir_matches,
  drop constraint parked_has_reason,
  drop constraint park_code_of_parked,
  drop constraint terminal_has_end,
  drop constraint terminal_has_no_lease,
  drop constraint lease_pair,
  drop constraint pause_triple,
  drop constraint resolved_has_evidence,
  add constraint row_is_whole check (
    (lease_owner is null) = (lease_expires_at is null)
    and (paused_at is null) = (paused_by is null)
    and case when state = 'parked' then park_reason is not null and parked_at is not null
             else park_reason is null and parked_at is null and park_code is null end
    and case when state in ('running', 'waiting', 'compensating', 'parked') then finished_at is null
             else state in ('completed', 'compensated', 'resolved') and finished_at is not null and lease_owner is null end
    and case when state in ('running', 'completed') then direction = 'F'
             when state = 'compensating' then direction = 'C'
             else direction in ('F', 'C') end
    and (state <> 'resolved' or (resolved_by is not null and resolution->>'reason' <> '' and resolution->>'evidence' <> '') is true)),
  -- `place` reads the definition, which is never deleted: a second look, at the same row, with a lock.
  drop constraint instance_definition_def_version_fkey;
alter table saga.effect
  drop constraint effect_outcome_check,
  drop constraint effect_check,
  drop constraint effect_resolved_via_check,
  add constraint effect_is_whole check (
    case when outcome in ('intended', 'unknown') then resolved_at is null
         else outcome in ('confirmed', 'rejected', 'not_executed') and resolved_at is not null end
    and (resolved_via is null or resolved_via in ('response', 'lookup', 'webhook', 'operator')));

-- Nobody reads by these: lists go by when a saga began, ended or was parked, causes are grouped over what lives.
drop index saga.instance_list;
drop index saga.instance_errors;
drop index saga.effect_open;
-- What has no object yet is not looked for by it.
drop index saga.effect_object;
create index effect_object on saga.effect (provider_object) where provider_object is not null;
-- From step to step under one lease a saga's row changes in its page, without its indexes.
alter table saga.instance set (fillfactor = 70);

-- Both triggers of a saga's row in one. As in 0025 and 0042, but that a definition which is not there is refused here.
drop trigger guard on saga.instance;
drop trigger place on saga.instance;
drop function saga.guard_transition();
drop function saga.place_instance();
create function saga.keep_row() returns trigger language plpgsql set search_path = pg_catalog, saga as $$
declare
  spec jsonb;
  steps int;
  here jsonb;
begin
  if tg_op = 'UPDATE' then
    if old.finished_at is not null and new.state <> old.state and new.state <> 'parked' then   -- only opening again leaves an end
      raise exception 'saga %: % is terminal', old.saga_id, old.state using errcode = 'check_violation';
    end if;
    if new.version <> old.version or new.fence <> old.fence then
      if new.version < old.version or new.fence < old.fence then
        raise exception 'saga %: version/fence may not go back', old.saga_id using errcode = 'check_violation';
      end if;
      -- Who writes a version names the fence under which it acts; an old one is refused here too.
      if new.version <> old.version and new.by_fence is distinct from new.fence then
        raise exception 'saga %: written under fence %, which is not %', old.saga_id, new.by_fence, new.fence using errcode = 'check_violation';
      end if;
    end if;
    if new.state <> old.state then
      if new.version = old.version then
        raise exception 'saga %: state change without version bump', old.saga_id using errcode = 'check_violation';
      end if;
      if not (old.state || ' ' || new.state = any ('{running waiting,running compensating,running parked,running completed,waiting running,waiting compensating,waiting parked,waiting completed,waiting compensated,compensating waiting,compensating parked,compensating compensated,parked running,parked compensating,parked waiting,parked resolved,completed parked,compensated parked,resolved parked}'::text[])) then
        raise exception 'saga %: % -> % is not a legal transition', old.saga_id, old.state, new.state using errcode = 'check_violation';
      end if;
    end if;
    if old.direction = 'C' and new.direction = 'F' and new.state <> 'parked' and old.state <> 'parked' then
      raise exception 'saga %: compensation never turns forward by itself', old.saga_id using errcode = 'check_violation';
    end if;
    if new."cursor" = old."cursor" and new.state = old.state and new.direction = old.direction
       and new.def_version = old.def_version and new.definition = old.definition then
      return new;
    end if;
    if new.definition <> old.definition then
      raise exception 'saga %: it stays a %', new.saga_id, old.definition using errcode = 'check_violation';
    end if;
  end if;
  select d.spec into spec from saga.definition d where d.name = new.definition and d.version = new.def_version;
  if spec is null then
    raise exception 'saga %: there is no definition %@%', new.saga_id, new.definition, new.def_version using errcode = 'foreign_key_violation';
  end if;
  steps := jsonb_array_length(spec->'steps');
  if new."cursor" < -1 or new."cursor" > steps then
    raise exception 'saga %: %@% has no step %', new.saga_id, new.definition, new.def_version, new."cursor" using errcode = 'check_violation';
  end if;
  if new.state = 'completed' and new."cursor" <> steps or new.state = 'compensated' and new."cursor" <> -1 then
    raise exception 'saga %: % at step % of %', new.saga_id, new.state, new."cursor", steps using errcode = 'check_violation';
  end if;
  if tg_op = 'UPDATE' then
    if new.def_version <> old.def_version then
      if new.version = old.version or exists (select 1 from saga.effect e where e.saga_id = new.saga_id and e.resolved_at is null) then
        raise exception 'saga %: a definition changes between two steps, with nothing open', new.saga_id using errcode = 'check_violation';
      end if;
    elsif old.finished_at is null and (
    -- Forward never goes back; back goes up only to the step that took the money, should it have been taken after all.
    -- Opening again is a person's act, and begins at the last step.
         new.direction = 'F' and old.direction = 'F' and new."cursor" < old."cursor"
      or new.direction = 'C' and new."cursor" > old."cursor" and not coalesce((spec#>>array['steps', new."cursor"::text, 'pivot'])::boolean, false)) then
      raise exception 'saga %: % -> % is not a way of %@%', new.saga_id, old."cursor", new."cursor", new.definition, new.def_version using errcode = 'check_violation';
    end if;
    -- Beyond it nothing is taken back: the customer knows, and the slot may be somebody else's.
    if new.direction = 'C' and old.direction = 'F' and old."cursor" >= (spec->>'forward_only_from')::int then
      raise exception 'saga %: from step % on % only goes forward', new.saga_id, spec->>'forward_only_from', new.definition using errcode = 'check_violation';
    end if;
  end if;
  if new."cursor" >= 0 then
    here := spec#>array['steps', new."cursor"::text];
    new.step := here->>'name';
    new.asks := case when new.context->>'provider' is distinct from 'none' then here->>'provider' end;
  else
    new.step := null;
    new.asks := null;
  end if;
  return new;
end $$;
create trigger keep_row before insert or update on saga.instance for each row execute function saga.keep_row();
revoke execute on function saga.keep_row() from public;
