# The one door for people and for CI: every target installs what it needs into .venv.

PYTHON ?= python3
VENV   ?= .venv
OLDEST ?= .venv-oldest
BIN    := $(VENV)/bin

.PHONY: demo test test-oldest lint ruff types format docs site bench chaos clean

demo: $(VENV)/.installed
	$(BIN)/lossviz train quickstart
	$(BIN)/lossviz probe quickstart
	$(BIN)/lossviz surface quickstart
	$(BIN)/lossviz plot runs/quickstart

# One thread each: the tests' networks are too small for more.
test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4

# The same tests with the oldest versions that setup.cfg promises.
test-oldest: $(OLDEST)/.installed
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python -m pytest -n logical --maxprocesses 4

lint: ruff types

ruff: $(VENV)/.installed-lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed-lint
	$(BIN)/mypy

format: $(VENV)/.installed-lint
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.installed
	$(BIN)/python -m lossviz.config.docpage > docs/configuration.md

# The pages of docs/ in site/, to look at in a browser.
site: $(VENV)/.installed-site
	$(BIN)/zensical build --strict

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks.run

# Kills commands at random times and damages files, for about an hour; SEED and CHAOS=--kills 1000 change it.
chaos: $(VENV)/.installed-test
	$(BIN)/python -m chaos --seed $(or $(SEED),0) $(CHAOS)
	$(BIN)/python -m chaos.network

clean:
	rm -rf $(VENV) $(OLDEST) build site *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[test,cluster]'
	touch $@

$(VENV)/.installed-lint: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[test,examples,cluster,lint]'
	touch $@

$(VENV)/.installed-site: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[site]'
	touch $@

# Every `name >= version` of setup.cfg becomes `name==version`, so the bounds stand in one place.
$(OLDEST)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	sed -nE 's/^    ([A-Za-z0-9-]+) >= ([0-9.]+).*/\1==\2/p' setup.cfg > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt --editable '.[test]'
	touch $@
