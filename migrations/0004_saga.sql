-- The saga store: the instance row is lock, lease, fence and index; the effect row is written before any call
-- to a provider; the attempt log is append-only. What must never happen is refused here, not only in Rust.
--
-- Locks: none on existing tables.

CREATE TABLE saga.definition (
  name text NOT NULL, version int NOT NULL, spec jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (name, version));
CREATE TABLE saga.instance (
  saga_id uuid PRIMARY KEY,                                   -- uuid v7: insertion order = index order
  definition text NOT NULL, def_version int NOT NULL,
  dedupe_key text NOT NULL,                                   -- 'booking:<booking_id>:<attempt no.>' -> start is idempotent
  state text NOT NULL DEFAULT 'running',
  direction "char" NOT NULL DEFAULT 'F',                      -- F forward, C compensating
  cursor smallint NOT NULL DEFAULT 0,                         -- index of the step being worked on
  pivot_passed_at timestamptz,
  version int NOT NULL DEFAULT 0,                             -- +1 per transition = version of the saga's event stream
  lease_owner uuid, lease_expires_at timestamptz,
  fence bigint NOT NULL DEFAULT 0,                            -- +1 per claim AND per operator take-over
  last_token uuid,                                            -- token of the last committed transition (ambiguous-commit check)
  wake_at timestamptz NOT NULL DEFAULT now(),                 -- next retry / timer / deadline poll
  attempt int NOT NULL DEFAULT 0,
  await_key text, await_until timestamptz,                    -- correlation key of the awaited external event
  hold_expires_at timestamptz, auth_expires_at timestamptz, deadline_at timestamptz,
  cancel_requested_at timestamptz, cancel_requested_by text,
  paused_at timestamptz, paused_by text, pause_reason text,   -- orthogonal to state: pausing loses no information
  park_reason text, parked_at timestamptz, assigned_to text,
  error_class text, error_message text,                       -- last error, for the list view and for grouping
  outcome text, resolved_by text, resolution jsonb,           -- evidence for 'resolved'
  booking_id uuid, customer_id uuid, amount_minor bigint, currency char(3),  -- search attributes
  context jsonb NOT NULL DEFAULT '{}',
  correlation_id uuid NOT NULL, causation_id uuid, started_by text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), finished_at timestamptz,
  UNIQUE (definition, dedupe_key),
  FOREIGN KEY (definition, def_version) REFERENCES saga.definition(name, version),
  CONSTRAINT state_known CHECK (state IN ('running','waiting','compensating','parked','completed','compensated','resolved')),
  CONSTRAINT dir_known CHECK (direction IN ('F','C')),
  CONSTRAINT dir_matches CHECK ((state <> 'compensating' OR direction = 'C') AND (state NOT IN ('running','completed') OR direction = 'F')),
  CONSTRAINT parked_has_reason CHECK ((state = 'parked') = (park_reason IS NOT NULL) AND (state = 'parked') = (parked_at IS NOT NULL)),
  CONSTRAINT terminal_has_end CHECK ((state IN ('completed','compensated','resolved')) = (finished_at IS NOT NULL)),
  CONSTRAINT terminal_has_no_lease CHECK (finished_at IS NULL OR lease_owner IS NULL),
  CONSTRAINT lease_pair CHECK ((lease_owner IS NULL) = (lease_expires_at IS NULL)),
  CONSTRAINT resolved_has_evidence CHECK (state <> 'resolved' OR
    (resolved_by IS NOT NULL AND coalesce(resolution->>'reason', '') <> '' AND coalesce(resolution->>'evidence', '') <> '')),
  CONSTRAINT pause_triple CHECK ((paused_at IS NULL) = (paused_by IS NULL)));
CREATE INDEX instance_due ON saga.instance (wake_at) WHERE state IN ('running','waiting','compensating') AND paused_at IS NULL;
CREATE INDEX instance_await ON saga.instance (await_key) WHERE await_key IS NOT NULL;
CREATE INDEX instance_attention ON saga.instance (parked_at) WHERE state = 'parked';
CREATE INDEX instance_list ON saga.instance (state, updated_at DESC);
CREATE INDEX instance_booking ON saga.instance (booking_id);
CREATE INDEX instance_customer ON saga.instance (customer_id, created_at DESC);
CREATE INDEX instance_errors ON saga.instance (error_class, cursor) WHERE error_class IS NOT NULL AND finished_at IS NULL;

CREATE FUNCTION saga.guard_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.finished_at IS NOT NULL AND NEW.state <> OLD.state AND NOT (OLD.state IN ('compensated','completed','resolved') AND NEW.state = 'parked') THEN
    RAISE EXCEPTION 'saga %: % is terminal', OLD.saga_id, OLD.state USING ERRCODE = 'check_violation'; END IF;   -- only re-open (-> parked) leaves a terminal state
  IF NEW.version < OLD.version OR NEW.fence < OLD.fence THEN
    RAISE EXCEPTION 'saga %: version/fence may not go back', OLD.saga_id USING ERRCODE = 'check_violation'; END IF;
  IF NEW.state <> OLD.state AND NEW.version = OLD.version THEN
    RAISE EXCEPTION 'saga %: state change without version bump', OLD.saga_id USING ERRCODE = 'check_violation'; END IF;
  IF OLD.direction = 'C' AND NEW.direction = 'F' AND NEW.state <> 'parked' AND OLD.state <> 'parked' THEN
    RAISE EXCEPTION 'saga %: compensation never turns forward by itself', OLD.saga_id USING ERRCODE = 'check_violation'; END IF;
  IF NEW.state <> OLD.state AND NOT ((OLD.state, NEW.state) IN (
     ('running','waiting'),('running','compensating'),('running','parked'),('running','completed'),
     ('waiting','running'),('waiting','compensating'),('waiting','parked'),('waiting','completed'),('waiting','compensated'),
     ('compensating','waiting'),('compensating','parked'),('compensating','compensated'),
     ('parked','running'),('parked','compensating'),('parked','waiting'),('parked','resolved'),
     ('completed','parked'),('compensated','parked'),('resolved','parked'))) THEN
    RAISE EXCEPTION 'saga %: % -> % is not a legal transition', OLD.saga_id, OLD.state, NEW.state USING ERRCODE = 'check_violation'; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER guard BEFORE UPDATE ON saga.instance FOR EACH ROW EXECUTE FUNCTION saga.guard_transition();

-- what was asked of the outside world: written BEFORE the call, one row per (step, direction, generation); survives crashes, anchors reconciliation and deep links
CREATE TABLE saga.effect (
  effect_id uuid PRIMARY KEY, saga_id uuid NOT NULL REFERENCES saga.instance, step text NOT NULL, direction "char" NOT NULL, generation smallint NOT NULL DEFAULT 0,
  provider text NOT NULL, operation text NOT NULL, idempotency_key text NOT NULL UNIQUE, request jsonb NOT NULL, request_sha256 bytea NOT NULL,
  intended_at timestamptz NOT NULL DEFAULT now(), first_sent_at timestamptz, last_sent_at timestamptz, sends smallint NOT NULL DEFAULT 0,
  outcome text NOT NULL DEFAULT 'intended' CHECK (outcome IN ('intended','confirmed','rejected','not_executed','unknown')),
  provider_object text, provider_status text, provider_request_id text, response jsonb, resolved_at timestamptz, resolved_via text CHECK (resolved_via IN ('response','lookup','webhook','operator')),
  UNIQUE (saga_id, step, direction, generation),
  CHECK ((outcome IN ('intended','unknown')) = (resolved_at IS NULL)));
CREATE INDEX effect_open ON saga.effect (last_sent_at) WHERE resolved_at IS NULL;
CREATE INDEX effect_object ON saga.effect (provider_object);
-- append-only log of every attempt (also manual ones); the console's timeline
CREATE TABLE saga.attempt (
  saga_id uuid NOT NULL, no int NOT NULL, step text NOT NULL, direction "char" NOT NULL, kind text NOT NULL DEFAULT 'auto' CHECK (kind IN ('auto','operator','reconcile','skip','force')),
  effect_id uuid, worker_id uuid, fence bigint NOT NULL, started_at timestamptz NOT NULL, ended_at timestamptz, result text, error_class text, error jsonb, output jsonb, next_retry_at timestamptz,
  PRIMARY KEY (saga_id, no));
-- external events (webhooks, customer actions, timers by operators); may arrive before anyone waits
CREATE TABLE saga.signal (
  signal_id text PRIMARY KEY,                                 -- provider event id (evt_...) -> dedupe
  correlation_key text NOT NULL, type text NOT NULL, payload jsonb NOT NULL, received_at timestamptz NOT NULL DEFAULT now(),
  saga_id uuid, consumed_at timestamptz, consumed_version int, ignored_reason text);
CREATE INDEX signal_open ON saga.signal (correlation_key, received_at) WHERE consumed_at IS NULL AND ignored_reason IS NULL;
-- operator commands ARE the audit log: append-only, idempotent by client-made id, optimistic by expected_version
CREATE TABLE saga.batch (
  batch_id uuid PRIMARY KEY, action text NOT NULL, filter jsonb NOT NULL, reason text NOT NULL CHECK (length(reason) >= 10), requested_by text NOT NULL, requested_at timestamptz NOT NULL DEFAULT now(),
  preview jsonb NOT NULL, frozen_count int NOT NULL, approval text NOT NULL DEFAULT 'not_needed' CHECK (approval IN ('not_needed','pending','approved','rejected','expired')), approved_by text, approved_at timestamptz,
  max_parallel smallint NOT NULL DEFAULT 2, stop_after_failures smallint NOT NULL DEFAULT 3, state text NOT NULL DEFAULT 'previewed',
  CHECK (approved_by IS NULL OR approved_by <> requested_by));
CREATE TABLE saga.command (
  command_id uuid PRIMARY KEY, saga_id uuid NOT NULL REFERENCES saga.instance, batch_id uuid REFERENCES saga.batch, action text NOT NULL,
  expected_version int NOT NULL, plan_hash bytea, params jsonb NOT NULL DEFAULT '{}', reason text NOT NULL, requested_by text NOT NULL, requested_at timestamptz NOT NULL DEFAULT now(), client jsonb NOT NULL DEFAULT '{}',
  status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending','awaiting_approval','approved','applied','refused','rejected','expired')),
  approved_by text, approved_at timestamptz, applied_at timestamptz, applied_version int, before jsonb, after jsonb, refusal text,
  CHECK (approved_by IS NULL OR approved_by <> requested_by));
CREATE INDEX command_saga ON saga.command (saga_id, requested_at);
CREATE INDEX command_open ON saga.command (requested_at) WHERE status IN ('pending','awaiting_approval','approved');
CREATE TABLE saga.worker (
  worker_id uuid PRIMARY KEY, host text NOT NULL, os_user text NOT NULL, app_version text NOT NULL, supports jsonb NOT NULL, kind text NOT NULL CHECK (kind IN ('desktop','headless')),
  pid int NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(), heartbeat_at timestamptz NOT NULL DEFAULT now(), draining boolean NOT NULL DEFAULT false);
CREATE TABLE saga.provider_gate (
  provider text PRIMARY KEY, state text NOT NULL DEFAULT 'closed' CHECK (state IN ('closed','open','half_open')), open_until timestamptz, reason text,
  max_in_flight smallint NOT NULL DEFAULT 8, tokens real NOT NULL DEFAULT 20, rate_per_s real NOT NULL DEFAULT 20, burst real NOT NULL DEFAULT 20, refilled_at timestamptz NOT NULL DEFAULT now());
-- attention cases: opened by detectors, closed by themselves when the condition clears (never for 'parked': that closes only by a decision)
CREATE TABLE saga.attention (
  case_id uuid PRIMARY KEY, saga_id uuid REFERENCES saga.instance, kind text NOT NULL, severity smallint NOT NULL, fact jsonb NOT NULL, opened_at timestamptz NOT NULL DEFAULT now(), acked_by text, acked_at timestamptz, closed_at timestamptz, closed_reason text);
CREATE UNIQUE INDEX attention_one_open ON saga.attention (saga_id, kind) WHERE closed_at IS NULL;
