# The commands that a newcomer needs. PYTHON= chooses the interpreter, PORT= the demo's port, ADDRESS= that of this
# machine in its network, so that a phone reaches the demo.
PYTHON ?= python3
ADDRESS ?= 127.0.0.1
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin

# Tests run in so many processes, a file in one of them: much of their time is waiting for servers and deadlines.
JOBS ?= 3
PYTEST := -m pytest -n $(JOBS) --dist loadfile

# All interpreters at hand, for `make matrix`, and the Django that goes with each.
PYTHONS := $(wildcard /usr/bin/python3.1[1-9] /usr/local/bin/python3.1[1-9] $(HOME)/.pyenv/versions/3.1[1-9].*/bin/python3.1[1-9])
MINORS := $(sort $(patsubst python%,%,$(notdir $(PYTHONS))))
DJANGO_FOR_3.11 := Django>=5.2,<5.3
DJANGO_FOR_3.12 := Django>=6.0,<6.1
DJANGO_NEWEST := Django>=6.1,<6.2
DJANGO_FOR = $(or $(DJANGO_FOR_$*),$(DJANGO_NEWEST))

# The newest interpreter that there is beside PYTHON, for Django 6.1; none: nothing to do.
NEWEST := $(lastword $(sort $(wildcard $(HOME)/.pyenv/versions/3.1[23].*/bin/python3.1[23])))
PROMISES := tests/threads tests/chain/test_mixins.py tests/e2e/test_promise.py $(addprefix tests/handler/test_,thread_promises.py seams.py \
	concurrent_differential.py leftovers.py connections.py http.py upgrade.py)
# What uses the compiled modules, from their own tests to whole servers.
COMPILED := tests/wire tests/net tests/gateway tests/realtime tests/rfc tests/e2e/test_promise.py
PIP_NEWEST := .venv-newest/bin/python -m pip install --quiet --disable-pip-version-check

.PHONY: install demo docs test test-all newest compiled lint types imports unit matrix bench clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@echo "Setting up $(VENV): this takes a minute or two, once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	touch $@

demo: install
	$(BIN)/python examples/chat/manage.py migrate --verbosity 0
	CHAT_HOST=$(ADDRESS) $(BIN)/python examples/chat/manage.py runserver $(ADDRESS):$(PORT)

# The site of docs/, with search and the API reference; a link that leads nowhere is an error.
docs: install
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --conf-dir docs . build/docs
	@echo "The site begins at build/docs/index.html."

test: install lint types imports unit newest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

unit: install
	$(BIN)/python $(PYTEST)

# The promises to each request, and the seams, on a second pair of Python and Django.
newest:
ifeq ($(NEWEST),)
	@echo "No Python 3.12 or 3.13 under ~/.pyenv: the promises are tested on one interpreter."
else
	test -e .venv-newest/.installed || $(NEWEST) -m venv .venv-newest
	test .venv-newest/.installed -nt pyproject.toml || \
		{ $(PIP_NEWEST) --upgrade "pip>=25.1" && $(PIP_NEWEST) --editable . --group promises "$(DJANGO_NEWEST)"; }
	touch .venv-newest/.installed
	.venv-newest/bin/python $(PYTEST) $(PROMISES)
endif

# The whole suite on each interpreter at hand, whatever comes of the one before, and at the end what came of each.
matrix:
	@rm -f $(MINORS:%=.venv-%/results.xml)
	-@for minor in $(MINORS); do echo "Python $$minor"; $(MAKE) --no-print-directory on-$$minor; done
	@$(PYTHON) -m tests.matrix $(MINORS)

# On one of them: `make on-3.13`. Some packages that ours must get along with ask for an older Django than the newest, so
# that comes last.
on-%:
	test -e .venv-$*/.installed || $(lastword $(filter %/python$*,$(PYTHONS))) -m venv .venv-$*
	test .venv-$*/.installed -nt pyproject.toml || \
		{ .venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1" && \
		.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --editable . --group dev && \
		.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check "$(DJANGO_FOR)"; }
	touch .venv-$*/.installed
	.venv-$*/bin/python $(PYTEST) --junit-xml=.venv-$*/results.xml

# A wheel with the compiled modules in it (setup.py), and their tests over it. Needs a C compiler.
compiled:
	test -e .venv-compiled/bin/python || $(PYTHON) -m venv .venv-compiled
	.venv-compiled/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	rm -rf .venv-compiled/wheel build/lib* build/bdist*
	FULLDUPLEX_COMPILE=1 .venv-compiled/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps \
		--wheel-dir .venv-compiled/wheel .
	.venv-compiled/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall \
		.venv-compiled/wheel/*.whl --group promises
	.venv-compiled/bin/fullduplex --version | grep compiled
	.venv-compiled/bin/python -m pytest $(COMPILED)

# The long runs too: more packages and servers side by side, more seeds, faults put in on purpose.
test-all: install lint types imports compiled
	$(BIN)/python $(PYTEST) -m ""

# Has an environment of its own, .bench/venv; BENCH_PYTHON= chooses its interpreter. ARGS="hello --seconds 3".
bench:
	$(PYTHON) -m bench $(ARGS)

clean:
	rm -rf $(VENV) .venv-newest .venv-compiled .venv-3.* build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
