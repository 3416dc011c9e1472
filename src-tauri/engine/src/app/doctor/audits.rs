//! The audits. Each statement yields one row of text for each thing found.

pub struct Audit {
    pub name: &'static str,
    pub sql: &'static str,
    pub meaning: &'static str,
    pub what_to_do: &'static str,
    /// Reads and hashes every event: only on request.
    pub deep: bool,
    /// Looks at the streams `$1 < stream_no <= $2`, and is asked for all of them piece by piece.
    pub by_streams: bool,
}

const fn audit(
    name: &'static str,
    sql: &'static str,
    meaning: &'static str,
    what_to_do: &'static str,
) -> Audit {
    Audit {
        name,
        sql,
        meaning,
        what_to_do,
        deep: false,
        by_streams: false,
    }
}

pub static ALL: [Audit; 27] = [
    // ---- money -----------------------------------------------------------------------------------------------------
    audit(
        "money.captured_equals_events",
        // A capture that was only just confirmed may still be on its way into an event.
        "with ours as (
           select i.booking_id, max(f.resolved_at) filter (where f.step = 'capture') as captured_at
             from saga.effect f join saga.instance i using (saga_id)
            where f.outcome = 'confirmed' and f.direction = 'F' group by 1
         ), received as (
           select substr(s.stream_id, 9)::uuid as booking_id, count(*) as n,
                  sum((e.data->'amount_received'->>'amount_minor')::bigint) as minor
             from core.events e join core.event_types t using (type_no) join core.streams s using (stream_no)
            where t.name = 'PaymentReceived' and not exists (select 1 from core.imports m where e.position > m.after_position and e.position <= m.upto_position)
            group by 1
         ), agreed as (
           select booking_id, max(amount_minor) as minor from saga.instance group by 1
         )
         select format('booking %s: ', booking_id) || case
                  when r.n is null then 'a capture is confirmed, and no event records the money'
                  when o.booking_id is null then format('%s recorded as received, and no effect of ours is confirmed', r.minor)
                  when r.n > 1 then format('recorded as received %s times', r.n)
                  else format('%s received, %s agreed', r.minor, a.minor) end
           from ours o full join received r using (booking_id) left join agreed a using (booking_id)
          where (r.n is null and o.captured_at < now() - interval '5 minutes')
             or (r.n is not null and (o.booking_id is null or r.n > 1 or r.minor is distinct from a.minor))",
        "What the provider confirmed and what the events say was received are not the same.",
        "Open the payment at the provider and compare it with the booking's timeline. Decide by what the provider shows; do not capture or refund before.",
    ),
    audit(
        "money.refunds_within_captured",
        "select format('%s: %s refunded of %s received', s.stream_id, refunded, received)
           from (select e.stream_no, coalesce(sum((e.data->'amount_received'->>'amount_minor')::bigint), 0) as received,
                        coalesce(sum((e.data->'amount'->>'amount_minor')::bigint) filter (where t.name = 'PaymentRefunded'), 0)
                          - coalesce(sum((e.data->'amount'->>'amount_minor')::bigint) filter (where t.name = 'RefundReturned'), 0) as refunded
                   from core.events e join core.event_types t using (type_no)
                  where t.name in ('PaymentReceived', 'PaymentRefunded', 'RefundReturned') group by 1) x
           join core.streams s using (stream_no)
          where refunded > received",
        "More went back to a customer than was taken.",
        "Look at the refunds of the payment at the provider. If it shows the same, the business has lost that money and a person should ask for it back; if not, an event is wrong.",
    ),
    audit(
        "money.effect_unresolved_too_long",
        "select format('saga %s: %s intended at %s, %s', f.saga_id, f.operation, f.intended_at, f.outcome)
           from saga.effect f join saga.instance i using (saga_id)
          where f.resolved_at is null and i.finished_at is null and f.intended_at < now() - interval '1 hour'",
        "For more than an hour it has not been known whether a call to a provider took effect.",
        "See whether the provider answers (the lamps in the status bar) and whether a worker runs. If both do, open the saga and ask the provider from there.",
    ),
    audit(
        "ledger.equals_bookings",
        // Two read models say the same only where both have followed the log equally far.
        "select format('%s: the ledger has %s captured and %s refunded, the booking %s and %s', b.reference, l.captured, l.refunded, b.captured_minor, b.refunded_minor)
           from read.bookings_v1 b
           left join (select booking_id, coalesce(sum(amount_minor) filter (where debit = 'provider_clearing'), 0) as captured,
                             coalesce(sum(amount_minor) filter (where credit = 'provider_clearing'), 0) as refunded
                        from read.ledger_transfers_v1 where event_name not like 'Dispute%' and event_name <> 'ProviderFeeCharged' group by 1) l using (booking_id)
          where (coalesce(l.captured, 0), coalesce(l.refunded, 0)) <> (b.captured_minor, b.refunded_minor)
            and (select count(*) = 2 and min(position) = max(position) from read.checkpoints where name in ('bookings', 'ledger'))",
        "The books and the bookings tell different sums for the same payments.",
        "The events decide: rebuild both views (`bizing-desk replay ledger`, `bizing-desk replay bookings`) and look again. If it stays, an event of that booking is wrong.",
    ),
    // ---- holds -----------------------------------------------------------------------------------------------------
    audit(
        "hold.live_claim_of_ended_booking",
        "select format('booking %s holds %s from %s until %s', c.booking_id, c.resource_id, lower(c.during), upper(c.during))
           from booking.inventory_claim c
          where c.released_at is null and (c.expires_at is null or c.expires_at > now())
            and exists (select 1 from core.streams s join core.events e on e.stream_no = s.stream_no and e.position between s.first_position and s.last_position
                          join core.event_types t using (type_no)
                         where s.stream_id = 'booking-' || c.booking_id and t.name in ('BookingCancelled', 'BookingExpired'))
            and not exists (select 1 from saga.instance i where i.booking_id = c.booking_id and i.finished_at is null)",
        "A booking that is cancelled or expired still keeps its slot, so nobody else can have it.",
        "Release the slot from the booking's page. Nothing is owed to the customer by that.",
    ),
    audit(
        "hold.confirmed_booking_without_claim",
        "select format('%s: %s of %s slots are firm', s.stream_id, c.firm, h.wanted)
           from core.events e join core.event_types t using (type_no) join core.streams s using (stream_no)
          cross join lateral (select count(*) as firm from booking.inventory_claim c
                               where c.booking_id = substr(s.stream_id, 9)::uuid and c.released_at is null and c.expires_at is null) c
          cross join lateral (select coalesce(max(jsonb_array_length(x.data->'claims')), 1) as wanted from core.events x join core.event_types k using (type_no)
                               where x.stream_no = e.stream_no and k.name = 'InventoryHeld') h
          where t.name = 'BookingConfirmed' and c.firm < h.wanted
            and not exists (select 1 from core.events x join core.event_types k using (type_no)
                             where x.stream_no = e.stream_no and x.version > e.version and k.name in ('BookingCancelled', 'BookingExpired'))",
        "A customer counts on a booking for which a slot is not firmly held: somebody else can be given it.",
        "Check whether the slot is still free and hold it again; if it is taken, agree on another time with one of the two customers.",
    ),
    audit(
        "hold.overlap",
        "select format('resource %s, unit %s: two claims at %s', resource_id, unit, lower(during))
           from (select resource_id, unit, during,
                        max(upper(during)) over (partition by resource_id, unit order by lower(during), claim_id rows between unbounded preceding and 1 preceding) as busy_until
                   from booking.inventory_claim where released_at is null) x
          where busy_until > lower(during)",
        "The same person or room is promised twice for the same time. The database refuses that, so its constraint is missing or its index is damaged.",
        "Agree on another time with one of the two customers. Then run `reindex` on booking.inventory_claim and look why the constraint did not hold.",
    ),
    // ---- the log ---------------------------------------------------------------------------------------------------
    audit(
        "stream.version_gaps",
        "select format('%s: %s events, versions %s to %s', coalesce(s.stream_id, 'stream ' || e.stream_no), n, lo, hi)
           from (select stream_no, count(*) as n, count(distinct version) as different, min(version) as lo, max(version) as hi from core.events group by 1) e
           left join core.streams s using (stream_no)
          where lo <> 1 or hi <> n or different <> n or s.stream_no is null",
        "Events of a stream are missing or stand twice. Nobody can do that through the desk: the tables were changed past it, or a restore was not whole.",
        "Stop the workers and compare with the last backup. Do not append to these streams before they are whole.",
    ),
    audit(
        "stream.head_matches",
        "select format('%s: the stream says version %s, its newest event is %s', s.stream_id, s.version, coalesce(newest.version::text, 'missing'))
           from core.streams s
           left join lateral (select e.version, e.hash, e.position from core.events e where e.stream_no = s.stream_no order by e.version desc limit 1) newest on true
          where s.version <> coalesce(newest.version, 0)
             or (newest.version is not null and (s.head <> newest.hash or s.last_position is distinct from newest.position))",
        "The end of a stream is not where its row says: the newest events were removed or added past the desk, or a restore was not whole.",
        "Stop the workers and compare with the last backup. Appends to these streams are refused or would break the chain.",
    ),
    Audit {
        deep: true,
        by_streams: true,
        ..audit(
            "stream.hash_chain",
            // A missing event is for `version_gaps` to tell; here only what can be compared is.
            "select format('%s: version %s (%s, position %s) is the first that is not as it was written', s.stream_id, e.version, e.name, e.position)
               from (select distinct on (e.stream_no) e.stream_no, e.version, e.name, e.position
                       from (select e.*, t.name, t.schema_version, lag(e.hash) over w as before, lag(e.version) over w as before_version
                               from core.events e join core.event_types t using (type_no)
                              where e.stream_no > $1 and e.stream_no <= $2
                             window w as (partition by e.stream_no order by e.version)) e
                      where (e.version = 1 or e.before_version = e.version - 1)
                        and e.hash <> core.event_hash(case when e.version = 1 then ''::bytea else e.before end, e.version, e.event_id, e.name, e.schema_version,
                                                      e.correlation_id, e.causation_id, e.occurred_at, e.recorded_at, e.actor, e.metadata, e.data)
                      order by e.stream_no, e.version) e
               join core.streams s using (stream_no)",
            "An event is not what was written: its content, time, type or author was changed afterwards.",
            "Compare the stream with a backup to see what was changed, and find out who had the rights of a superuser on this database.",
        )
    },
    audit(
        "store.partition_ahead",
        "select format('no partition for position %s', last_value + 5000000) from core.position
          where to_regclass('core.events_' || lpad(((last_value + 5000000) / 10000000)::text, 4, '0')) is null",
        "The log has room for less than five million more events. Then nothing can be appended any more.",
        "As the worker's login run: select core.ensure_partition(last_value + 10000000) from core.position.",
    ),
    audit(
        "log.assumptions",
        "select format('%s does not hold: %s', rule, found) from api.log_assumptions() where not holds",
        "What the proof that no reader skips an event rests on does not hold: somebody changed the database past the desk, or this is a standby. Read models stop until it holds again.",
        "Undo the change that is named: sequence `core.position` with cache 1 and increment 1, no right to insert into core.events. A standby is for reading by other tools: point the desk at the primary.",
    ),
    audit(
        "server.old_snapshot",
        "select format('%s, login %s, database %s, %s, open for %s min: %s', coalesce('pid ' || pid, 'no process'), login, database, state,
                       floor(age_seconds / 60), split_part(query, e'\\n', 1))
           from api.oldest_snapshot() where age_seconds > 600",
        "A transaction has been open for more than ten minutes, perhaps of another program in another database of this server. No reader of the log waits for it, but no old row can be cleaned up, so tables grow and get slower.",
        "If it is a backup or a long report, let it end. Otherwise whoever runs the server ends it: select pg_terminate_backend(pid), or `rollback prepared` for one without a process.",
    ),
    audit(
        "backup.good_one_is_old",
        // A day and the trial after it are the rule; a desk that is off at night is no day late.
        "select case when good.at is null then 'no backup was ever restored on trial' else format('the last backup that was restored on trial is of %s', good.at) end
           from (select max(started_at) as at from read.backups_v1 where proof is not null and proof->>'problem' is null and removed_at is null) good,
                read.installation_v1 i
          where exists (select 1 from core.events)
            and greatest(good.at, i.created_at) < now() - interval '2 days'",
        "There is something to lose, and for more than two days no backup was taken and restored on trial. If the disk breaks today, what was done since is gone.",
        "Run `bizing-desk backup --verify` on a computer that may read the whole database, and see under Settings, Database why the daily one did not come. If the server has backups of another kind, this finding is only about the desk's own.",
    ),
    // ---- sagas -----------------------------------------------------------------------------------------------------
    audit(
        "saga.parked",
        "select format('booking %s, since %s: %s', booking_id, parked_at, park_reason) from saga.instance where state = 'parked'",
        "A saga waits for the decision of a person and does nothing until then.",
        "Open it under Sagas, where the reason and what can be done about it stand.",
    ),
    audit(
        "saga.stuck_lease",
        "select format('booking %s: %s at step %s, due since %s', booking_id, state, \"cursor\", greatest(wake_at, lease_expires_at))
           from saga.instance
          where state in ('running', 'waiting', 'compensating') and paused_at is null
            and greatest(wake_at, lease_expires_at) < now() - interval '5 minutes'",
        "A saga is due and nobody has worked on it for five minutes.",
        "See whether a worker runs that is new enough for the saga's definition. It goes on by itself as soon as one does.",
    ),
    audit(
        "saga.terminal_with_open_effect",
        "select format('saga %s is %s, and the outcome of %s is not known', i.saga_id, i.state, f.operation)
           from saga.effect f join saga.instance i using (saga_id) where f.resolved_at is null and i.finished_at is not null",
        "A saga ended before it was known whether a call to a provider took effect: money may be held or taken that no booking knows of.",
        "Look the effect up at the provider by its idempotency key, and void or refund what is there.",
    ),
    // ---- deliveries ------------------------------------------------------------------------------------------------
    audit(
        "delivery.stuck",
        "select format('%s to %s for %s, %s since %s', d.template, k.name, d.stream_id, d.state, greatest(d.next_at, d.lease_expires_at))
           from delivery.deliveries d join delivery.destinations k using (destination_id)
           left join delivery.health h using (destination_id)
          where k.active and d.state in ('scheduled', 'sending') and greatest(d.next_at, d.lease_expires_at) < now() - interval '15 minutes'
            and (k.kind <> 'webhook' or k.state = 'active' and h.breaker = 'closed' and (h.paused_until is null or h.paused_until < now() - interval '15 minutes')
                                        and d.order_key is null)",
        "A message is due and nobody has tried to send it for a quarter of an hour.",
        "See whether a worker runs, and whether its destination has been busy with others all that time.",
    ),
    audit(
        "delivery.unclear",
        "select format('%s for %s at %s', d.template, d.stream_id, d.finished_at) from delivery.deliveries d where d.state = 'unclear'",
        "A message may or may not have reached the customer. It is not sent again by itself, since it could arrive twice.",
        "Look at the destination whether it arrived, or ask the customer; then send it again or leave it.",
    ),
    audit(
        "delivery.owed_missing",
        "select format('%s of %s is owed to %s', t.name, s.stream_id, d.name)
           from core.events e join core.event_types t using (type_no) join core.streams s using (stream_no)
           join delivery.subscriptions b on b.event_name = t.name join delivery.destinations d on d.destination_id = b.destination_id and d.active
          where e.recorded_at >= greatest(b.created_at, d.created_at) and d.filter is null
            and (d.kind <> 'webhook' or e.recorded_at > now() - (select make_interval(days => r.deliveries_days - 1) from read.delivery_retention_v1 r order by r.version desc limit 1))
            and not exists (select 1 from core.imports m where e.position > m.after_position and e.position <= m.upto_position)
            and not exists (select 1 from delivery.deliveries x where x.event_id = e.event_id and x.destination_id = b.destination_id and x.template = b.template)",
        "Somebody should have been told of an event, and no delivery was ever written. The append writes both together, so a row was removed or the destination was switched off at that time.",
        "If the destination was off on purpose, nothing. Otherwise tell the customer by hand, and find out who removed the row.",
    ),
    audit(
        "inbox.stuck",
        "select format('%s from %s, received %s', kind, source, received_at) from delivery.inbox where processed_at is null and received_at < now() - interval '15 minutes'",
        "Something that a provider told was kept and not looked at since.",
        "See whether a worker runs. The sagas look at the provider by themselves too, only later.",
    ),
    // ---- read models -----------------------------------------------------------------------------------------------
    audit(
        "projection.parked",
        "select format('%s version %s at position %s: %s', name, version, coalesce(parked->>'position', position::text), coalesce(parked->>'error', parked::text))
           from read.checkpoints where parked is not null",
        "A view stopped at an event that it cannot apply. What it shows is as of that event; the events themselves are whole.",
        "Update the desk if a newer version knows the event, then replay the view: `bizing-desk replay <name>`.",
    ),
    audit(
        "projection.lag",
        "select format('%s version %s is at position %s, an event of %s waits', c.name, c.version, c.position, e.recorded_at)
           from read.checkpoints c
          cross join lateral (select x.recorded_at from core.events x where x.position > c.position order by x.position limit 1) e
          where c.parked is null and e.recorded_at < now() - interval '1 minute'
            and c.version = (select max(n.version) from read.checkpoints n where n.name = c.name)",
        "A view is more than a minute behind the events: the window shows an older state.",
        "See whether a worker runs, and whether somebody keeps a transaction open (the status bar names it). While a view is rebuilt, this is expected.",
    ),
    audit(
        "projection.ahead",
        "select format('%s version %s is at position %s, the log at %s', c.name, c.version, c.position, p.last_value)
           from read.checkpoints c, core.position p where c.position > p.last_value",
        "A view believes to have read events that do not exist, and will skip as many new ones. The log was restored and the view was not.",
        "Replay the view: `bizing-desk replay <name>`.",
    ),
    audit(
        "customer.named_after_erasure",
        "select named from core.named_after_erasure() named",
        "A view still tells who a customer was that was erased.",
        "If it was erased a moment ago, look again: the views follow. Otherwise replay the view: `bizing-desk replay <name>`.",
    ),
    // ---- processes -------------------------------------------------------------------------------------------------
    audit(
        "workers.none_alive",
        "select format('%s sagas and %s messages wait, and no worker has shown itself for a minute', sagas, messages)
           from (select count(*) as sagas from saga.instance where state in ('running', 'waiting', 'compensating') and paused_at is null) s,
                (select count(*) as messages from delivery.deliveries where state in ('scheduled', 'sending')) d
          where sagas + messages > 0 and not exists (select 1 from saga.worker where heartbeat_at > now() - interval '60 seconds')",
        "There is work to do and no computer does it.",
        "Open the desk of an admin, or start `bizing-desk serve`.",
    ),
    audit(
        "connections.sum",
        "select format('%s workers may open %s connections, others have %s open, the server takes %s', workers, workers * 20, others, room)
           from (select count(*) as workers from saga.worker where heartbeat_at > now() - interval '60 seconds') w,
                (select count(*) as others from pg_stat_activity a join pg_roles r on r.oid = a.usesysid
                  where not r.rolsuper and not pg_has_role(a.usesysid, admin.role_of('worker'), 'member')) o,
                (select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int as room) m
          where workers * 20 + others > room",
        "The processes that run may together ask for more connections than the server gives; then windows are refused.",
        "Raise max_connections on the server, or let fewer computers do background work.",
    ),
];
