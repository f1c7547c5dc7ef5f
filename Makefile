# From a clean checkout, with nothing but Python 3.11+, pip, make and git: every target makes .venv and installs what it
# needs at first. What is installed is pinned in requirements*.txt; a stamp file says that it is up to date.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$candidate; break; }; done)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

RUNTIME := $(VENV)/.runtime-installed
DEVELOPMENT := $(VENV)/.development-installed

# The checks of `make test` follow each other, cheapest first, whatever -j says.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test up bench chaos disaster format format-check lint types imports proto proto-lint generated \
	pytest unit pins clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- What it does ----------------------------------------------------------------------------------------------------

demo: $(RUNTIME) ## the main job on real files, with a crashed service and a killed leader
	$(BIN)/python -m examples.upload_workflow

up: $(RUNTIME) ## a three-node cluster in the foreground; Ctrl-C stops it
	$(BIN)/garbagetruck up

# Six minutes or so. BENCH="--scenario acquire --duration 10s" runs a part of it; docs/measurements.md tells more.
bench: $(RUNTIME) ## the benchmark suite
	$(BIN)/garbagetruck bench $(BENCH)

# Half an hour. Every part runs, whatever became of the others; the worst of their exit codes is the whole's.
# CHAOS_SEEDS, CHAOS_MUTANTS, CHAOS_SCENARIOS, CHAOS_SOAK and CHAOS_SEED choose otherwise; docs/chaos.md tells more.
CHAOS_SEEDS ?= 300
CHAOS_SEED ?= 1
CHAOS_SOAK ?= 2m
# Names; none: all.
CHAOS_MUTANTS ?=
CHAOS_SCENARIOS ?= kill-all kill-staggered kill-leader kill-follower stop-leader stop-follower cut-node minority-leader \
	flapping one-way bridge halves slow-network cut-connections rolling-restart drain-leader wiped-follower wiped-majority \
	disk-full fsync-fails slow-disk corrupt-journal corrupt-snapshot member-replaced rolling-upgrade leader-transfer \
	stale-handler kill-mid-cleanup mass-expiry-leader-dies postgres-killed postgres-stopped postgres-slow postgres-cut-off \
	postgres-refuses postgres-full postgres-schema postgres-killed-with-leader mistaken-loss mistaken-loss-cut-off

# Mutants that tests catch need what the tests need.
chaos: $(DEVELOPMENT) ## the long chaos and simulation run
	@code=0; worst() { case $$1 in 0) ;; 3) [ $$code -ne 0 ] || code=3 ;; *) code=$$1 ;; esac; }; \
	$(BIN)/garbagetruck chaos simulate --seeds $(CHAOS_SEEDS) --start $(CHAOS_SEED) --jobs 2; worst $$?; \
	$(BIN)/garbagetruck chaos simulate --world raft --seeds $(CHAOS_SEEDS) --start $(CHAOS_SEED) --jobs 2; worst $$?; \
	$(BIN)/garbagetruck chaos mutants $(CHAOS_MUTANTS) --jobs 2; worst $$?; \
	$(BIN)/garbagetruck chaos run $(CHAOS_SCENARIOS) --seed $(CHAOS_SEED); worst $$?; \
	$(BIN)/garbagetruck chaos run soak --duration $(CHAOS_SOAK) --seed $(CHAOS_SEED); worst $$?; \
	exit $$code

disaster: $(DEVELOPMENT) ## the disaster-recovery runbook: every disk lost, restored from PostgreSQL
	$(BIN)/python -m examples.disaster

# ---- Checks ----------------------------------------------------------------------------------------------------------

test: format-check lint types imports proto-lint generated pytest ## every check and every test; what CI calls

format: $(DEVELOPMENT) ## rewrite the code in the project's format
	$(BIN)/ruff check --quiet --select I --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format --write --path proto/garbagetruck

format-check: $(DEVELOPMENT) ## is everything formatted
	$(BIN)/ruff format --check .
	$(BIN)/buf format --diff --exit-code --path proto/garbagetruck

lint: $(DEVELOPMENT) ## ruff
	$(BIN)/ruff check .

types: $(DEVELOPMENT) ## mypy --strict
	$(BIN)/mypy

imports: $(DEVELOPMENT) ## import-linter: the machine is pure, imports point down
	$(BIN)/lint-imports --no-logo

proto: $(DEVELOPMENT) ## generate the API's Python code
	$(BIN)/python tools/generate_proto.py

proto-lint: $(DEVELOPMENT) ## lint of the API
	$(BIN)/buf lint

generated: $(DEVELOPMENT) ## is the generated code what its source gives
	$(BIN)/python tools/generate_proto.py --check

# Two workers; tests that start clusters share one of them (tests/conftest.py), so that clusters do not starve each other.
pytest: $(DEVELOPMENT) ## every test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

unit: $(DEVELOPMENT) ## the quick tests only
	$(BIN)/python -m pytest tests/unit -m "not slow"

# ---- Environment -----------------------------------------------------------------------------------------------------

pins: $(DEVELOPMENT) ## resolve pyproject.toml again and write requirements*.txt
	$(BIN)/python tools/pin_requirements.py

clean: ## remove caches and builds
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find cluster storage cli client chaos proto tests tools garbagetruck -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the environment, too
	rm -rf $(VENV)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements.txt requirements-build.txt pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --requirement requirements.txt --requirement requirements-build.txt
	$(PIP_INSTALL) --no-build-isolation --no-deps --editable .
	@touch $@

$(DEVELOPMENT): requirements-dev.txt $(RUNTIME)
	$(PIP_INSTALL) --requirement requirements.txt --requirement requirements-build.txt --requirement requirements-dev.txt
	@touch $@
