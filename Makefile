# Two commands do all the set-up: `make demo` (the main job) and `make test`. Each builds .venv where it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo-run
# One compute thread a worker: oversubscribed threads run several times slower.
export OMP_WAIT_POLICY := PASSIVE
WORKERS ?= 2

.PHONY: demo test lint types bench papers clean

demo: $(VENV)/.demo
	OMP_NUM_THREADS=$(WORKERS) $(BIN)/advseg demo

test: $(VENV)/.test lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

papers: $(VENV)/.test
	rm -rf build/papers
	OMP_NUM_THREADS=1 $(BIN)/advseg reproduce all --quick --out build/papers

bench: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python Testing/Benchmarks/step_costs.py

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.venv pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[template]'
	touch $@

$(VENV)/.test: $(VENV)/.venv pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[template,test]'
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build dist *.egg-info demo-run*
