# `make lab` opens JupyterLab on the welcome notebook, `make test` runs every test and notebook.
# Both do everything on a fresh machine that has Python 3.11 or later; `make setup` is the installing alone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
MODEL ?= smollm2-135m
WELCOME := notebooks/00-welcome.ipynb
NOTEBOOKS ?= notebooks
TEST_ENV := PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONHASHSEED=0 WORKBENCH_CHECK=1 OMP_WAIT_POLICY=PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup lab demo test test-all test-browser screenshots lint bench-peers test-schemas docs strip clean

help:
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed  ## create .venv and install everything

# torch first and alone: with it in place no other package can pull another build.
$(VENV)/.installed: pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "workbench needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)."; \
	  echo "Install one and say which: make setup PYTHON=python3.12"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@echo "installing torch ..."
	@$(PIP) install -qq -c .ci/constraints.txt torch
	@echo "installing workbench with engine, notebook and test ..."
	@$(PIP) install -qq -c .ci/constraints.txt -e '.[engine,notebook,test]'
	@if git rev-parse --git-dir >/dev/null 2>&1; then \
	  git config filter.nbstripout.clean '$(BIN)/nbstripout'; \
	  git config filter.nbstripout.smudge cat; \
	  git config filter.nbstripout.extrakeys 'metadata.language_info.version'; \
	  git config diff.ipynb.textconv '$(BIN)/nbstripout -t'; fi
	@touch $@

# In a container one is often root, which JupyterLab refuses unless told.
lab: setup  ## fetch the default model and open JupyterLab on the welcome notebook
	$(BIN)/workbench models fetch $(MODEL)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter lab $$([ "$$(id -u)" != 0 ] || echo --allow-root) $(WELCOME)

demo: setup  ## the same without a browser: run the welcome notebook and print what it produced
	$(BIN)/workbench models fetch $(MODEL)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m workbench.demo $(WELCOME)

test: setup  ## every test and every notebook; those in a browser where there is a Chromium
	$(TEST_ENV) $(BIN)/python -m pytest -rs tests
	$(TEST_ENV) $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 $(NOTEBOOKS)

test-all: setup  ## the same with the tests that take long
	$(TEST_ENV) $(BIN)/python -m pytest -m '' --timeout=1800 tests
	$(TEST_ENV) $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 $(NOTEBOOKS)

test-browser: setup  ## the notebook's views in JupyterLab in Chromium (WORKBENCH_CHROMIUM, else the one on PATH)
	$(TEST_ENV) WORKBENCH_REQUIRE_BROWSER=1 $(BIN)/python -m pytest -m browser tests/browser

screenshots: setup  ## make the README's pictures anew
	$(TEST_ENV) WORKBENCH_REQUIRE_BROWSER=1 WORKBENCH_SCREENSHOTS=$(CURDIR)/docs/images \
	  $(BIN)/python -m pytest tests/browser/test_screenshots.py

lint: setup  ## ruff, strict typing of the lower layers, layer order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-peers: setup  ## us beside transformers and, where installed, vLLM, OpenVINO GenAI and llama.cpp
	$(BIN)/python -m workbench.bench.peers $(ARGS)

test-schemas: setup  ## the public sets of JSON schemas against our goals; SCHEMAS=FOLDER with their checkouts
	@[ -n "$(SCHEMAS)" ] || { echo "say where the checkouts are: make test-schemas SCHEMAS=FOLDER"; exit 1; }
	$(TEST_ENV) $(BIN)/python -m workbench bench schemas $(SCHEMAS) --check $(ARGS)

docs: setup $(VENV)/.docs  ## build the documentation into docs/_build/html
	$(TEST_ENV) $(BIN)/sphinx-build -q -W --keep-going docs docs/_build/html
	@echo "docs/_build/html/index.html"

$(VENV)/.docs: pyproject.toml .ci/constraints.txt
	@$(PIP) install -qq -c .ci/constraints.txt -e '.[docs]'
	@touch $@

strip: setup  ## remove the outputs of every notebook
	$(BIN)/nbstripout notebooks/*.ipynb

clean:  ## remove what was built or installed; models in WORKBENCH_HOME stay
	rm -rf $(VENV) .cache docs/_build docs/_generated build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find workbench tests -name __pycache__ -type d -prune -exec rm -rf {} +
