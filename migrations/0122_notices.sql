-- People are told of an endpoint that warns, turns itself off or waits for a decision where they are, and not only where they look:
-- by e-mail or in a chat program, at addresses that an admin names. What is told is owed in the transaction of the fact, and sent
-- again until it is taken; a mail has the same id each time.
--
-- Locks: none but the catalogue's.

-- Each change is a version with its reason; the newest counts. An entry is an e-mail address or the address of a chat program.
create table delivery.notice_list (
  version int primary key,
  entries text[] not null check (cardinality(entries) <= 20),
  changed_at timestamptz not null default now(),
  changed_by text not null default session_user,
  reason text,
  constraint reason_length check (char_length(reason) <= 1000)
);
insert into delivery.notice_list (version, entries) values (0, '{}');

create table delivery.notices (
  change_id bigint not null references delivery.changes,
  entry text not null,
  next_at timestamptz not null default now(),
  tries int not null default 0,
  sent_at timestamptz,
  gave_up_at timestamptz,
  problem text,
  primary key (change_id, entry)
);
create index notices_due on delivery.notices (next_at) where sent_at is null and gave_up_at is null;

create function delivery.owe_notice() returns trigger language plpgsql security definer set search_path = pg_catalog, delivery as $$
begin
  insert into delivery.notices (change_id, entry)
    select new.change_id, e from (select entries from delivery.notice_list order by version desc limit 1) l, unnest(l.entries) e
  on conflict do nothing;
  return null;
end $$;
-- What endpoints did by themselves; what a person did is known to that person.
create trigger owe_notice after insert on delivery.changes for each row
  when (new.what in ('warned', 'disabled', 'held') and new.reason in ('failing', 'gone', 'days_of_failures', 'absence') and new.before is null)
  execute function delivery.owe_notice();

-- Notices that are due, each for a worker alone until `next_at`: longer from try to try. p_mail: whether it can send mail.
create function delivery.claim_notices(p_most int, p_mail boolean)
returns table (change_id bigint, entry text, tries int, at timestamptz, what text, reason text, name text, host text, facts jsonb, off_at timestamptz)
language sql security definer set search_path = pg_catalog, delivery as $$
  with due as (
    select n.change_id, n.entry from delivery.notices n where n.sent_at is null and n.gave_up_at is null and n.next_at <= now()
       and (p_mail or n.entry like 'http%')
     order by n.next_at limit p_most for update skip locked),
  mine as (
    update delivery.notices n set tries = n.tries + 1, next_at = now() + least(interval '1 minute' * 2 ^ least(n.tries, 10), interval '6 hours')
      from due d where n.change_id = d.change_id and n.entry = d.entry returning n.change_id, n.entry, n.tries)
  select m.change_id, m.entry, m.tries, c.at, c.what, c.reason, t.name, substring(t.url from '^https?://([^/?#]+)'), c.after,
         (c.after ->> 'failing_since')::timestamptz + interval '5 days'
    from mine m join delivery.changes c using (change_id) left join delivery.destinations t using (destination_id)
$$;

-- p_problem null: it is sent. p_over: it will be refused again.
create function delivery.note_notice(p_change bigint, p_entry text, p_problem text, p_over boolean) returns void
language sql security definer set search_path = pg_catalog, delivery as $$
  update delivery.notices n
     set sent_at = case when p_problem is null then now() end, problem = left(p_problem, 500),
         gave_up_at = case when p_problem is not null and (p_over or n.tries >= 12) then now() end
   where n.change_id = p_change and n.entry = p_entry and n.sent_at is null
$$;

-- 'done' | 'changed' | 'entry' | 'reason'
create function api.put_notice_list(p_version int, p_entries text[], p_reason text) returns text language plpgsql security definer
  set search_path = pg_catalog, delivery as $$
declare
  newest int;
begin
  if char_length(btrim(coalesce(p_reason, ''))) < 10 then
    return 'reason';
  elsif cardinality(p_entries) > 20 or exists (select from unnest(p_entries) x where x is null or length(x) not between 3 and 2048) then
    return 'entry';
  end if;
  lock table delivery.notice_list in share row exclusive mode;
  select max(version) into newest from delivery.notice_list;
  if newest <> p_version then
    return 'changed';
  end if;
  insert into delivery.notice_list (version, entries, reason) values (newest + 1, p_entries, btrim(p_reason));
  -- Nobody is told any more who is not on the list.
  delete from delivery.notices n where n.sent_at is null and n.entry <> all(p_entries);
  return 'done';
end $$;

-- An address of a chat program is a password: only admins read it.
create view read.notice_list_v1 as
  select version, cardinality(entries) as count, case when pg_has_role(session_user, 'bizing_admin', 'member') then entries end as entries,
         changed_at, changed_by, reason
    from delivery.notice_list;
create view read.notices_v1 as
  select change_id, case when pg_has_role(session_user, 'bizing_admin', 'member') then entry end as entry, next_at, tries, sent_at, gave_up_at, problem
    from delivery.notices;

-- Endpoints that turned themselves off and about which nobody has decided, or that will if nothing gets through; with the newest change
-- that says so, by which a window knows whether it has told of it.
create view read.endpoints_in_trouble_v1 as
  select d.destination_id, d.name, d.state_reason, d.state_at, h.failing_since, h.warned, h.last_error, c.change_id, c.what, c.at
    from delivery.destinations d join delivery.health h using (destination_id)
    cross join lateral (
      select c.change_id, c.what, c.at from delivery.changes c
       where c.destination_id = d.destination_id and c.what in ('warned', 'disabled') and c.before is null order by c.change_id desc limit 1) c
   where d.kind = 'webhook' and d.deleted_at is null
     and (d.state = 'disabled' and d.state_reason in ('gone', 'days_of_failures') or d.state <> 'disabled' and h.warned > 0);

-- As in 0029; one that turned itself off can be left off by a person, and asks nobody any more.
create or replace function api.change_endpoint(p_id uuid, p_version int, p_action text, p_recover_since timestamptz, p_reason text)
returns jsonb language plpgsql security definer set search_path = pg_catalog, delivery, core as $$
#variable_conflict use_column
declare
  d delivery.destinations;
  was jsonb;
  what text;
  n bigint := 0;
  m bigint := 0;
begin
  if p_action not in ('pause', 'resume', 'try_now', 'send_held', 'send_held_newest', 'cancel_held') and not admin.caller_is('admin') then
    raise exception 'permission denied: an admin decides that' using errcode = 'insufficient_privilege';
  end if;
  select * into d from delivery.destinations x where x.destination_id = p_id for update;
  if d.destination_id is null or d.kind <> 'webhook' or d.deleted_at is not null then
    return '{"status": "not_found"}';
  elsif d.version <> p_version then
    return '{"status": "conflict"}';
  end if;
  was := delivery.shown(p_id);
  case p_action
    when 'pause' then
      if d.state <> 'active' then
        return jsonb_build_object('status', 'refused', 'problem', d.state);
      end if;
      update delivery.destinations x set state = 'paused', state_reason = 'by_person', state_at = now(), version = x.version + 1, changed_at = now()
       where x.destination_id = p_id;
      what := 'paused';
    when 'resume' then
      if d.state <> 'paused' then
        return jsonb_build_object('status', 'refused', 'problem', d.state);
      end if;
      update delivery.destinations x set state = 'active', state_reason = null, state_at = now(), version = x.version + 1, changed_at = now()
       where x.destination_id = p_id;
      what := 'resumed';
    when 'try_now' then
      update delivery.health h set open_until = case when h.breaker = 'closed' then null else now() end, probe_until = null, paused_until = null
       where h.destination_id = p_id;
      -- One that is really owed goes ahead.
      update delivery.deliveries x set next_at = now(), changed_at = now()
       where x.delivery_id = (select o.delivery_id from delivery.deliveries o where o.destination_id = p_id and o.state = 'scheduled'
                               order by o.next_at, o.delivery_id limit 1) and x.next_at > now();
      what := 'tried_now';
    when 'keep_on' then
      update delivery.health h set failing_since = case when h.failing_since is not null then now() end, warned = 0 where h.destination_id = p_id;
      what := 'kept_on';
    when 'disable' then
      if d.state = 'disabled' and d.state_reason = 'by_person' then
        return jsonb_build_object('status', 'refused', 'problem', d.state);
      end if;
      update delivery.destinations x
         set state = 'disabled', active = false, state_reason = 'by_person', state_at = now(), version = x.version + 1, changed_at = now()
       where x.destination_id = p_id;
      what := 'disabled';
    when 'enable' then
      if d.state <> 'disabled' then
        return jsonb_build_object('status', 'refused', 'problem', d.state);
      end if;
      update delivery.destinations x
         set state = 'active', active = true, state_reason = null, state_at = now(), version = x.version + 1, changed_at = now()
       where x.destination_id = p_id;
      update delivery.health h
         set (breaker, opened_at, opened_times, open_until, probe_until, probes_ok, failures, failing_since, warned, window_from, limit_now, limit_ok, paused_until)
           = ('closed', null, 0, null, null, 0, 0, null, 0, null, null, 0, null)
       where h.destination_id = p_id;
      what := 'enabled';
    when 'delete' then
      update delivery.destinations x
         set deleted_at = now(), active = false, headers = null, headers_key = null, version = x.version + 1, changed_at = now()
       where x.destination_id = p_id;
      delete from delivery.secrets s where s.destination_id = p_id;
      update delivery.deliveries x set state = 'cancelled', finished_at = now(), fence = x.fence + 1, changed_at = now()
       where x.destination_id = p_id and x.state in ('scheduled', 'held');
      get diagnostics m = row_count;
      what := 'deleted';
    when 'send_held' then
      update delivery.deliveries x set state = 'scheduled', next_at = now(), fence = x.fence + 1, changed_at = now()
       where x.destination_id = p_id and x.state = 'held';
      get diagnostics n = row_count;
      what := 'held_sent';
    when 'send_held_newest' then
      update delivery.deliveries x set state = 'scheduled', next_at = now(), fence = x.fence + 1, changed_at = now()
       where x.destination_id = p_id and x.state = 'held'
         and x.delivery_id in (select distinct on (o.stream_id) o.delivery_id from delivery.deliveries o
                                where o.destination_id = p_id and o.state = 'held' order by o.stream_id, o.position desc);
      get diagnostics n = row_count;
      update delivery.deliveries x set state = 'cancelled', finished_at = now(), fence = x.fence + 1, changed_at = now()
       where x.destination_id = p_id and x.state = 'held';
      get diagnostics m = row_count;
      what := 'held_newest_sent';
    when 'cancel_held' then
      update delivery.deliveries x set state = 'cancelled', finished_at = now(), fence = x.fence + 1, changed_at = now()
       where x.destination_id = p_id and x.state = 'held';
      get diagnostics m = row_count;
      what := 'held_cancelled';
    else
      return '{"status": "invalid", "field": "action", "problem": "no such action"}';
  end case;
  if p_action in ('disable', 'enable', 'delete') then
    perform delivery.subscribe(p_id);
  end if;
  if p_action = 'enable' and p_recover_since is not null then
    n := delivery.recover(p_id, p_recover_since);
  end if;
  perform delivery.noted(what, p_id, null, p_reason, was,
                         delivery.shown(p_id) || jsonb_strip_nulls(jsonb_build_object('sent', nullif(n, 0), 'cancelled', nullif(m, 0), 'recover_since', p_recover_since)));
  return jsonb_build_object('status', 'done', 'sent', n, 'cancelled', m);
end $$;

revoke all on function delivery.owe_notice(), delivery.claim_notices(int, boolean), delivery.note_notice(bigint, text, text, boolean),
  api.put_notice_list(int, text[], text) from public;
grant execute on function delivery.claim_notices(int, boolean), delivery.note_notice(bigint, text, text, boolean) to bizing_worker;
grant execute on function api.put_notice_list(int, text[], text) to bizing_admin;
grant select on read.notice_list_v1, read.notices_v1, read.endpoints_in_trouble_v1 to bizing_viewer, bizing_worker;
