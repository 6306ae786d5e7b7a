# The commands that a newcomer needs. PYTHON= chooses the interpreter, PORT= the demo's port.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-all lint types imports unit bench clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@echo "Setting up $(VENV): this takes a minute or two, once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	touch $@

demo: install
	$(BIN)/python examples/chat/manage.py migrate --verbosity 0
	$(BIN)/python examples/chat/manage.py runserver $(PORT)

test: install lint types imports unit

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

unit: install
	$(BIN)/python -m pytest

# The long runs too: more packages and servers side by side, more seeds, faults put in on purpose.
test-all: install lint types imports
	$(BIN)/python -m pytest -m ""

# Has an environment of its own, .bench/venv; BENCH_PYTHON= chooses its interpreter. ARGS="hello --seconds 3".
bench:
	$(PYTHON) -m bench $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
