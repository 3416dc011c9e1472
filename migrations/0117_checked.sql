-- Whoever ends a saga by hand says of each of the three that count that they looked at it: money, booking and slot. It stands in the
-- audit, beside the evidence. Many that are ended at once have evidence of each, as before.
--
-- Replaced: `saga.lacks` of 0046, `saga.plan` of 0115.
--
-- Locks: none on tables.

-- As in 0046, and: what was looked at.
create or replace function saga.lacks(p_action text, p_params jsonb, p_reason text) returns text language sql immutable set search_path = pg_catalog, saga as $$
  select case
    when p_action in ('resolve', 'resolve_step') and char_length(btrim(coalesce(p_params->>'evidence', ''))) < 3 then 'evidence'
    when p_action = 'resolve' and not coalesce(p_params->'checked', '[]') @> '["money", "booking", "slot"]' then 'checked'
    when p_action = 'resolve_step' and coalesce(p_params->>'outcome', '') not in ('done', 'not_done') then 'outcome'
    when p_action = 'extend_hold' and not case when p_params->>'minutes' ~ '^[0-9]{1,4}$' then (p_params->>'minutes')::int between 5 and 1440 else false end then 'minutes'
    when p_action = 'snooze' and p_params->>'until' is null then 'until'
    when p_action = 'note' and char_length(btrim(coalesce(p_reason, ''))) < 1 then 'reason'
    when p_action = 'correct' and coalesce(p_params->>'field', '') not in ('email', 'payment_method') then 'field'
  end
$$;

-- As in 0115, and: what was looked at is no part of what is planned.
create or replace function saga.plan(f jsonb, p_action text, p_params jsonb, p_by text) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  plan jsonb := case p_action when 'undo_from' then saga.plan_undo_from(f, p_params, p_by) else saga.plan_of(f, p_action, p_params - 'checked', p_by) end;
  lines jsonb;
  lost boolean;
  gives boolean;
begin
  if p_action = 'resolve_step' and plan->>'refused' = 'outcome_known' and f->>'direction' <> 'F' and f->>'step' = 'payment'
     and f#>>'{last_effect,step}' = 'payment' and f#>>'{last_effect,direction}' = 'C' and f#>>'{last_effect,outcome}' = 'rejected' then
    plan := plan || jsonb_build_object('refused', case when coalesce(p_params->>'outcome', '') not in ('done', 'not_done', '') then 'outcome' end);
  end if;
  -- Below the refund nothing gives money back: a try there would only end with it here.
  if p_action = 'retry' and plan->>'refused' is null and f->>'direction' = 'C' and f->>'step' = 'hold' and (plan->>'kept_minor')::bigint > 0 then
    plan := plan || '{"refused": "money_here"}';
  end if;
  -- Of nobody else is anything asked.
  if p_action not in ('compensate', 'undo_from', 'cancel', 'retry', 'resolve', 'resolve_step') then return plan; end if;
  select jsonb_agg(jsonb_build_object('op', case when d.status = 'lost' then 'dispute_lost' else 'disputed' end, 'amount_minor', d.amount_minor, 'currency', d.currency, 'object', d.dispute_id)
                   order by d.told_at, d.dispute_id), bool_and(d.status = 'lost')
    into lines, lost
    from saga.disputes d
   where d.booking_id = (select i.booking_id from saga.instance i where i.saga_id = (f->>'saga_id')::uuid) and (d.closed_at is null or d.status = 'lost');
  if lines is null then return plan; end if;
  gives := jsonb_path_exists(plan->'operations', '$[*] ? (@.op == "refund")')
        or p_action = 'retry' and (plan->>'kept_minor')::bigint > 0 and (f->>'step' = 'refund' or f->>'direction' = 'C' and f->>'step' = 'capture');
  -- Behind the others: what an act does stands first, and is found there.
  plan := jsonb_set(plan, '{operations}', (plan->'operations') || lines);
  if gives and plan->>'refused' is null then
    plan := plan || jsonb_build_object('refused', case when lost then 'dispute_lost' else 'disputed' end, 'needs_approval', false);
  end if;
  return plan;
end $$;
