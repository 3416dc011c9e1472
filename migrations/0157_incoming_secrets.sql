-- Secrets with which a provider signs what it sends here. They stood in the environment of each computer that takes webhooks, so whoever
-- rolled one had to reach each of these within a day. An admin adds one here; what the environment names counts as before.
--
-- Sealed like all secrets, never shown again, several at once; who added and ended which stands in the log of changes for good.
--
-- Locks: `delivery.changes` for as long as it takes to look through it once for the index, milliseconds for 100,000 of them.

create table delivery.incoming_secrets (
  secret_id uuid primary key,
  source text not null check (source = 'stripe'),
  sealed bytea not null check (octet_length(sealed) between 1 and 4096),
  key_id text not null check (char_length(key_id) <= 200),  -- which key sealed it
  hint text not null check (char_length(hint) <= 64),       -- whsec_…t4Qe
  added_at timestamptz not null default now(),
  added_by text not null default session_user,
  expires_at timestamptz not null default 'infinity'  -- what it signed is taken until then
);
create index changes_incoming on delivery.changes (change_id) where what in ('incoming_added', 'incoming_ended');

create view read.incoming_secrets_v1 as
  select secret_id, source, hint, added_at, added_by, nullif(expires_at, 'infinity') as expires_at from delivery.incoming_secrets where expires_at > now();
create view read.incoming_secret_changes_v1 as
  select change_id, at, by, what, reason, after ->> 'hint' as hint, (after ->> 'others_for')::interval as others_for
    from delivery.changes where what in ('incoming_added', 'incoming_ended');

-- p_others_for: how long those that are here go on beside it; null: for good. Nobody rolls one and locks out what is on its way.
create function api.add_incoming_secret(p_source text, p_secret_id uuid, p_sealed bytea, p_key_id text, p_hint text, p_others_for interval, p_reason text)
returns text language plpgsql security definer set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
begin
  if p_source <> 'stripe' then
    return 'not_found';
  elsif char_length(btrim(coalesce(p_reason, ''))) not between 10 and 1000 then
    return 'reason';
  elsif p_others_for not between interval '0' and interval '7 days' then
    return 'overlap';
  end if;
  -- Two at once would both find room for one more.
  lock table delivery.incoming_secrets in share row exclusive mode;
  if exists (select from delivery.incoming_secrets s where s.secret_id = p_secret_id) then
    return 'repeated';
  elsif p_others_for is distinct from interval '0' and (select count(*) from delivery.incoming_secrets s where s.expires_at > now()) >= 5 then
    return 'too_many';
  end if;
  if p_others_for is not null then
    update delivery.incoming_secrets s set expires_at = least(s.expires_at, now() + p_others_for) where s.source = p_source;
  end if;
  delete from delivery.incoming_secrets s where s.expires_at <= now();
  insert into delivery.incoming_secrets (secret_id, source, sealed, key_id, hint) values (p_secret_id, p_source, p_sealed, p_key_id, p_hint);
  perform delivery.noted('incoming_added', null, null, btrim(p_reason), null, jsonb_build_object('hint', p_hint, 'others_for', p_others_for));
  return 'done';
end $$;

create function api.end_incoming_secret(p_secret_id uuid, p_reason text) returns text
language plpgsql security definer set search_path = pg_catalog, delivery as $$
#variable_conflict use_column
declare
  hint text;
begin
  if char_length(btrim(coalesce(p_reason, ''))) not between 10 and 1000 then
    return 'reason';
  end if;
  delete from delivery.incoming_secrets s where s.secret_id = p_secret_id returning s.hint into hint;
  if not found then
    return 'not_found';
  end if;
  perform delivery.noted('incoming_ended', null, null, btrim(p_reason), null, jsonb_build_object('hint', hint));
  return 'done';
end $$;

-- As in 0029, and of these secrets.
create or replace function api.sealing_key() returns text language sql stable security definer set search_path = pg_catalog, delivery as $$
  select key_id from (select key_id, created_at as at from delivery.secrets union all select key_id, added_at from delivery.incoming_secrets) s
   order by at desc limit 1
$$;

revoke all on function api.add_incoming_secret(text, uuid, bytea, text, text, interval, text), api.end_incoming_secret(uuid, text) from public;
grant execute on function api.add_incoming_secret(text, uuid, bytea, text, text, interval, text), api.end_incoming_secret(uuid, text) to bizing_admin;
grant select on read.incoming_secrets_v1, read.incoming_secret_changes_v1 to bizing_viewer;
-- Who takes webhooks opens them.
grant select on delivery.incoming_secrets to bizing_worker;
