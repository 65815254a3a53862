# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types contracts pytest torture fuzz bench schemas clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	touch $@

demo: .venv/installed
	$(BIN)/sidcurate demo

test: lint types contracts pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

contracts: .venv/installed
	$(BIN)/lint-imports

pytest: .venv/installed
	$(BIN)/pytest -n auto -m "not slow and not gpu"

torture: .venv/installed
	$(BIN)/python -m tests.torture

bench: .venv/installed
	$(BIN)/python -m tests.benchmarks

# Resumable; the state is in .fuzz/.
fuzz: .venv/installed
	$(BIN)/python -m tests.fuzz

schemas: .venv/installed
	$(BIN)/sidcurate schema --write schemas

clean:
	rm -rf .venv .mypy_cache .ruff_cache .import_linter_cache
