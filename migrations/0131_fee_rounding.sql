-- A fee is rounded half up, and in a currency of three decimals to ten minor units: Stripe takes no sum there whose last digit is not 0,
-- so a refund of what a fee left could be refused. Until now a fee was cut off below.
--
-- A hold that is over is refused by the plan, and the refusal stands in the audit: the act itself raised, which took the refusal with it.
--
-- Replaced: `saga.cancel_terms` of 0031, which asks for the currency now, and with it `saga.plan_of` (0046, named so by 0083).
--
-- Locks: none.

drop function saga.cancel_terms(jsonb, bigint, timestamptz, boolean);
create function saga.cancel_terms(p_policy jsonb, p_kept bigint, p_currency text, p_starts timestamptz, p_waive boolean) returns jsonb
language sql stable set search_path = pg_catalog as $$
  with t as (select case when p_waive or not p_policy ? 'cancel_free_hours' then 0
      when now() <= p_starts - make_interval(hours => (p_policy->>'cancel_free_hours')::int) then 0
      when now() <= p_starts - make_interval(hours => (p_policy->>'cancel_late_hours')::int) then (p_policy->>'cancel_fee_percent')::int
      else (p_policy->>'cancel_late_percent')::int end as percent,
      -- Stripe's currencies of three decimals.
      case when p_currency in ('BHD', 'JOD', 'KWD', 'OMR', 'TND') then 10 else 1 end as unit),
  f as (select percent, least(p_kept, (p_kept * percent + 50 * unit) / (100 * unit) * unit) as fee from t)
  select jsonb_build_object('percent', percent, 'fee_minor', fee, 'refund_minor', p_kept - fee, 'waived', p_waive) from f
$$;
revoke all on function saga.cancel_terms(jsonb, bigint, text, timestamptz, boolean) from public;

create or replace function saga.plan_of(f jsonb, p_action text, p_params jsonb, p_by text) returns jsonb language plpgsql stable security definer
  set search_path = pg_catalog, saga as $$
declare
  refused text;
  ops jsonb := '[]';
  refund bigint := 0;
  kept bigint := (f->>'captured_minor')::bigint - (f->>'refunded_minor')::bigint;
  state text := f->>'state';
  forward boolean := f->>'direction' = 'F';
  step text := f->>'step';
  last jsonb := f->'last_effect';
  terms jsonb;
  more jsonb;
  looked text;
  contradicts boolean := false;
  -- The step whose call gives money back: an undo of a booking, the way forward of a cancellation.
  refunds boolean := not (f->>'direction' = 'F') and f->>'step' = 'capture' or f->>'step' = 'refund';
  policy saga.policy;
  threshold bigint;
  decides boolean := false;
begin
  case p_action
    when 'retry' then
      if (f->>'finished')::boolean then refused := 'finished';
      elsif (f->>'paused')::boolean then refused := 'paused';
      elsif (f->>'leased')::boolean then refused := 'at_work';
      elsif state <> 'parked' and not (f->>'failing')::boolean then refused := 'nothing_failed';
      elsif state = 'parked' and forward and step = 'notify' and f->>'message' = 'unclear' then refused := 'message_unclear';
      end if;
      ops := jsonb_build_array(jsonb_build_object('step', step, 'op', case when forward and step = 'notify' then 'send_again' else 'try_again' end));
    when 'compensate' then
      if (f->>'finished')::boolean then refused := 'finished';
      elsif not forward then refused := 'undoing';
      elsif (f->>'forward_only')::boolean then refused := 'forward_only';
      elsif (f->>'given_up')::boolean then refused := 'given_up';
      elsif (f->>'leased')::boolean then refused := 'at_work';
      elsif (f->>'paused')::boolean then refused := 'paused';
      end if;
      ops := saga.undo_operations(f);
      refund := case when jsonb_path_exists(ops, '$[*] ? (@.op == "refund")') then kept else 0 end;
      decides := true;
    when 'skip' then
      if state <> 'parked' then refused := 'not_parked';
      elsif not forward or step is distinct from 'notify' then refused := 'not_skippable';
      elsif not (f->>'confirmed')::boolean and f->>'definition' not like 'cancellation@%' then refused := 'not_confirmed';
      end if;
      ops := jsonb_build_array(jsonb_build_object('step', 'notify', 'op', 'told_by_hand'));
    when 'resolve_step' then
      if state <> 'parked' then refused := 'not_parked';
      elsif f->>'open_effect' is null and not (refunds and (last->>'outcome' = 'rejected' or (f->>'refund_failed')::boolean)) then refused := 'outcome_known';
      elsif coalesce(p_params->>'outcome', '') not in ('done', 'not_done', '') then refused := 'outcome';
      end if;
      ops := jsonb_build_array(jsonb_build_object('step', coalesce(last->>'step', ''), 'op', coalesce(p_params->>'outcome', 'done'), 'effect_id', coalesce(f->>'open_effect', last->>'effect_id'),
        'operation', last->'operation'));
      -- Money that is said to have gone back: a second pair of eyes above the threshold.
      if coalesce(p_params->>'outcome', 'done') = 'done' and refunds then
        refund := case when step = 'refund' then (f#>>'{terms,refund_minor}')::bigint else kept end;
        decides := true;
        ops := ops || jsonb_build_object('step', step, 'op', 'record_refund', 'amount_minor', refund, 'currency', f->'currency');
      end if;
      -- What a worker saw of this very call when Stripe was asked last, within the hour.
      select c->>'found' into looked
        from admin.ask a cross join lateral jsonb_array_elements(a.answer->'calls') c
       where a.saga_id = (f->>'saga_id')::uuid and a.answered_at > now() - interval '1 hour' and c->>'effect_id' = f->>'open_effect'
       order by a.answered_at desc limit 1;
      contradicts := case coalesce(p_params->>'outcome', 'done') when 'done' then looked = 'absent' else looked = 'happened' end is true;
      if contradicts then ops := ops || jsonb_build_object('step', step, 'op', 'contradicts', 'found', looked); end if;
    when 'resolve' then
      if state <> 'parked' then refused := 'not_parked'; end if;
      ops := jsonb_build_array(
        jsonb_build_object('op', 'end'),
        jsonb_build_object('step', 'capture', 'op', 'keep_money', 'amount_minor', kept, 'currency', f->'currency'),
        jsonb_build_object('step', 'confirm', 'op', case when (f->>'confirmed')::boolean then 'booking_stands' when (f->>'cancelled')::boolean then 'booking_cancelled' else 'no_booking' end),
        jsonb_build_object('step', 'hold', 'op', case when (f->>'claims')::int > 0 then 'slot_stays' else 'slot_free' end));
      refund := kept;
      decides := true;
    when 'reopen' then
      if not (f->>'finished')::boolean then refused := 'not_finished';
      elsif (f->>'given_up')::boolean then refused := 'given_up';
      elsif state = 'compensated' and f->>'definition' like 'cancellation@%' then refused := 'withdrawn'; end if;
      ops := jsonb_build_array(jsonb_build_object('op', 'park'));
    when 'pause' then
      if (f->>'finished')::boolean then refused := 'finished';
      elsif (f->>'paused')::boolean then refused := 'paused';
      elsif state = 'parked' then refused := 'parked';
      end if;
      ops := jsonb_build_array(jsonb_build_object('op', 'pause', 'hold_expires_at', f->'hold_expires_at'));
    when 'resume' then
      if not (f->>'paused')::boolean then refused := 'not_paused'; end if;
    when 'extend_hold' then
      if state <> 'waiting' or not forward or step not in ('hold', 'payment') then refused := 'not_waiting';
      elsif f->>'hold_expires_at' is null or (f->>'claims')::int = 0 then refused := 'no_hold';
      elsif (f->>'hold_expires_at')::timestamptz <= now() then refused := 'hold_over';
      end if;
      ops := jsonb_build_array(jsonb_build_object('step', 'hold', 'op', 'extend', 'hold_expires_at', f->'hold_expires_at'));
    when 'release_lease' then
      if not (f->>'leased')::boolean then refused := 'not_leased';
      elsif (f->>'owner_alive')::boolean then refused := 'owner_alive';
      end if;
    when 'cancel' then
      if f->>'definition' like 'cancellation@%' then refused := 'cancelling';
      elsif (f->>'given_up')::boolean then refused := 'cancelling';
      elsif not (f->>'confirmed')::boolean then refused := 'not_confirmed_yet';
      elsif not forward then refused := 'undoing';
      elsif state = 'parked' then refused := 'decide_first';
      elsif (f->>'leased')::boolean then refused := 'at_work';
      elsif (f->>'paused')::boolean then refused := 'paused';
      elsif not (f->>'finished')::boolean and step is distinct from 'notify' then refused := 'at_work';
      elsif (f->>'refund_pending')::boolean then refused := 'refund_pending';
      elsif coalesce((p_params->>'waive_fee')::boolean, false) and not admin.caller_is('manager') then refused := 'waive_manager';
      end if;
      select * into policy from saga.policy order by version desc limit 1;
      terms := saga.cancel_terms(policy.value, kept, f->>'currency', (f->>'starts')::timestamptz, coalesce((p_params->>'waive_fee')::boolean, false));
      ops := saga.cancel_operations(f, terms);
      refund := (terms->>'refund_minor')::bigint;
      decides := true;
    when 'assign', 'snooze' then
      if (f->>'finished')::boolean then refused := 'finished'; end if;
    when 'note' then null;
    else
      more := saga.plan_more(f, p_action, p_params);
      refused := more->>'refused';
      ops := coalesce(more->'operations', '[]');
  end case;

  select * into policy from saga.policy order by version desc limit 1;
  threshold := coalesce((policy.value#>>array['approval_minor', f->>'currency'])::bigint, (policy.value#>>'{approval_minor,*}')::bigint);
  return jsonb_build_object('action', p_action, 'params', p_params - 'evidence', 'refused', refused, 'operations', ops,
    'refund_minor', case when p_action in ('compensate', 'cancel') then greatest(refund, 0) else 0 end, 'kept_minor', kept, 'currency', f->'currency',
    'needs_approval', refused is null and contradicts and saga.others_may_approve(p_by) or decides and refused is null and saga.others_may_approve(p_by)
                      and case when p_action = 'resolve' then kept <> 0 and f->>'definition' not like 'cancellation@%'
                                                   or f->>'definition' like 'cancellation@%' and kept <> coalesce((f#>>'{terms,fee_minor}')::bigint, 0)
                                                 else refund > 0 and refund >= threshold end,
    'threshold_minor', threshold, 'policy_version', policy.version, 'to_version', more->'to_version', 'terms', terms, 'facts', f - 'owner_alive');
end $$;
