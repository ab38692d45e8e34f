# `make demo` and `make test` need Python >= 3.11 alone: they make their virtual environments themselves.
# Node >= 20 is used where there is one.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SUTS := .venv-suts/.installed
NODE := tests/suts/node/node_modules/.installed restaurant_node/node_modules/.installed

.PHONY: demo test check benchmark clean

demo: $(INSTALLED)
	$(BIN)/leakline soak

# Two at a time: much of a soak is waiting, and two cores are enough for two.
WORKERS ?= 2

test: check $(SUTS) $(if $(shell command -v npm),$(NODE))
	$(BIN)/pytest -n $(WORKERS)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: $(INSTALLED)
	for script in benchmarks/*.py; do $(BIN)/python $$script; done

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("leakline needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Real frameworks for the conformance tests, apart from leakline's own packages as a server's are.
$(SUTS): tests/suts/requirements.txt
	$(PYTHON) -m venv .venv-suts
	.venv-suts/bin/python -m pip install --quiet --requirement tests/suts/requirements.txt
	touch $@

$(NODE): %/node_modules/.installed: %/package.json
	cd $* && npm install --no-package-lock --no-audit --no-fund --loglevel=error
	touch $@

clean:
	rm -rf $(VENV) .venv-suts tests/suts/node/node_modules restaurant_node/node_modules runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
