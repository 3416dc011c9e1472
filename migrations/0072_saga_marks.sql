-- What the page of sagas shows beside the sagas: decisions for many, those that wait for a second person, cases, what stands
-- still. None of it changes a saga's row while it begins, is left out or ends, and so another window's page showed it late.
--
-- Locks: none.

-- What waits for a second person. By the state in its row: as read.saga_commands_v2 says it no index finds it.
create view read.saga_approvals_v1 as
  select command_id, saga_id, expires_at from saga.command where status = 'awaiting_approval' and (expires_at >= now()) is not false;

-- One row, which differs when something of that has changed. A batch that ended leaves it after a while, which is a change
-- too: who missed its end hears of it then.
create view read.saga_marks_v1 as
  select jsonb_build_array(
    (select jsonb_agg(jsonb_build_array(b.batch_id, b.state, b.approval, n.open) order by b.batch_id) from saga.batch b
       cross join lateral (select count(*) as open from saga.batch_item x where x.batch_id = b.batch_id and x.status = 'pending') n
      where b.state = 'running' or b.approval = 'pending' or b.ended_at > now() - interval '10 seconds'),
    (select jsonb_agg(a.command_id order by a.command_id) from read.saga_approvals_v1 a),
    (select jsonb_agg(a.case_id order by a.case_id) from saga.attention a where a.closed_at is null and (a.saga_id is null or a.kind like 'orphan:%')),
    (select jsonb_agg(g.provider order by g.provider) from saga.provider_gate g where g.state <> 'closed')) as marks;

grant select on read.saga_approvals_v1, read.saga_marks_v1 to bizing_viewer;
