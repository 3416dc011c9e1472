-- Policies reach the steps: how often a call is tried, what follows a declined card, how long a slot is held. And the providers:
-- how many calls at once, how fast sagas follow when it answers again, and opening a gate by hand. Each change with its reason.
--
-- Locks: saga.policy exclusively for a moment; a few rows.

alter table saga.policy drop constraint policy_whole;
alter table saga.policy add constraint policy_whole check (
    value->>'notify_on_exhausted' in ('compensate', 'park', 'continue')
    and jsonb_typeof(value->'approval_minor') = 'object' and jsonb_typeof(value->'approval_minor'->'*') = 'number'
    and (value->>'blast_sagas')::int between 2 and 1000 and (value->>'blast_minutes')::int between 1 and 1440
    and (value->>'late_hours')::int between 0 and 720
    -- Versions of before have no terms.
    and (not value ? 'cancel_free_hours' or (
      (value->>'cancel_free_hours')::int between 0 and 8760 and (value->>'cancel_fee_percent')::int between 0 and 100
      and (value->>'cancel_late_hours')::int between 0 and (value->>'cancel_free_hours')::int
      and (value->>'cancel_late_percent')::int between (value->>'cancel_fee_percent')::int and 100))
    -- What is not set is as the installation was configured.
    and coalesce(value->>'card_declined', 'link') in ('link', 'park')
    and coalesce((value->>'capture_tries')::int, 40) between 1 and 200 and coalesce((value->>'undo_tries')::int, 12) between 1 and 100
    and coalesce((value->>'backoff_base_s')::int, 1) between 1 and 60
    and coalesce((value->>'backoff_cap_s')::int, 300) between coalesce((value->>'backoff_base_s')::int, 1) and 3600
    and coalesce((value->>'hold_card_minutes')::int, 15) between 5 and 120 and coalesce((value->>'hold_link_hours')::int, 24) between 1 and 168);

-- ---- providers -------------------------------------------------------------------------------------------------------

alter table saga.provider_gate
  add constraint gate_rate check (rate_per_s between 0.1 and 1000),
  add constraint gate_in_flight check (max_in_flight between 1 and 100);

create table saga.provider_change (
  change_id bigint generated always as identity primary key,
  provider text not null references saga.provider_gate,
  what text not null check (what in ('limits', 'opened')),
  before jsonb not null,
  after jsonb not null,
  reason text not null check (char_length(reason) >= 10),
  by text not null default session_user,
  at timestamptz not null default now()
);

-- Answers: done, reason, not_found, changed (somebody set others since these were seen), range.
create function api.put_provider(p_provider text, p_seen jsonb, p_rate real, p_in_flight int, p_reason text) returns text
language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  g saga.provider_gate;
  was jsonb;
begin
  if char_length(btrim(coalesce(p_reason, ''))) < 10 then return 'reason'; end if;
  select * into g from saga.provider_gate where provider = p_provider for update;
  if not found then return 'not_found'; end if;
  was := jsonb_build_object('rate_per_s', g.rate_per_s, 'max_in_flight', g.max_in_flight);
  if p_seen is distinct from was then return 'changed'; end if;
  if p_rate is null or p_in_flight is null or p_rate not between 0.1 and 1000 or p_in_flight not between 1 and 100 then return 'range'; end if;
  update saga.provider_gate set rate_per_s = p_rate, max_in_flight = p_in_flight where provider = p_provider;
  insert into saga.provider_change (provider, what, before, after, reason)
    values (p_provider, 'limits', was, jsonb_build_object('rate_per_s', p_rate, 'max_in_flight', p_in_flight), btrim(p_reason));
  return 'done';
end $$;

-- Lets one saga ahead at once, when whatever shut the gate is mended: its answer opens the way for the others, at the
-- provider's rate. Never all of them at once. Answers: done, reason, not_found, open (nothing is shut).
create function api.open_gate(p_provider text, p_reason text) returns text language plpgsql security definer set search_path = pg_catalog, saga as $$
declare
  g saga.provider_gate;
begin
  if char_length(btrim(coalesce(p_reason, ''))) < 10 then return 'reason'; end if;
  select * into g from saga.provider_gate where provider = p_provider for update;
  if not found then return 'not_found'; end if;
  if g.state = 'closed' then return 'open'; end if;
  update saga.provider_gate set open_until = now(), failures = 0, failing_since = null where provider = p_provider;
  insert into saga.provider_change (provider, what, before, after, reason)
    values (p_provider, 'opened', jsonb_build_object('state', g.state, 'reason', g.reason, 'open_until', g.open_until), '{}', btrim(p_reason));
  return 'done';
end $$;

create view read.provider_gates_v2 as
  select g.provider, g.state, g.open_until, g.reason, g.max_in_flight, g.rate_per_s, g.failures, c.what, c.by, c.at, c.reason as change_reason
    from saga.provider_gate g
    left join lateral (select * from saga.provider_change x where x.provider = g.provider order by x.change_id desc limit 1) c on true;

revoke all on function api.put_provider(text, jsonb, real, int, text), api.open_gate(text, text) from public;
grant execute on function api.put_provider(text, jsonb, real, int, text) to bizing_admin;
grant execute on function api.open_gate(text, text) to bizing_manager;
grant select on read.provider_gates_v2 to bizing_viewer, bizing_worker;
