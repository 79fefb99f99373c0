# `make lab` opens JupyterLab on the welcome notebook, `make test` runs every test and notebook.
# Both do everything on a fresh machine that has Python 3.11 or later; `make setup` is the installing alone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(PYTHON) .ci/setup.py
MODEL ?= smollm2-135m
WELCOME := notebooks/00-welcome.ipynb
NOTEBOOKS ?= notebooks
TEST_ENV := PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONHASHSEED=0 WORKBENCH_CHECK=1 WORKBENCH_KERNELS=wait OMP_WAIT_POLICY=PASSIVE

FAST := not slow and not model and not process and not heavy

# CI keeps the time of every test: TEST_TIMES=FOLDER.
report = $(if $(TEST_TIMES),--junitxml=$(TEST_TIMES)/$(1).xml)

# All tests, in parts. Two run at a time, on two cores, in this order: the longest first, so that both cores have work to the end.
JOBS := test-unit test-equal test-server test-pages test-notebook

.DEFAULT_GOAL := help
.PHONY: help setup lab demo test check test-unit test-equal test-server test-pages test-notebook test-notebooks test-fast test-fast-first test-fast-second test-all test-browser soak clients screenshots lint bench-peers test-schemas docs compile html docs-serve release-check strip clean

help:
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup:  ## create .venv and install everything
	@$(SETUP) engine notebook server test

# In a container one is often root, which JupyterLab refuses unless told.
lab:  ## fetch the default model and open JupyterLab on the welcome notebook
	@$(SETUP) engine notebook server --model $(MODEL) -- jupyter lab $$([ "$$(id -u)" != 0 ] || echo --allow-root) $(WELCOME)

demo:  ## the same without a browser: run the welcome notebook and print what it produced
	@$(SETUP) engine notebook server --model $(MODEL) -- $(BIN)/python -m workbench.bench.demo $(WELCOME)

test: setup  ## every test and every notebook; those in a browser where there is a Chromium
	@$(MAKE) -j2 --no-print-directory $(if $(NOTEBOOKS),test-notebooks) $(JOBS)

# The site runs every notebook, cell by cell: so they are not run a second time. Its tests come after it, the others beside it.
check:  ## what CI runs: lint, the site, every test
	@$(SETUP) engine notebook server test docs
	@WORKBENCH_SITE="$(CURDIR)/docs/_build/html" $(MAKE) -j2 -k --no-print-directory docs lint $(JOBS) BUILT=docs

test-unit: PARTS := tests/unit tests/js
test-equal: PARTS := tests/equal tests/gpu
test-server: PARTS := tests/server tests/clients
test-pages: PARTS := tests/browser tests/site
test-notebook: PARTS := tests/notebook
test-pages: $(BUILT)
# Beside another part one thread is faster than two, and tests/unit compares what several threads compute.
test-equal: TEST_ENV += OMP_NUM_THREADS=1
$(JOBS):
	$(TEST_ENV) WORKBENCH_OPENAPI_CASES=2000 $(BIN)/python -m pytest -q -rs $(PYTEST_ARGS) $(call report,$@) $(PARTS)

test-notebooks:
	$(TEST_ENV) $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 $(NOTEBOOKS)

test-fast: setup  ## every test that needs no model, browser or child process and no long computing: about a minute on two cores
	@$(MAKE) -j2 $(if $(filter output-sync,$(.FEATURES)),-Otarget) --no-print-directory test-fast-first test-fast-second

test-fast-first: FOLDERS := tests/unit/[a-g]*/
test-fast-second: FOLDERS := tests/unit/[h-z]*/ tests/unit/test_*.py
test-fast-first test-fast-second:
	@$(TEST_ENV) WORKBENCH_TEST_FAST=1 WORKBENCH_KERNELS=torch $(BIN)/python -m pytest -q -m "$(FAST)" $(FOLDERS)

test-all: setup  ## the same with the tests that take long
	$(TEST_ENV) WORKBENCH_OPENAPI_CASES=10000 $(BIN)/python -m pytest -m '' --timeout=1800 --ignore=tests/clients tests
	$(TEST_ENV) $(BIN)/python .ci/clients.py
	$(TEST_ENV) $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 $(NOTEBOOKS)

test-browser: setup  ## the notebook's views in JupyterLab in Chromium (WORKBENCH_CHROMIUM, else the one on PATH)
	$(TEST_ENV) WORKBENCH_REQUIRE_BROWSER=1 $(BIN)/python -m pytest -m browser tests/browser

soak: setup  ## ten minutes of clients that stream, leave, abort and send nonsense; nothing may be left behind
	$(TEST_ENV) WORKBENCH_SOAK_S=600 $(BIN)/python -m pytest -s tests/server/test_soak.py

clients: setup  ## contract tests with lm-eval, litellm, LangChain, instructor, PydanticAI, outlines and the reference's frontend
	$(TEST_ENV) $(BIN)/python .ci/clients.py

screenshots: setup  ## make the README's pictures anew
	$(TEST_ENV) WORKBENCH_REQUIRE_BROWSER=1 WORKBENCH_SCREENSHOTS=$(CURDIR)/docs/images \
	  $(BIN)/python -m pytest tests/browser/test_screenshots.py tests/browser/test_page.py

lint: setup  ## ruff, mypy, layer order, prose; JavaScript and CSS where Node is
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/prose.py
	@$(PYTHON) .ci/js/check.py

bench-peers: setup  ## us beside transformers and, where installed, vLLM, OpenVINO GenAI and llama.cpp
	$(BIN)/python -m workbench.bench.peers $(ARGS)

test-schemas: setup  ## the public sets of JSON schemas against our goals; SCHEMAS=FOLDER with their checkouts
	@[ -n "$(SCHEMAS)" ] || { echo "say where the checkouts are: make test-schemas SCHEMAS=FOLDER"; exit 1; }
	$(TEST_ENV) $(BIN)/python -m workbench bench schemas $(SCHEMAS) --check $(ARGS)

docs:  ## run the notebooks whose code or package changed, and build the site into docs/_build/html
	@$(SETUP) engine notebook server test docs
	$(TEST_ENV) $(BIN)/sphinx-build -q -W --keep-going -d docs/_build/doctrees docs docs/_build/html
	@echo "docs/_build/html/index.html"

compile:  ## run the notebooks and pages with code, without writing the site
	@$(SETUP) engine notebook server test docs
	$(TEST_ENV) $(BIN)/sphinx-build -q -W --keep-going -d docs/_build/doctrees -b dummy docs docs/_build/dummy

html: docs  ## the same as docs

docs-serve: docs  ## build the site, show it, and print the address; PORT=8000 for one of your choice
	@bash docs/serve.sh $(PORT)

release-check: setup  ## build the wheel and the sdist, and check that this commit can be released
	$(BIN)/python .ci/release_check.py $(ARGS)

strip: setup  ## remove the outputs of every notebook
	$(BIN)/nbstripout notebooks/*.ipynb

clean:  ## remove what was built or installed; models in WORKBENCH_HOME stay
	rm -rf $(VENV) .cache docs/_build docs/tutorials docs/reference build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find workbench tests -name __pycache__ -type d -prune -exec rm -rf {} +
