# `make run` and `make test` set up what they need; neither touches the network once that is done.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help run test coverage check format reference docs bench clean system-libraries

BIN := .venv/bin
NAME ?=
ARGS ?=

# The newest is not the best: the oldest supported Python is the one that the tests run on most.
PYTHONS := $(PYTHON) python3.11 python3.12 python3.13 python3

# PyTorch keeps its CPU builds in an index of its own. A folder of wheels that pip is given has the build, too.
TORCH_INDEX := $(if $(strip $(PIP_FIND_LINKS)),,--index-url https://download.pytorch.org/whl/cpu)

PYTEST := $(BIN)/python -m pytest --durations 10 --durations-min 1

PIP := PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --no-deps --no-compile --progress-bar off

# One counting line instead of pip's three lines a package: $(call counted,PACKAGES)
define counted
{ n=0; while read -r word rest; do case "$$word" in \
  Collecting|Processing|Requirement) n=$$((n + 1)); what=$${rest#already satisfied: }; what=$${what%% *}; \
    printf '\r\033[K  %d of %d: %s' $$n $(1) "$${what##*/}";; \
  Installing) printf '\r\033[K  unpacking the packages, one to three minutes';; esac; done; printf '\r\033[K'; }
endef

help:
	@echo 'make run                start the service (Ctrl-C stops it); ARGS="…" is handed to `rag up`'
	echo 'make test               all tests; ARGS="-m unit", "-m integration", "-m e2e" or "tests/unit -x" picks some'
	echo 'make coverage           how much of the code the unit and integration tests run, branches counted'
	echo 'make check              ruff, mypy, import-linter'
	echo 'make format             let ruff format and fix'
	echo 'make reference          write the generated pages of docs/, and the dashboards'
	echo 'make docs               build the documentation in site/; a dead link is an error'
	echo 'make bench NAME=…       run benchmarks/NAME.py; ARGS="--data FOLDER"'
	echo 'make clean              remove .venv and caches; var/ (your data) stays'

run: .venv/.runtime
	@exec $(BIN)/rag up $(ARGS)

test: .venv/.development system-libraries
	@if [[ -n "$(strip $(ARGS))" ]]; then exec $(BIN)/python -m pytest $(ARGS); fi
	status=0
	$(PYTEST) -n 2 --dist worksteal tests --ignore tests/e2e --junitxml .results/unit-integration.xml || status=$$?
	$(PYTEST) -n 2 --dist loadscope tests/e2e --junitxml .results/e2e.xml || status=$$?
	exit $$status

coverage: .venv/.development system-libraries
	@$(PYTEST) -n 2 --dist worksteal tests --ignore tests/e2e --cov --cov-report=
	$(BIN)/coverage report --skip-covered

check: .venv/.development
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.development
	@$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: .venv/.development
	@$(BIN)/python -m rag.reference docs
	$(BIN)/python -m cluster.observability.dashboards

docs: .venv/.development
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

bench: .venv/.development
	@if [[ ! -f "benchmarks/$(NAME).py" ]]; then
	  echo 'Say which: make bench NAME=…, one of:' >&2
	  find benchmarks -name '[a-z]*.py' -printf '  %f\n' | sed 's/\.py$$//' | sort >&2
	  exit 2
	fi
	exec $(BIN)/python -m benchmarks.$(NAME) $(ARGS)

clean:
	@rm -rf .venv build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* .results
	find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +

# What tests need beside Python packages. vLLM's CPU build loads libnuma. The SQL store is tried on PostgreSQL and
# PgBouncer, which the tests start themselves; so Debian must not start a server at once. So it is with Prometheus, which
# tries the alerts. The examples need curl, and the Elixir client needs Elixir, with jiffy for JSON if neither Elixir nor Erlang has its own.
system-libraries:
	@PATH="$$PATH:/usr/sbin:/sbin"
	missing=()
	if [[ "$$(ldconfig -p 2>/dev/null)" != *libnuma.so.1* ]]; then missing+=(libnuma1); fi
	if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && ! command -v initdb >/dev/null; then missing+=(postgresql); fi
	if ! command -v pgbouncer >/dev/null; then missing+=(pgbouncer); fi
	if ! command -v promtool >/dev/null; then missing+=(prometheus); fi
	if ! command -v curl >/dev/null; then missing+=(curl); fi
	if ! command -v mix >/dev/null; then missing+=(elixir erlang-jiffy)
	elif ! elixir -e 'Enum.any?([JSON, :json, :jiffy], &Code.ensure_loaded?/1) || System.halt(1)'; then missing+=(erlang-jiffy); fi
	if (( $${#missing[@]} == 0 )); then exit 0; fi
	if [[ $$(id -u) == 0 ]] && command -v apt-get >/dev/null; then
	  clusters=/etc/postgresql-common/createcluster.conf
	  if [[ " $${missing[*]} " == *' postgresql '* && ! -e "$$clusters" ]]; then
	    mkdir -p "$${clusters%/*}"
	    echo 'create_main_cluster = false' >"$$clusters"
	  fi
	  export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1
	  apt-get update -qq
	  apt-get install -qq -y --no-install-recommends "$${missing[@]}" >/dev/null
	  exit 0
	fi
	echo "The tests need what is not installed: sudo apt install $${missing[*]}" >&2
	exit 1

.venv/.runtime: requirements.lock pyproject.toml
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then
	  for python in $(PYTHONS) none; do
	    if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then break; fi
	  done
	  if [[ "$$python" == none ]]; then
	    echo 'Python 3.11, 3.12 or 3.13 is needed: sudo apt install python3 python3-venv, or PYTHON=/path/to/python make …' >&2
	    exit 1
	  fi
	  echo "Making .venv with $$("$$python" --version)"
	  if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then
	    "$$python" -m venv --clear .venv
	  elif "$$python" -m virtualenv --version >/dev/null 2>&1; then
	    "$$python" -m virtualenv --quiet --clear .venv
	  elif [[ $$(id -u) == 0 ]] && command -v apt-get >/dev/null; then
	    package=$$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$$package"
	    "$$python" -m venv --clear .venv
	  else
	    echo "$$python cannot make virtual environments: sudo apt install python3-venv" >&2
	    exit 1
	  fi
	fi
	echo 'Installing the pinned packages into .venv (about 1 GB, once)'
	$(PIP) $(TORCH_INDEX) "$$(grep '^torch==' requirements.lock)" | $(call counted,1)
	$(PIP) -r requirements.lock | $(call counted,$$(grep -c '^[A-Za-z].*==' requirements.lock))
	$(PIP) --quiet --no-build-isolation --editable .
	# pip would compile every file. This compiles what a start needs, so that its processes need not do it all at once.
	$(BIN)/python -c 'import cluster.application, deployments.embedding.sentence_transformer, deployments.retrieval.embedded.index, deployments.retrieval.milvus'
	touch $@

.venv/.development: .venv/.runtime requirements-dev.lock
	@echo 'Installing what tests and checks need'
	$(PIP) -r requirements-dev.lock | $(call counted,$$(grep -c '^[A-Za-z].*==' requirements-dev.lock))
	touch $@
