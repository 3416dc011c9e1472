-- What a person reads before and after: the request of each call as it was written down, and that undoing a booking that was never
-- confirmed tells the customer too.
--
-- Replaced: `read.effects_v1` of 0006, `saga.undo_operations` of 0031.
--
-- Locks: none on tables.

-- As in 0006, and: the request as it went out. Its authentication is no part of it; an address would be, and is left out.
create or replace view read.effects_v1 as
  select effect_id, saga_id, step, direction, generation, provider, operation, idempotency_key, intended_at, first_sent_at,
         last_sent_at, sends, outcome, provider_object, provider_status, provider_request_id, resolved_at, resolved_via,
         jsonb_build_object('method', request#>>'{encoded,method}', 'path', request#>>'{encoded,path}',
           'body', regexp_replace(request#>>'{encoded,body}', '(email|client_secret)=[^&]*', '\1=(left+out)', 'g')) as request
    from saga.effect;

-- As in 0031, and: where nothing is confirmed yet, the release cancels the booking, which tells the customer.
create or replace function saga.undo_operations(f jsonb) returns jsonb language plpgsql immutable set search_path = pg_catalog as $$
declare
  ops jsonb := '[]';
  kept bigint := (f->>'captured_minor')::bigint - (f->>'refunded_minor')::bigint;
  last int := least((f->>'cursor')::int, jsonb_array_length(f->'steps') - 1);
  step text;
begin
  for at in reverse last..0 loop
    step := f->'steps'->>at;
    ops := ops || case f->'undoes'->>at
      when 'correct' then case when f->>'direction' = 'F'
        then jsonb_build_object('step', step, 'op', case when f->>'message' in ('delivered', 'unclear') then 'correct' else 'nothing' end) else '[]' end
      when 'cancel' then jsonb_build_object('step', step, 'op', case when (f->>'confirmed')::boolean then 'cancel_booking' else 'nothing' end)
      when 'refund' then case when kept > 0
        then jsonb_build_object('step', step, 'op', 'refund', 'amount_minor', kept, 'currency', f->'currency')
        else jsonb_build_object('step', step, 'op', case when jsonb_path_exists(f->'effects', '$[*] ? (@[0] == "capture" && @[1] == "F" && (@[3] == "intended" || @[3] == "unknown"))')
                                                         then 'look_first' else 'nothing' end) end
      when 'void' then case when (f->>'captured_minor')::bigint = 0 and (f->>'asked')::boolean
        then jsonb_build_object('step', step, 'op', 'void', 'amount_minor', (f->>'authorised_minor')::bigint, 'currency', f->'currency')
        else jsonb_build_object('step', step, 'op', 'nothing') end
      when 'release' then case when (f->>'confirmed')::boolean or (f->>'cancelled')::boolean then '[]'::jsonb
                               else jsonb_build_array(jsonb_build_object('step', step, 'op', 'cancel_booking')) end
        || jsonb_build_object('step', step, 'op', case when (f->>'claims')::int > 0 then 'release' else 'nothing' end, 'claims', f->'claims')
      else jsonb_build_object('step', step, 'op', 'nothing') end;
  end loop;
  return ops;
end $$;
