-- What people are called, for everybody who reads what they did: a decision, an approval, who looks after a saga. Who was faster is
-- told by name. Replaced: `saga.changed_by` of 0025.
--
-- Locks: none.

-- `able`: may look after something, as far as this server knows the login.
create view read.names_v1 as
  select coalesce(p.login::text, own.login) as login, coalesce(own.name, p.display_name) as name,
         p.disabled_at is null and exists (select 1 from pg_catalog.pg_roles r where r.rolname = p.login and r.rolcanlogin
                                              and pg_catalog.pg_has_role(r.oid, admin.role_of('staff'), 'member')) as able
    from admin.person p
    -- What somebody calls themselves comes before what they were called when the login was made.
    full join (select substr(s.name, length('display_name.') + 1) as login, s.value #>> '{}' as name
                 from read.settings_v1 s where s.name like 'display\_name.%') own on own.login = p.login::text;
grant select on read.names_v1 to bizing_viewer;

create or replace function saga.changed_by(p_saga uuid) returns jsonb language sql stable security definer set search_path = pg_catalog, saga as $$
  select jsonb_build_object('who', c.requested_by, 'name', (select p.display_name from admin.person p where p.login::text = c.requested_by),
                            'action', c.action, 'seconds', extract(epoch from now() - c.applied_at)::int)
    from saga.command c where c.saga_id = p_saga and c.status = 'applied' and c.action not in ('assign', 'snooze', 'note') and c.applied_at > now() - interval '1 hour'
   order by c.applied_at desc limit 1
$$;
