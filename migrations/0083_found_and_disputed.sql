-- A saga is found by its booking's reference although the list of bookings is behind or stands still: the write side's register knows
-- it. And giving money back says what a customer's bank has to do with it.
--
-- `saga.plan` of 0046 is `saga.plan_of` from here on, with a look at disputes around it.
--
-- Locks: none on tables.

create view read.references_v1 as select booking_id, reference from booking.booking;
grant select on read.references_v1 to bizing_viewer;

alter function saga.plan(jsonb, text, jsonb, text) rename to plan_of;

-- As before, and: a payment that the customer's bank contests, or took, is not given back beside that, since the customer would have it
-- twice. Each dispute is a line of its own, and a part of the plan that is seen.
create function saga.plan(f jsonb, p_action text, p_params jsonb, p_by text) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  plan jsonb := saga.plan_of(f, p_action, p_params, p_by);
  lines jsonb;
  lost boolean;
  gives boolean;
begin
  -- Of nobody else is anything asked.
  if p_action not in ('compensate', 'cancel', 'retry', 'resolve', 'resolve_step') then return plan; end if;
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
revoke all on function saga.plan(jsonb, text, jsonb, text) from public;
