# What a person runs. `make demo` and `make test` need only Python 3.11 or newer with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo demo-ostree test check bench stress clean

# The environment is rebuilt when the requirements change.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	rm -rf .demo/store
	$(BIN)/deltaplan nightly scenarios/factory-bases.toml --work .demo/store

demo-ostree: $(VENV)/.installed
	@command -v ostree >/dev/null || { echo "make demo-ostree needs the program ostree (Debian: apt-get install ostree)"; exit 1; }
	rm -rf .demo/ostree
	$(BIN)/deltaplan nightly scenarios/factory-bases-ostree.toml --work .demo/ostree

test: $(VENV)/.installed
	$(BIN)/python -m pytest $(PYTEST_ARGUMENTS)

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/history.py
	$(BIN)/python benchmarks/solve.py
	$(BIN)/python benchmarks/codecs.py
	$(BIN)/python benchmarks/static_deltas.py
	$(BIN)/python -m benchmarks.projections
	$(BIN)/python -m benchmarks.projected_plans
	$(BIN)/python -m benchmarks.probing
	$(BIN)/python -m benchmarks.factory_question --kind ostree
	$(BIN)/python -m benchmarks.grid
	$(BIN)/python -m benchmarks.images

stress: $(VENV)/.installed
	$(BIN)/python -m benchmarks.huge_file --no-stock
	$(BIN)/python -m benchmarks.kills --runs 200
	$(BIN)/python -m benchmarks.kills --kind ostree --runs 60

clean:
	rm -rf $(VENV) .demo
