PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test test-all lint

install: .venv/installed

# The lock is complete, so --no-deps: see its head. A torch that came without its GPU libraries is asked for again.
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps -r requirements.lock
	$(BIN)/python -c 'import torch' || $(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# FAST=1: few steps and problems. ARGS: options of jobs/demo.py, such as ARGS='--model FOLDER'.
demo: install
	$(BIN)/python jobs/demo.py$(if $(filter-out 0,$(FAST)), --fast)$(if $(ARGS), $(ARGS))

test: install
	$(BIN)/pytest -m "not long"

test-all: install
	$(BIN)/pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
