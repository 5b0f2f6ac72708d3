# Everything a user or CI needs. Needs git, make and Python >= 3.10 with venv; nothing else, and no root but for
# test-system.
#
#   make setup         the virtual environment that all others need; they make it by themselves
#   make demo          the main job from end to end, on a server of its own
#   make check         style, types, import directions
#   make test          all tests that need no root, no Debian packages and no training framework
#   make test-frameworks  tests of Keras, XGBoost and LightGBM, which it installs beside the others (about 1 GB; Python >= 3.11)
#   make test-torch    tests of PyTorch, Lightning and Hugging Face, in a virtual environment of their own (about 2 GB)
#   make test-system   tests that need Debian packages (installs them where it must)
#   make soak          the tests again with their full repetition counts; takes long
#   make docs          write docs/reference/ anew from the code
#   make bench         the benchmarks, as JSON in build/benchmarks/
#   make format        let ruff rewrite what it can
#   make lock          write requirements/dev.txt and frameworks.txt anew (UPGRADE=--upgrade takes newer versions)
#   make clean         remove what these made, the virtual environment too

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
# More options for pytest, as in: make test ARGS="tests/storage -x"
ARGS ?=

BIN = $(VENV)/bin
READY = $(VENV)/.ready
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# A folder's module stays in one process, so that each starts its server once.
PYTEST = $(BIN)/python -m pytest -p no:cacheprovider -n $(WORKERS) --dist loadfile
LOCK_VENV = build/lock
FRAMEWORKS_READY = $(VENV)/.frameworks
TORCH_VENV = build/torch-venv
TORCH_READY = $(TORCH_VENV)/.ready
TORCH_PIP = $(TORCH_VENV)/bin/python -m pip --quiet --disable-pip-version-check --no-input
UV_COMPILE = UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never $(LOCK_VENV)/bin/uv pip compile --quiet $(UPGRADE) --universal --generate-hashes --no-header
SYSTEM_PACKAGES = $(shell sed -e 's/\#.*//' requirements/debian.txt)

.DELETE_ON_ERROR:
.PHONY: setup demo check test test-frameworks test-torch test-system soak bench docs lock clean format

setup: $(READY)

$(READY): requirements/dev.txt pyproject.toml compat/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Headway needs Python 3.10 or newer: make PYTHON=/path/to/python3.12 ...")'
	@echo "Setting up $(VENV) with the packages of requirements/dev.txt (a minute or two, only now)."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); } || { \
	  rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation -e . -e compat
	@touch $@

demo: $(READY)
	@$(BIN)/python examples/demo.py

check: $(READY)
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

test: $(READY)
	$(PYTEST) -m "not system and not soak and not frameworks and not torch" $(ARGS)

$(FRAMEWORKS_READY): requirements/frameworks.txt $(READY)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "The frameworks need Python 3.11 or newer: make PYTHON=/path/to/python3.12 ...")'
	@$(PIP) install --require-hashes -r requirements/frameworks.txt
	@touch $@

test-frameworks: $(FRAMEWORKS_READY)
	KERAS_BACKEND=jax $(BIN)/python -m pytest -p no:cacheprovider -m frameworks $(ARGS) tests/integrations tests/serving

# One version by name: the newest would bring gigabytes of CUDA where no CPU build of it is at hand.
$(TORCH_READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -m venv $(TORCH_VENV)
	@$(TORCH_PIP) install --require-hashes -r requirements/dev.txt
	@$(TORCH_PIP) install torch==2.13.0
	@$(TORCH_PIP) install accelerate lightning transformers
	@$(TORCH_PIP) install --no-deps --no-build-isolation -e .
	@touch $@

test-torch: $(TORCH_READY)
	$(TORCH_VENV)/bin/python -m pytest -p no:cacheprovider -m torch $(ARGS) tests/integrations tests/serving

# Nothing is run where no test is marked: a runner that closes on no test looks like a suite that was not there.
test-system: $(READY)
	@set -e; missing=""; for package in $(SYSTEM_PACKAGES); do \
	    dpkg -s $$package >/dev/null 2>&1 || missing="$$missing $$package"; done; \
	  if [ -n "$$missing" ]; then if [ "$$(id -u)" = 0 ]; then \
	    apt-get update -q; DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; \
	  else echo "Not root: nothing is installed. The tests need:$$missing"; fi; fi
	@if grep -rqE "mark\.system\b" tests; then $(BIN)/python -m pytest -p no:cacheprovider -q -m system $(ARGS); \
	  else echo "No test needs Debian packages yet: none is marked 'system'."; fi

soak: $(READY)
	HEADWAY_TEST_FULL=1 $(PYTEST) -m "not frameworks and not torch" -o timeout=7200 $(ARGS)

docs: $(READY)
	$(BIN)/python docs/generate.py

bench: $(READY)
	@mkdir -p build/benchmarks
	@set -e; for script in benchmarks/*.py; do \
	  name=$$(basename $$script .py); echo "$$name"; $(BIN)/python $$script --output build/benchmarks/$$name.json; done

lock:
	@test -x $(LOCK_VENV)/bin/uv || { $(PYTHON) -m venv $(LOCK_VENV) && $(LOCK_VENV)/bin/python -m pip install --quiet uv; }
	$(UV_COMPILE) --python-version 3.10 --all-extras pyproject.toml requirements/dev.in -o requirements/dev.txt
	$(UV_COMPILE) --python-version 3.11 -c requirements/dev.txt requirements/frameworks.in -o requirements/frameworks.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
