# Everything runs from .venv, which each target makes when it is missing or older than the pins.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

SEEDS ?= 1000

# The contracts as they were promised. Comments are left out, so that only what a client depends on changes it.
FROZEN := protos/frozen.binpb

# For every platform and Python that pyproject.toml allows; a file says nothing of where it was made.
PIN = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(if $(UPGRADE),--upgrade) \
	--no-header --no-emit-index-url --no-emit-find-links pyproject.toml

.PHONY: help demo up test quick examples simulate mutants chaos monitoring bench check proto freeze docs format pins hooks dist clean

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# uv installs the pins, and is one of them: pip takes it from there.
$(READY): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "tillmesh needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY) ## Replay a real retailer's invoices through three servers, then play the story of the lock
	@$(BIN)/tillmesh demo

up: $(READY) ## Start the three servers and keep them running until Ctrl-C
	@$(BIN)/tillmesh up

test: $(READY) ## Run all tests, or those of T=tests/FILE.py::NAME
	$(BIN)/python -m pytest -q $(or $(T),-n 3 --dist worksteal)

quick: $(READY) ## Run the tests that start neither a process nor PostgreSQL: half of all, in a minute or two
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not chaos and not process"

examples: $(READY) ## Run tills in other languages, and say what is not installed here; INSTALL=1 installs it by apt
	@$(BIN)/python -m examples.run $(if $(INSTALL),--install)
	$(BIN)/python -m pytest -q -rs tests/contracts/test_languages.py tests/test_examples.py

simulate: $(READY) ## Look for an order of events that breaks a promise: SEEDS=n of them, or the trace of SEED=n
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED) $(if $(MUTANT),--mutant $(MUTANT)),--seeds $(SEEDS))

mutants: $(READY) ## Break the protocol in every way we know, and check that the simulator sees it
	@$(BIN)/python -m tests.simulation --mutants

chaos: $(READY) ## Kill servers, break links, fill disks and damage logs under load, and count what was lost
	@$(BIN)/python -m tests.chaos $(CHAOS)
	@$(BIN)/python -m pytest -q -m chaos

monitoring: $(READY) ## Let a real Prometheus answer the dashboard and the alerts; needs Debian's package prometheus
	@$(BIN)/python -m tests.monitoring

bench: $(READY) ## Measure speed as ratios to a server that does nothing, ten minutes; BENCH=--help
	@$(BIN)/python -m bench $(BENCH)

check: $(READY) ## Format, lint, types; contracts, also against the frozen ones; generated files must be up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against $(FROZEN)
	$(BIN)/python tools/generate.py --check

proto: $(READY) ## Generate tillmesh/api from protos/
	$(BIN)/python tools/generate.py proto

freeze: $(READY) ## Freeze the contracts as they are, in a commit that says why; until 0.2.0 this may break them
	@$(BIN)/buf breaking --against $(FROZEN) || echo "The lines above break clients of the contracts that were frozen before."
	$(BIN)/buf build --exclude-source-info -o $(FROZEN)

docs: $(READY) ## Generate the state diagrams and tables of the READMEs
	$(BIN)/python tools/generate.py docs

format: $(READY) ## Format code and contracts
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format -w

pins: $(READY) ## Pin what runs and what develops within the ranges of pyproject.toml; UPGRADE=1 takes the newest
	$(PIN) -o requirements.txt
	$(PIN) --group dev --constraints requirements.txt -o requirements-dev.txt

hooks: $(READY) ## Run make check before each commit of this clone
	@$(BIN)/pre-commit install

dist: $(READY) ## Build the wheel into dist/, with nothing to download
	@$(BIN)/hatchling build --target wheel --clean

clean: ## Remove .venv and all caches
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis examples/node/node_modules
	find . -name __pycache__ -type d -exec rm -rf {} +
