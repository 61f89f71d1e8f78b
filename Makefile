# `make demo` and `make test` install what they need into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv installs in seconds (files are hard links from its cache). If it is missing, pip puts it beside the environment.
UV = $(shell command -v uv || echo $(VENV)-uv/bin/uv)
.PHONY: help install demo index wiring test test-slow test-network lint format clean
help:  ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(VENV)/installed  ## Create .venv and install into it

$(VENV)/installed: pyproject.toml constraints.txt
	@command -v uv > /dev/null || test -x $(VENV)-uv/bin/uv || \
		{ $(PYTHON) -m venv $(VENV)-uv && $(VENV)-uv/bin/pip install --quiet uv; }
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -c "from zoo.neurons.fused import LIBRARY; LIBRARY.get(True)" # once a machine: seconds
	@touch $@

demo: install  ## The main job on handwritten digits, in a few minutes; see runs/demo
	$(BIN)/python benchmarks/demo.py

index: install  ## Write the index of students, from which `snnzoo info` answers
	$(BIN)/python -m zoo.registry.facts

wiring: install  ## Redraw the tiny students for the test of `snnzoo draw`
	$(BIN)/snnzoo draw '*tiny' --output tests/zoo/data/wiring.md

test: install  ## The whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m "not slow and not network"

test-slow: install  ## Tests that take more than half a minute each
	$(BIN)/python -m pytest -m slow

test-network: install  ## Tests that need a network
	$(BIN)/python -m pytest -m network

lint: install  ## Lint, format check and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove environments and caches; runs stay
	rm -rf $(VENV) $(VENV)-uv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
