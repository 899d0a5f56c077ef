PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test lint slow bench clean

demo: $(VENV)/demo
	$(BIN)/python experiments/demo.py --out runs/demo --overwrite

# Whole files per process: their fixtures are trained once.
test: lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: $(VENV)/dev
	$(BIN)/python -m pytest -m slow

bench: $(VENV)/demo
	$(BIN)/python experiments/bench_step.py --out runs/bench.json
	$(BIN)/python experiments/bench_importance.py --out runs/bench-importance.json
	$(BIN)/python experiments/bench_spiking.py --out runs/bench-spiking.json

$(VENV)/demo: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "synsim needs Python 3.11 or newer")'
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/dev: $(VENV)/demo
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache
