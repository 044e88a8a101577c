# `make run` and `make test` need python3.11 (or newer), git and make; everything else is fetched into .venv by name.
# `make help` lists the targets. What needs other languages or long time is in `make ci-long`.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# Only the system's Python, never one that uv would download; the lock, not the environment, says what is installed.
export UV_PYTHON_DOWNLOADS := never
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

PYTEST_ARGS ?=
# Processes that `make test` uses. Tests that measure time are few and marked, so two per core gain nothing.
TEST_JOBS ?= auto

# The parts of `make ci-long`, NAME:SECONDS. Each is a target `long-NAME` below; it is ended when its seconds are over,
# and one that cannot run for want of a toolchain fails. To add one: mark its tests `long`, write the target, append it
# here with a budget; the sum stays below 3600 (tests/meta checks that).
LONG := buf:100 gapic:180 grpcurl:420 stubs:800 crash:600 zoo:240 upload:300 soak:330 bounds:620

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z-]*:.*## / {printf "  %-12s %s\n", $$1, $$2}' Makefile

# ------------------------------------------------------------------------------------------------------- environment
.PHONY: dev
dev: $(STAMP) ## Make or update .venv from requirements.lock

$(STAMP): requirements.lock pyproject.toml .ci/venv
	@bash .ci/venv "$(PYTHON)" "$(VENV)"
	touch $@

.PHONY: lock
lock: dev ## Resolve the two requirements.lock again (UPGRADE=1: to the newest versions)
	@resolve() {
	  $(VENV)/bin/uv pip compile "$$@" --universal --generate-hashes --no-emit-index-url --no-emit-find-links --quiet \
	    $(if $(filter 1,$(UPGRADE)),--upgrade) --custom-compile-command "make lock"
	}
	resolve pyproject.toml --all-extras --group dev --group bench --output-file requirements.lock
	resolve --group gapic --output-file client/gapic/requirements.lock

UPGRADE ?= 0

# --------------------------------------------------------------------------------------------------------------- use
.PHONY: run
run: dev ## Start a server, run every file of the standard library through python_audit, print the result
	@$(PY) -m batchyard.demo

.PHONY: serve
serve: dev ## Serve ./batchyard-data on 127.0.0.1:50151
	@exec $(VENV)/bin/batchyard-server serve --data ./batchyard-data

.PHONY: bench
bench: dev ## Measure against Celery, Huey, a pool and bare gRPC in one run
	@$(PY) -m tests.bench

# -------------------------------------------------------------------------------------------------------------- check
.PHONY: check
check: lint types gen-check lint-proto test ## Everything that must hold before a commit lands (at most 15 minutes)

.PHONY: test
test: dev ## Run the tests
	@$(PY) -m pytest -n $(TEST_JOBS) --dist loadgroup $(PYTEST_ARGS)

.PHONY: test-long
test-long: dev ## Play 10,000 sequences of 50 steps against the model of the state machine
	@$(PY) -m tests.property

.PHONY: lint
lint: dev ## Style, format and the rules of who may import whom
	@$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-cache

.PHONY: format
format: dev ## Rewrite the files in the one format
	@$(VENV)/bin/ruff check --fix-only --quiet .
	$(VENV)/bin/ruff format .

.PHONY: types
types: dev ## Check types
	@$(VENV)/bin/basedpyright --warnings

# ----------------------------------------------------------------------------------------------------------- contract
.PHONY: gen
gen: dev ## Generate the Python code of the protos, and the synchronous client from the asynchronous one
	@$(PY) proto/generate.py
	$(PY) client/python/unasync.py

.PHONY: gen-check
gen-check: dev ## Fail if the generated code is not current
	@$(PY) proto/generate.py --check
	$(PY) client/python/unasync.py --check

.PHONY: lint-proto
lint-proto: dev ## Judge the contract: descriptors, service configuration, and buf where npm is there
	@$(PY) -m pytest --override-ini=addopts= -q tests/meta/contract
	if command -v npm >/dev/null; then bash proto/judge.sh; else echo "buf: no npm here; make ci-long runs it"; fi

.PHONY: baseline
baseline: dev ## Accept the present contract as what later changes are compared with
	@bash proto/judge.sh --accept

.PHONY: stubs
stubs: dev ## Generate and compile stubs for Go, Java, TypeScript, Rust, C++ and run a program in each
	@bash client/stubs.sh

# --------------------------------------------------------------------------------------------------------- long tests
.PHONY: ci-long
ci-long: dev ## What needs other toolchains or long time (at most 60 minutes)
	@bash .ci/long "$(MAKE)" $(LONG)

.PHONY: long-buf long-gapic long-grpcurl long-stubs long-crash long-zoo long-upload long-soak long-bounds
long-buf: dev
	@bash proto/judge.sh
long-gapic: dev
	@bash client/gapic/generate.sh
	$(PY) -m pytest -m long tests/interop/test_gapic.py
long-stubs: stubs
long-grpcurl: dev .tools/bin/grpcurl
	@GRPCURL=$(CURDIR)/.tools/bin/grpcurl $(PY) -m pytest -m long tests/interop/test_grpcurl.py
long-crash: dev
	@$(PY) -m pytest -s -m long tests/crash
long-zoo: dev
	@$(PY) -m pytest -m long tests/zoo
long-upload: dev
	@$(PY) -m pytest -s -m long tests/upload
long-soak: dev
	@$(PY) -m pytest -s -m long tests/soak tests/live

long-bounds: dev
	@bash .ci/bounds

.tools/bin/grpcurl:
	@GOBIN=$(CURDIR)/.tools/bin go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4

.PHONY: clean
clean: ## Remove what make made, but not batchyard-data and bench-results
	@git clean -fdXq -e '!/batchyard-data' -e '!/bench-results'
