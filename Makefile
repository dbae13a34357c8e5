# Thin on purpose: scripts/bootstrap.py installs, deploy/local runs, scripts/check checks.

PYTHON   ?= $(shell command -v python3.11 || command -v python3)
HARDWARE ?= auto
VENV     := .venv
ARGS     ?=
MODEL    ?=

.DEFAULT_GOAL := help
.PHONY: help run test check bench install install-dev stop clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22
	@echo
	@echo '  HARDWARE=cpu|gpu|none  instead of what is detected    PYTHON=…  another interpreter'
	@echo '  CYLLM_PORT=8001        another port                   ARGS="…"  for pytest, launcher or benchmark'

run: install  ## install, start everything, ask a first question; Ctrl-C stops it
	@exec $(VENV)/bin/python -m deploy.local $(ARGS)

test: install-dev  ## install and run the tests
	@exec $(VENV)/bin/python -m pytest $(ARGS)

check: install-dev  ## format, lint, types, imports, migrations, generated docs
	@exec $(VENV)/bin/python scripts/check

bench: install-dev  ## compare the relay with vLLM's own server: MODEL=folder, without it a tiny one
	@model='$(MODEL)'; exec $(VENV)/bin/python -m benchmarks.relay $(ARGS) "$${model:-$$($(VENV)/bin/python -m tests.models)}"

install:
	@$(PYTHON) scripts/bootstrap.py --hardware $(HARDWARE)

install-dev:
	@$(PYTHON) scripts/bootstrap.py --hardware $(HARDWARE) --dev

stop:  ## stop the stack that runs in this folder
	@$(PYTHON) -m deploy.local.stop

clean:  ## remove caches; models, database and keys in .cyllm stay
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
