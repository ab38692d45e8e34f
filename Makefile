# `make demo` and `make test` need Python >= 3.11 alone: they make their virtual environments themselves.
# Node >= 20 is used where there is one.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SUTS := .venv-suts/.installed
NODE := tests/suts/node/node_modules/.installed restaurant_node/node_modules/.installed

.PHONY: demo test test-all ready pythons audit check style types chromium docs screenshots benchmark clean

demo: $(INSTALLED)
	$(BIN)/leakline soak

# Four at a time, on two cores: much of a soak is waiting.
WORKERS ?= 4

# The report's tests open it in a browser: it is installed where that can be done, else they are skipped.
CHROMIUM := $(if $(shell command -v chromium || command -v chromium-browser || command -v google-chrome),,chromium)

chromium:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium > /dev/null; \
	else echo "no Chromium: the tests of the HTML report will be skipped"; fi

TESTS ?= not thorough

# What is to be installed is so side by side, and the checks begin as soon as they can.
test:
	$(MAKE) --no-print-directory -j 4 ready
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m "$(TESTS)"

ready: check $(CHROMIUM) $(SUTS) $(if $(shell command -v npm),$(NODE))

# With those too that are one more of a kind: every leak, path and framework. Half as long again.
test-all:
	$(MAKE) --no-print-directory test TESTS=""

# What depends on the interpreter, the agent above all, on each newer Python that this machine has.
pythons:
	.ci/pythons $(WORKERS)

# Known vulnerabilities of the pinned packages.
audit:
	.ci/audit

check: style types docs

style: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

# A link that leads nowhere is an error.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

screenshots: $(INSTALLED)
	$(BIN)/python docs/screenshots.py

benchmark: $(INSTALLED) $(if $(shell command -v npm),$(NODE))
	for script in benchmarks/*.py; do $(BIN)/python $$script; done

# Not compiled: most of what is installed is imported once or never.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("leakline needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@

# Real frameworks for the conformance tests, apart from leakline's own packages as a server's are.
$(SUTS): tests/suts/requirements.txt
	$(PYTHON) -m venv .venv-suts
	.venv-suts/bin/python -m pip install --quiet --no-compile --requirement tests/suts/requirements.txt
	touch $@

$(NODE): %/node_modules/.installed: %/package.json
	cd $* && npm install --no-package-lock --no-audit --no-fund --loglevel=error
	touch $@

clean:
	rm -rf site $(VENV) .venv-3.* .venv-audit .venv-suts tests/suts/node/node_modules restaurant_node/node_modules runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
