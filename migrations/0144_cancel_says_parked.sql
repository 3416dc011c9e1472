-- Who asks to cancel a booking that waits for a person is told so. Before, it was answered as one that is confirmed, which of a booking
-- that nobody has paid for yet is not true.
--
-- Again: `api.request_cancel`, of 0031. New answers: 'parked'; 'given_up' of one that is being cancelled under terms; and of what is over its
-- state, where 'finished' was said of everything and told as "confirmed" too.

create or replace function api.request_cancel(p_command uuid, p_saga uuid, p_reason text) returns text language plpgsql security definer
  set search_path = pg_catalog, saga as $$
declare
  i saga.instance;
  asked_of uuid;
begin
  select * into i from saga.instance where saga_id = p_saga for update;
  if not found then return 'not_found'; end if;
  select c.saga_id into asked_of from saga.command c where c.command_id = p_command;
  if found then return case when asked_of = p_saga then 'asked' else 'reused' end; end if;
  -- Its turn is a person's, who sees what it would do: a wish beside that would be carried out unseen by their next act.
  if i.state = 'parked' then return 'parked'; end if;
  if i.definition = 'cancellation' and i.state <> 'resolved' then return 'given_up'; end if;
  if i.finished_at is not null then return i.state; end if;
  if i.state = 'compensating' or i.direction = 'C' or i.cancel_requested_at is not null then return 'undoing'; end if;
  -- What is confirmed is given up under terms.
  if i.pivot_passed_at is not null or i.step is not distinct from 'notify' then return 'too_late'; end if;
  insert into saga.command (command_id, saga_id, action, expected_version, reason, requested_by, status, applied_at, before)
    values (p_command, p_saga, 'cancel', i.version, p_reason, session_user, 'applied', now(),
            jsonb_build_object('state', i.state, 'cursor', i.cursor, 'version', i.version));
  -- Whoever writes at this moment knows nothing of it yet, so they write no more.
  update saga.instance set cancel_requested_at = now(), cancel_requested_by = session_user,
         version = version + 1, fence = fence + 1, by_fence = fence + 1, lease_owner = null, lease_expires_at = null,
         context = context || jsonb_build_object('cancel_reason', p_reason), wake_at = now(), updated_at = now()
   where saga_id = p_saga;
  return 'asked';
end $$;
