-- Asking a worker: what needs a provider's key is asked of whoever holds it, and people's windows never do. A person writes the
-- question, a live worker looks at the provider, and the answer stands beside the ledger with who asked and when. An answer
-- changes nothing: what became of a call is still said by the saga's own look, or by a person with evidence.
--
-- Locks: saga.worker gets a column without a rewrite.

-- Providers that this worker may ask: names, never keys.
alter table saga.worker add column asks text[] not null default '{}';

create table admin.ask (
  ask_id uuid primary key,
  kind text not null constraint ask_kind check (kind in ('stripe.saga')),
  saga_id uuid references saga.instance,
  asked_by text not null default session_user,
  asked_at timestamptz not null default now(),
  -- Nobody waits longer for an answer: a worker that comes later finds nothing to do.
  expires_at timestamptz not null default now() + interval '30 seconds',
  taken_by uuid,
  taken_at timestamptz,
  answered_at timestamptz,
  answer jsonb,
  problem text,                              -- why there is no answer, in the provider's words or ours
  constraint taken check ((taken_by is null) = (taken_at is null)),
  constraint answered check (case when answered_at is null then answer is null and problem is null else (answer is null) <> (problem is null) end),
  constraint asked_about check ((kind = 'stripe.saga') = (saga_id is not null))
);
create index ask_open on admin.ask (asked_at) where answered_at is null;
create index ask_of_saga on admin.ask (saga_id, asked_at desc) where saga_id is not null;
create index ask_by on admin.ask (asked_by, asked_at desc);

-- Whether a worker that may ask this provider is alive.
create function api.worker_asks(p_provider text) returns boolean language sql stable security definer set search_path = pg_catalog, saga as $$
  select exists (select 1 from saga.worker w where w.heartbeat_at > now() - interval '60 seconds' and not w.draining and p_provider = any(w.asks))
$$;

-- Asks what Stripe has of a saga. Answers {status, ask_id}: asked (also when somebody's question is open: then it is that one),
-- no_worker, nothing (nothing of it is at Stripe), too_many, reused, not_found.
create function api.ask_stripe(p_ask uuid, p_saga uuid) returns jsonb language plpgsql security definer set search_path = pg_catalog, admin, saga as $$
declare
  i saga.instance;
  known admin.ask;
begin
  select * into i from saga.instance where saga_id = p_saga;
  if not found then return '{"status": "not_found"}'; end if;
  select * into known from admin.ask where ask_id = p_ask;
  if found then
    return jsonb_build_object('status', case when known.saga_id = p_saga then 'asked' else 'reused' end, 'ask_id', p_ask);
  end if;
  if not exists (select 1 from saga.effect e join saga.instance x using (saga_id) where x.booking_id = i.booking_id and e.provider = 'stripe') then
    return '{"status": "nothing"}';
  end if;
  if not api.worker_asks('stripe') then return '{"status": "no_worker"}'; end if;
  -- Two who ask at once get one answer.
  perform pg_advisory_xact_lock(hashtextextended('ask:' || p_saga, 0));
  select * into known from admin.ask a where a.saga_id = p_saga and a.answered_at is null and a.expires_at > now() order by a.asked_at desc limit 1;
  if found then return jsonb_build_object('status', 'asked', 'ask_id', known.ask_id); end if;
  if (select count(*) from admin.ask a where a.asked_by = session_user and a.asked_at > now() - interval '1 minute') >= 30 then
    return '{"status": "too_many"}';
  end if;
  -- Who looked at what is kept for a quarter; a few go with each new one.
  delete from admin.ask where ask_id = any(array(select a.ask_id from admin.ask a where a.asked_at < now() - interval '90 days' order by a.asked_at limit 50));
  insert into admin.ask (ask_id, kind, saga_id) values (p_ask, 'stripe.saga', p_saga);
  return jsonb_build_object('status', 'asked', 'ask_id', p_ask);
end $$;

-- A worker takes the oldest question that nobody works on. One that died over it is followed by another.
create function admin.take_ask(p_worker uuid, out ask_id uuid, out kind text, out saga_id uuid) returns setof record
language sql security definer set search_path = pg_catalog, admin as $$
  update admin.ask a set taken_by = p_worker, taken_at = now()
   where a.ask_id = (select x.ask_id from admin.ask x
                      where x.answered_at is null and x.expires_at > now() and (x.taken_at is null or x.taken_at < now() - interval '10 seconds')
                      order by x.asked_at limit 1 for update skip locked)
  returning a.ask_id, a.kind, a.saga_id
$$;

-- `false`: somebody else answers it meanwhile.
create function admin.answer_ask(p_ask uuid, p_worker uuid, p_answer jsonb, p_problem text) returns boolean
language sql security definer set search_path = pg_catalog, admin as $$
  with told as (
    update admin.ask a set answered_at = now(), answer = p_answer, problem = p_problem
     where a.ask_id = p_ask and a.taken_by = p_worker and a.answered_at is null returning 1)
  select exists (select from told)
$$;

create view read.asks_v1 as
  select ask_id, kind, saga_id, asked_by, asked_at, answered_at, answer, problem,
         case when answer is not null then 'answered' when problem is not null then 'failed'
              when expires_at > now() then 'open' else 'unanswered' end as state
    from admin.ask;
create or replace view read.saga_workers_v1 as
  select worker_id, host, app_version, supports, kind, heartbeat_at, draining, asks from saga.worker;

revoke all on function api.worker_asks(text), api.ask_stripe(uuid, uuid), admin.take_ask(uuid), admin.answer_ask(uuid, uuid, jsonb, text) from public;
grant execute on function api.worker_asks(text) to bizing_viewer;
grant execute on function api.ask_stripe(uuid, uuid) to bizing_staff;
grant execute on function admin.take_ask(uuid), admin.answer_ask(uuid, uuid, jsonb, text) to bizing_worker;
grant select on read.asks_v1 to bizing_viewer, bizing_worker;
