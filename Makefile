# Two commands matter: `make train` and `make test`. Both set up .venv first; ARGS are passed through.
#   make train ARGS="--backend cupy --epochs 20"
#   make test ARGS="-k softmax"

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: train test check bench figures torture format wheel clean

train: $(VENV)/.core
	$(BIN)/nnbackprop train $(ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest -n logical --dist worksteal $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n logical --dist worksteal $(ARGS)

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(ARGS)

figures: $(VENV)/.bench
	$(BIN)/python scripts/make_figures.py $(ARGS)

torture: $(VENV)/.torture
	$(BIN)/python -m tests.torture $(ARGS)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel: $(VENV)/.dev
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else \
	f"nnbackprop needs Python 3.11 or newer and {sys.executable} is {v[0]}.{v[1]}: name another one, make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	@touch $@ $(VENV)/.core

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@ $(VENV)/.core $(VENV)/.test

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[bench,fast]" "torch==2.13.0"
	@touch $@ $(VENV)/.core

$(VENV)/.torture: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[torture]"
	@touch $@ $(VENV)/.core $(VENV)/.test
