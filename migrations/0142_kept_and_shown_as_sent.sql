-- What was sent is shown as it was sent, and an event that the database cannot hold stops nothing.
--
-- Locks: `delivery.attempts` for as long as it takes to write a column into the catalogue.

-- What the endpoint was sent at that try: it may be sent another shape today. Null: before this was written down.
alter table delivery.attempts add column shape text check (length(shape) <= 20);

-- As in 0121, with the shape.
create or replace view read.delivery_tries_v1 as
  select delivery_id, no, started_at, ended_at, result, error, response, trigger, late,
         case when pg_has_role(session_user, 'bizing_staff', 'member') or pg_has_role(session_user, 'bizing_worker', 'member') then url
              else regexp_replace(url, '^(https?://[^/?#]+)[/?#].+$', '\1/…') end as url,
         status, error_class, dns_ms, connect_ms, tls_ms, first_byte_ms, body_ms, total_ms, peer, request_headers, response_headers, body, body_cut,
         tls, shape
    from delivery.attempts;

-- An event whose text the database refuses (an escaped NUL) is kept without it, and waits for a person: what it is about is known, and
-- more is not needed to have it processed. `false`: it is known already.
create function delivery.quarantine(p_source text, p_via text, p_id text, p_kind text, p_object text, p_version text, p_created timestamptz,
                                    p_problem text)
returns boolean language plpgsql security definer set search_path = pg_catalog, delivery as $$
begin
  if delivery.take_in(p_source, p_via, array[p_id], array[p_kind], array[p_object], array[p_version],
                      array[jsonb_build_object('id', p_id, 'type', p_kind, 'data', jsonb_build_object('object', jsonb_build_object('id', p_object)))],
                      array[p_created], null, null, null, null, null, null, null) = 0 then
    return false;
  end if;
  update delivery.inbox i set state = 'quarantined', problem = left(p_problem, 500) where i.source = p_source and i.external_id = p_id;
  return true;
end $$;

revoke all on function delivery.quarantine(text, text, text, text, text, text, timestamptz, text) from public;
grant execute on function delivery.quarantine(text, text, text, text, text, text, timestamptz, text) to bizing_worker;
