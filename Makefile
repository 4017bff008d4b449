# The project's commands. Each installs what it lacks, and says so.

SHELL := /bin/bash
CARGO ?= cargo
KEEP ?=

.PHONY: help demo test check deny needs

help: ## Shows this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | column -t -s "$$(printf '\t')"

needs: # The one tool outside of cargo: the compiler for lnd's protocol files
	@command -v protoc >/dev/null || { \
	  echo "protoc is missing: installing protobuf-compiler from the distribution's packages"; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq protobuf-compiler libprotobuf-dev; }
	@command -v cc >/dev/null || { \
	  echo "cc is missing: installing build-essential from the distribution's packages"; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq build-essential; }

demo: needs ## Shows one slashed bond from the ruling to the payment, with a kill in between (KEEP=1: leave all running)
	@$(CARGO) build --locked --bins
	@$(CARGO) run --locked --quiet --bin bondflowd -- demo $(if $(KEEP),--keep)

test: needs ## Runs all tests
	@$(CARGO) test --locked

check: needs ## Formatting and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

deny: ## Licences, sources and bans of all dependencies
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: installing it from the registry"; $(CARGO) install --locked cargo-deny; }
	$(CARGO) deny --locked check bans licenses sources
	@$(CARGO) deny --locked fetch db >/dev/null 2>&1 \
	  && $(CARGO) deny --locked check advisories \
	  || { [ -n "$$($(CARGO) deny --locked fetch db 2>&1 | grep -iE 'fetch|resolve|connect|network')" ] \
	       && echo "advisories: skipped, their database can't be reached from here"; }
