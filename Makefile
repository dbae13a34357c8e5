# A thin wrapper around scripts/bootstrap.py, deploy/local and scripts/check.

PYTHON   ?= $(shell command -v python3.11 || command -v python3)
HARDWARE ?= auto
VENV     := .venv
ARGS     ?=
MODEL    ?=
# One process for the tests with an engine, and for all others one, or up to three on more than three cores.
# A selection of tests starts sooner without them.
ALL_PROCESSES = $(shell cores=$$(nproc 2>/dev/null || echo 2); \
	if [ $$cores -gt 4 ]; then echo 4; elif [ $$cores -eq 4 ]; then echo 3; else echo 2; fi)
PROCESSES ?= $(if $(filter tests/% -k% -m% -n% -x --lf,$(ARGS)),0,$(ALL_PROCESSES))

# Some container images set it. Without bytecode, each start of an engine compiles vLLM's modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test check bench bench-training install install-dev stop clean

help:  ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22
	@echo
	@echo '  HARDWARE=cpu|gpu|none  override the detected hardware    PYTHON=…  Python interpreter'
	@echo '  CYLLM_PORT=8001        port of the gateway               ARGS="…"  arguments for the command'

run: install  ## install and run the whole stack; Ctrl-C stops it
	@exec $(VENV)/bin/python -m deploy.local $(ARGS)

test: install-dev  ## install and run the tests
	@exec $(VENV)/bin/python -m pytest -n $(PROCESSES) $(ARGS)

check: install-dev  ## check format, lint, types, imports, migrations and generated docs
	@exec $(VENV)/bin/python scripts/check

bench: install-dev  ## compare the relay with vLLM's own server; MODEL=folder, by default a tiny model
	@model='$(MODEL)'; exec $(VENV)/bin/python -m benchmarks.relay $(ARGS) "$${model:-$$($(VENV)/bin/python -m tests.models)}"

bench-training: install-dev  ## compare the trainer with TRL's; MODEL=folder, by default SmolLM2
	@exec $(VENV)/bin/python -m benchmarks.training $(ARGS) $(MODEL)

install:
	@$(PYTHON) scripts/bootstrap.py --hardware $(HARDWARE)

install-dev:
	@$(PYTHON) scripts/bootstrap.py --hardware $(HARDWARE) --dev

stop:  ## stop the stack of this folder
	@$(PYTHON) -m deploy.local.stop

clean:  ## remove caches, but not .cyllm with models, database and keys
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
