# Token Vault. `make` alone lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

.venv/pyvenv.cfg:
	$(PYTHON) -m venv .venv

.venv/.runtime: requirements.lock pyproject.toml .venv/pyvenv.cfg
	$(PIP) install --require-hashes --only-binary :all: -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.runtime
	$(PIP) install --require-hashes --only-binary :all: -r requirements-dev.lock
	@touch $@

setup: .venv/.runtime  ## make .venv from the hash-pinned lock

run: .venv/.runtime  ## start a vault on SQLite, with a sandbox account already connected
	@test -f .env || $(BIN)/tokenvault init
	@set -a && . ./.env && export TOKENVAULT_SANDBOX=$${TOKENVAULT_SANDBOX:-true} && exec $(BIN)/tokenvault quickstart

test: .venv/.dev  ## every test, on SQLite and a real PostgreSQL
	$(BIN)/python -m pytest -n 3 --dist loadgroup $(ARGS)

check: .venv/.dev  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

schema: .venv/.dev  ## write openapi.json anew, after a change of the API
	$(BIN)/python -m tests.unit.test_openapi

fuzz: .venv/.dev  ## a long run of schemathesis over the whole API; SECONDS=600
	SCHEMATHESIS_SECONDS=$(or $(SECONDS),300) $(BIN)/python -m pytest -s tests/integration/test_schemathesis.py

bench: .venv/.dev  ## what it costs, beside its limits; ARGS=fetch for one of them (needs wrk, two cores, Linux)
	@$(BIN)/python -m benchmarks $(ARGS)

lock:  ## renew the lock files (needs uv)
	uv pip compile pyproject.toml --group build $(LOCK_FLAGS) -o requirements.lock
	uv pip compile pyproject.toml --group build --group dev $(LOCK_FLAGS) -o requirements-dev.lock

LOCK_FLAGS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet

.PHONY: help setup run test check schema fuzz bench lock
