# Each target sets up what it needs, in .venv, on its first run and whenever pyproject.toml changes.
# ARGS is handed to the program: make demo ARGS='--workers 8', make test ARGS='-k lock'.

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
NEEDS := import sys; sys.exit(sys.version_info < (3, 11))

# Some environments tell Python to keep no compiled code: then each of the many processes of the tests would
# compile the package, and each worker all the tests.
COMPILED := PYTHONDONTWRITEBYTECODE=

.DEFAULT_GOAL := help
.PHONY: help demo test soak matrix simulation torture torture-report fuzz lint docs bench clean
.DELETE_ON_ERROR:

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 21

demo: .venv/.runtime  ## workers, locks and an election on a real etcd, with crashes
	@$(BIN)/etcd-recipes demo $(ARGS)

test: .venv/.dev  ## all tests, against real servers
	@$(COMPILED) $(BIN)/python -m pytest $(ARGS)

soak: .venv/.dev  ## the tests that have a long form, in their long form
	@$(COMPILED) ETCD_RECIPES_LONG=1 $(BIN)/python -m pytest --timeout=7200 $(ARGS)

matrix: .venv/.dev  ## the tests on every Python here, and with the oldest dependencies
	@$(COMPILED) $(BIN)/python -m tests.matrix $(ARGS)

fuzz: .venv/.dev  ## a search for input that hurts a parser: ARGS='--seconds 600' (needs atheris)
	@$(BIN)/python -m tests.hostile.fuzz $(ARGS)

torture: .venv/.dev  ## every recipe on three members, while everything goes wrong: 90 s, or ARGS='--minutes 10'
	@$(COMPILED) $(BIN)/python -m tests.torture $(ARGS)

torture-report: .venv/.dev  ## the reliability report, from an hour of both, or ARGS='--from FILES'
	@$(COMPILED) $(BIN)/python -m tests.reliability $(ARGS)

simulation: .venv/.dev  ## the client in virtual time, under faults drawn from seeds: ARGS='--seeds 1000'
	@$(COMPILED) $(BIN)/python -m tests.simulation $(ARGS)

lint: .venv/.dev  ## style, types, and the rules between the floors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

docs: .venv/.dev  ## the documentation, into docs/_build/html
	@$(BIN)/sphinx-build -n -W -q $(ARGS) docs docs/_build/html
	@echo "documentation: docs/_build/html/index.html"

bench: .venv/.runtime  ## how fast it is here, beside its rivals: eight minutes, or ARGS=--quick
	@$(COMPILED) $(BIN)/python -m benchmarks $(ARGS)

clean:  ## remove all that these targets made, .venv included
	@rm -rf .venv .matrix .bench docs/_build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .fuzz
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What a set-up says goes to stderr: `make demo ARGS=--json` has the result alone on stdout.

.venv/.made:
	@$(PYTHON) -c '$(NEEDS)' 2>/dev/null || { \
	  echo "etcd-recipes needs Python 3.11 or newer, and '$(PYTHON)' is not: name one with make PYTHON=python3.12" >&2; \
	  exit 1; }
	@echo "making .venv" >&2
	@$(PYTHON) -m venv .venv >&2
	@$(PIP) install --upgrade 'pip>=25.1' >&2
	@touch $@

.venv/.runtime: .venv/.made pyproject.toml
	@echo "installing etcd-recipes, its extras and a development etcd into .venv" >&2
	@$(PIP) install --editable '.[all]' >&2
	@touch $@

.venv/.dev: .venv/.runtime
	@echo "installing the tools for tests, lint and docs into .venv" >&2
	@$(PIP) install --group dev >&2
	@touch $@
