# Everything that a change has to pass: `make check`. With a .venv here its tools are used (see
# scripts/set-up), otherwise those on the PATH.

BIN := $(if $(wildcard .venv/bin/python),.venv/bin/,)
SEEDS ?= 1..500
WORKERS ?= 2

.PHONY: check style types imports test simulate coverage mistakes changelog

check: style types imports test

style:
	$(BIN)ruff format --check .
	$(BIN)ruff check .

types:
	$(BIN)mypy

imports:
	$(BIN)lint-imports --no-logo

# In random order; the seed is printed, and `-p no:randomly` or `-p randomly -p "randomly_seed=N"`
# repeat an order.
test:
	$(BIN)python -m pytest -n $(WORKERS)

# Whole clusters on a virtual clock, with seeded faults: make simulate SEEDS=1..500
simulate:
	$(BIN)python -m minibox.simulation --seeds $(SEEDS)

coverage:
	$(BIN)coverage erase
	$(BIN)coverage run -m pytest -m "not probe"
	$(BIN)coverage report

# Small wrong changes, each of which some test has to catch: the test of the tests.
mistakes:
	$(BIN)python -m tests.mistakes

changelog:
	$(BIN)towncrier build --draft --version next
