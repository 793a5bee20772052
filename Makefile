# The project's commands. `make demo` and `make test` need nothing but git, make and python3 (3.11 or newer):
# what else a bare Debian lacks is installed by apt when this runs as root.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
WORKERS ?= 2

.PHONY: help venv demo test check lint types bench docs format constraints clean

help:
	@echo "make demo    the whole job on embedded parts: enrol pupils, open their cards, drive a self-check session"
	@echo "make test    the whole test suite"
	@echo "make check   lint, types and test"
	@echo "make lint    ruff and the import contracts      make types   mypy"
	@echo "make bench   benchmarks, as ratios              make docs    are the documents true?"

venv: $(STAMP)

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends python3-venv; \
	  else echo "Please install python3-venv (apt install python3-venv) and run make again."; exit 1; fi; }
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: venv
	$(BIN)/onecard demo

test: venv
	$(BIN)/python -m pytest -n $(WORKERS)

check: lint types test

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: venv
	$(BIN)/mypy

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: venv
	@for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

docs: venv
	$(BIN)/python -m pytest -p no:randomly tests/architecture

constraints: venv
	$(BIN)/uv pip compile --quiet --python-version 3.11 --extra dev --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --upgrade setup.cfg -o constraints.txt

clean:
	rm -rf $(VENV) .demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
