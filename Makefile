# The project's commands. Each installs what it lacks, and says so.

SHELL := /bin/bash
CARGO ?= cargo
KEEP ?=
KILLS ?= 200
SEED ?=
ONLY ?=
STORE ?=
DAEMONS ?=
ROWS ?=
STORES ?=
SEEDS ?= 100000
N ?= 1000000
# Cargo for tests that take long: optimised, with all assertions on. A release build of the tests alone takes half an hour on two cores.
SWIFT := CARGO_PROFILE_DEV_OPT_LEVEL=1 $(CARGO)
# Scenarios of a database that is a file.
OF_FILES := daemon disk restored runbook commands::a_copy commands::the_program

.PHONY: help demo test fuzz bench bench-payout bench-failover contract differential simulate crash-matrix chaos disk mutants check deny graphs goldens needs

help: ## Shows this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | column -t -s "$$(printf '\t')"

needs: # The tools outside of cargo: the compiler for lnd's protocol files, and a database server for the tests
	@command -v protoc >/dev/null || { \
	  echo "protoc is missing: installing protobuf-compiler from the distribution's packages"; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq protobuf-compiler libprotobuf-dev; }
	@command -v cc >/dev/null || { \
	  echo "cc is missing: installing build-essential from the distribution's packages"; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq build-essential; }
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	  echo "PostgreSQL is missing: installing postgresql from the distribution's packages, without starting a server"; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo mkdir -p /etc/postgresql-common && \
	  { [ -e /etc/postgresql-common/createcluster.conf ] || \
	    echo 'create_main_cluster = false' | $$sudo tee /etc/postgresql-common/createcluster.conf >/dev/null; } && \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq postgresql; touch build.rs; }

demo: needs ## Shows one slashed bond from the ruling to the payment, with a kill in between (KEEP=1: leave all running)
	@$(CARGO) build --locked --bins
	@$(CARGO) run --locked --quiet --bin bondflowd -- demo $(if $(KEEP),--keep)

test: needs ## Runs all tests, and the scenarios that are not about a file once more on PostgreSQL
	@$(CARGO) test --locked
	@STORE=postgres $(CARGO) test --locked --test it -- scenarios:: $(addprefix --skip scenarios::,$(OF_FILES))

bench-failover: needs ## How soon the runs of a daemon that dies or stalls go on with the other one, over 20 kills and 20 stalls
	@$(CARGO) test --locked --test it -- --ignored --exact failover::bench --nocapture

simulate: needs ## Lives random worlds through and checks what always holds (SEEDS=100000; SEED=n: one of them, told in full)
	@SEEDS="$(SEEDS)" SEED="$(SEED)" $(SWIFT) test --locked --quiet --test worlds -- --ignored --exact --nocapture simulation::on_demand

ifeq ($(STORE),postgres)
crash-matrix: needs
	@$(SWIFT) test --locked --quiet --test worlds -- --include-ignored --nocapture crash_matrix::on_postgres
else
crash-matrix: needs ## Kills the daemon at each commit and effect of each scenario, and twice in 500 ways in each (STORE=postgres: asks a server the same)
	@$(SWIFT) test --locked --quiet --test worlds -- --include-ignored --nocapture crash_matrix:: --skip on_postgres_all
	@$(CARGO) test --locked --test it -- --include-ignored scenarios::kill_commits::on_stand_in scenarios::kill::on_stand_in
endif

differential: needs ## Random operations on all stores, answers and tables compared after each (OPS=1000000; SEED=7 for one world)
	@$(SWIFT) test --locked --test it -- --nocapture differential

bench: needs ## Measures the engine beside its store's own limit; ROWS=load,latency STORES=sqlite chooses parts, docs/performance.md explains them
	@ROWS=$(ROWS) STORES=$(STORES) $(CARGO) bench --locked --quiet --bench engine

fuzz: needs ## Feeds N hostile inputs (1000000) to everything that reads them; FUZZ_SEED=… FUZZ_ONLY=… brings one of them again
	@FUZZ_N=$(N) $(CARGO) bench --locked --quiet --bench fuzz

bench-payout: needs ## Settles 1,000 slashed bonds at once through the sandbox, and lone ones on an idle daemon, and measures it
	@$(MAKE) --no-print-directory bench ROWS=payout

contract: needs ## Holds the lnd stand-in to what lnd does, in rows and scenarios; with LND_BIN=DIR (lnd, btcd, btcctl) on real nodes too
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; set -o pipefail; \
	$(CARGO) test --locked --test it -- on_stand_in on_real_nodes $(if $(LND_BIN),--include-ignored) 2>&1 | tee "$$log"; status=$$?; \
	passed() { grep -cE "^test $$1::on_$$2::.* ok$$" "$$log"; }; \
	on() { echo "$$(passed contract $$1) rows and $$(passed 'scenarios::[a-z0-9_]+' $$1) scenarios"; }; \
	echo "contract: $$(on stand_in) passed on the stand-in, $$(on real_nodes) on real nodes$(if $(LND_BIN),, (LND_BIN is not set))"; \
	exit $$status

chaos: needs ## Kills the daemon KILLS=200 times under load, counts what was lost and doubled (SEED=n: that plan again; STORE=postgres DAEMONS=3)
	@KILLS=$(KILLS) SEED=$(SEED) STORE=$(STORE) DAEMONS=$(DAEMONS) $(SWIFT) test --locked --test it -- --ignored --exact --nocapture chaos::as_long_as_asked

disk: needs ## Lets the disk fill up, and its syncs fail, under the daemon
	@command -v strace >/dev/null || { \
	  echo "strace is missing: installing it from the distribution's packages"; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq strace; }
	@$(CARGO) test --locked --test it -- --include-ignored scenarios::disk
	@$(CARGO) test --locked --lib -- store::sqlite::tests::cuts

mutants: needs ## Puts known bugs into a copy of the sources, and sees the tests fail of each (ONLY=text: those with it in their names)
	@ONLY=$(ONLY) $(CARGO) test --locked --test it -- --ignored --exact --nocapture mutants::every_bug_is_caught

check: needs ## Formatting, lints, and the links in the documentation
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

graphs: needs ## Draws workflows/*.md anew from the definitions beside them
	@UPDATE=1 $(CARGO) test --locked --quiet --test it -- graphs

goldens: needs ## Writes tests/goldens anew: what each command of workflowctl says
	@UPDATE=1 $(CARGO) test --locked --quiet --bin workflowctl -- goldens

deny: ## Bans, licences, sources and, where their database can be fetched, advisories of all dependencies
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: installing it from the registry"; $(CARGO) install --locked cargo-deny; }
	$(CARGO) deny --locked check bans licenses sources
	@if $(CARGO) deny --locked fetch db >/dev/null 2>&1; then \
	  $(CARGO) deny --locked check advisories; \
	else \
	  echo "advisories: skipped, their database can't be fetched from here"; \
	fi
