PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test test-all lint audit

install: .venv/installed

# Scripts in .venv hold its absolute path: in a clone that was moved they are made anew.
ifneq (,$(filter-out $(CURDIR),$(shell cat .venv/installed 2>/dev/null)))
.PHONY: .venv/installed
endif

# The lock is complete, so --no-deps: see its head. A torch that came without its GPU libraries is asked for again.
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + "; name another: make $(MAKECMDGOALS) PYTHON=python3.11")'
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && $(BIN)/pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo "Installing $$(grep -c == requirements.lock) packages into .venv: about 3 minutes and 5 GB, once. Silent at the end, while files are unpacked."
	@$(BIN)/python -m pip install --disable-pip-version-check --no-deps -r requirements.lock
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install --disable-pip-version-check torch==2.13.0
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@echo $(CURDIR) > $@

# FAST=1: few steps and problems. ARGS: options of jobs/demo.py, such as ARGS='--model FOLDER'.
demo: install
	$(BIN)/python jobs/demo.py$(if $(filter-out 0,$(FAST)), --fast)$(if $(ARGS), $(ARGS))

# Two files of tests at a time; WORKERS=0: one after the other, in this process.
WORKERS ?= 2
test: install
	$(BIN)/pytest -m "not long" --numprocesses $(WORKERS) --dist loadfile

test-all: install
	$(BIN)/pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive metamath_ray jobs cluster

# Known holes in the locked versions. Asks a public database, so it is no part of `lint`; in an environment of its own.
audit: build/audit/bin/pip-audit
	$< --requirement requirements.lock --no-deps --disable-pip --strict --progress-spinner off

build/audit/bin/pip-audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
