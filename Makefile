# Needs make and a Python from 3.11 to 3.13 with its venv module; everything else comes into $(VENV).
#   make test AIRFLOW=2.11.2 PYTHON=python3.12    with another Airflow, of those in constraints/, and another Python
# The demo and `make airflow` are for the newest Airflow.

AIRFLOW := 3.3.2
PYTHON ?=
ARGS :=
PORT := 8080

CONSTRAINTS := constraints/airflow-$(AIRFLOW).txt
VENV := .venv$(if $(filter-out 3.3.2,$(AIRFLOW)),-$(AIRFLOW))
BIN := $(VENV)/bin
# Quiet: hundreds of package names would hide an error.
PIP_INSTALL := $(BIN)/python -m pip --quiet --quiet install --constraint $(CONSTRAINTS)
CHECKED := $(wildcard airflow_provider_chartmogul benchmarks example_dags scripts tests)

# The caller's settings of Airflow and Python must not reach the tests.
unexport $(filter AIRFLOW_%,$(.VARIABLES)) PYTHONHOME PYTHONPATH PYTHONDONTWRITEBYTECODE PYTHONWARNINGS

.PHONY: help demo test test-matrix bench e2e e2e-of e2e-celery e2e-clients e2e-lineage e2e-lineage-of e2e-browser e2e-browser-of lint mutate format airflow docs dist clean
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.base ## watch a DAG pull an opportunity and wait until it is won
	@$(BIN)/python -m scripts.demo

airflow: $(VENV)/.base ## start a complete local Airflow with the sandbox (PORT=8080)
	@$(BIN)/python -m scripts.airflow_with_sandbox --port $(PORT)

# Six processes on any machine, since the tests mostly wait; each more imports Airflow once more.
test: $(VENV)/.test ## run the tests (ARGS="-k sensor")
	$(BIN)/python -m pytest --ignore-glob='tests/e2e*' --numprocesses 6 --dist worksteal $(ARGS)

# pyenv's interpreters are found only if they are selected. The README's table needs a run of all the tests.
test-matrix: $(VENV)/.matrix ## run the tests on every supported Airflow and Python (ARGS="-k sensor")
	@mkdir -p build
	PYENV_VERSION="$$(pyenv versions --bare 2>/dev/null | paste -sd : -)" \
		$(BIN)/nox --report build/test-matrix.json -- $(ARGS)
	$(if $(ARGS),,$(BIN)/python -m scripts.compatibility_table build/test-matrix.json)

e2e: ## run the examples on a complete Airflow 2.11 and 3.3, and kill parts of it (ARGS="-k examples")
	@for version in 2.11.2 3.3.2; do $(MAKE) --no-print-directory e2e-of AIRFLOW=$$version || exit; done

e2e-of: $(VENV)/.test
	$(BIN)/python -m pytest tests/e2e tests/e2e_docs $(ARGS)

e2e-celery: $(VENV)/.celery ## kill each part of a cluster with Postgres, Redis and Celery
	@scripts/ensure_installed postgresql redis-server
	$(BIN)/python -m pytest tests/e2e_celery $(ARGS)

# In an environment of its own: the OpenLineage provider listens to every task of an Airflow that has it.
e2e-lineage: ## export with OpenLineage listening, on Airflow 2.11 and 3.3, and read its events
	@for version in 2.11.2 3.3.2; do \
		$(MAKE) --no-print-directory e2e-lineage-of AIRFLOW=$$version VENV=.venv-lineage-$$version || exit; done

e2e-lineage-of: $(VENV)/.lineage
	$(BIN)/python -m pytest tests/e2e_lineage $(ARGS)

e2e-clients: $(VENV)/.test ## try the sandbox with ChartMogul's own Node client, which npm installs
	@command -v npm >/dev/null || scripts/ensure_installed nodejs npm
	@mkdir -p $(VENV)/node && cp tests/e2e_clients/package.json $(VENV)/node/
	@npm install --prefix $(VENV)/node --no-package-lock --no-audit --no-fund --loglevel=error
	NODE_PATH=$(CURDIR)/$(VENV)/node/node_modules $(BIN)/python -m pytest tests/e2e_clients $(ARGS)

bench: $(VENV)/.benchmark ## compare with the alternatives; about 65 minutes, alone on the machine (ARGS=--smoke)
	$(BIN)/python -m benchmarks $(ARGS)

# One benchmark: bench-parse, bench-retrieve, bench-export, bench-waiting, bench-watching, bench-airflow-cost.
bench-%: $(VENV)/.benchmark
	$(BIN)/python -m benchmarks.$(subst -,_,$*) $(ARGS)

e2e-browser: ## test the web page in a browser: the form of 2.11, 3.1 and 3.3, and a run (ARGS=--save-screenshots)
	@scripts/ensure_installed chromium
	@for version in 2.11.2 3.1.8 3.3.2; do $(MAKE) --no-print-directory e2e-browser-of AIRFLOW=$$version || exit; done

e2e-browser-of: $(VENV)/.browser
	$(BIN)/python -m pytest tests/e2e_browser $(ARGS)

lint: $(VENV)/.lint ## check format, rules and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/actionlint
	$(BIN)/mypy $(CHECKED)

# mutmut changes one thing at a time in a copy of the package, and runs the tests that reach it.
mutate: $(VENV)/.mutation ## list changes of the code that no test notices (ARGS='airflow_provider_chartmogul.hooks.*')
	$(BIN)/mutmut run $(ARGS)
	$(BIN)/mutmut results

format: $(VENV)/.lint ## format the code and apply the automatic fixes
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(VENV)/.docs ## build the documentation pages and the reference into build/docs
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet --fresh-env docs build/docs

dist: $(VENV)/.release ## build and check the archives to publish
	$(BIN)/python -m scripts.build_dist --constraint $(CONSTRAINTS)

clean: ## remove the files that make created
	rm -rf .venv .venv-* .nox .airflow build dist .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage mutants
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each of these files marks an installed group of packages; a change of pyproject.toml or the constraints installs again.
$(VENV)/.base: pyproject.toml $(CONSTRAINTS)
	@scripts/create_venv $(VENV) $(PYTHON)
	@echo "Installing Airflow $(AIRFLOW) and this package into $(VENV); this takes a minute ..."
	@$(PIP_INSTALL) --upgrade pip
	@$(PIP_INSTALL) --editable '.[sandbox,parquet]'
	@touch $@

$(VENV)/.test: $(VENV)/.base
	@$(PIP_INSTALL) --group test
	@touch $@

$(VENV)/.benchmark: $(VENV)/.test
	@$(PIP_INSTALL) --group benchmark
	@touch $@

$(VENV)/.browser: $(VENV)/.test
	@$(PIP_INSTALL) --group browser
	@touch $@

$(VENV)/.lineage: $(VENV)/.test
	@$(PIP_INSTALL) --group lineage
	@touch $@

$(VENV)/.docs: $(VENV)/.base
	@$(PIP_INSTALL) --group docs
	@touch $@

$(VENV)/.celery: $(VENV)/.test
	@$(PIP_INSTALL) --group celery
	@touch $@

$(VENV)/.lint: $(VENV)/.browser
	@$(PIP_INSTALL) --group lint
	@touch $@

$(VENV)/.matrix: $(VENV)/.base
	@$(PIP_INSTALL) --group matrix
	@touch $@

$(VENV)/.mutation: $(VENV)/.test
	@$(PIP_INSTALL) --group mutation
	@touch $@

# The sdist has to build the docs and run the tests.
$(VENV)/.release: $(VENV)/.docs $(VENV)/.test
	@$(PIP_INSTALL) --group release
	@touch $@
