PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTHON311 ?= python3.11
PYTHON312 ?= python3.12

# Whole files per process: their fixtures are trained once.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: demo test lint slow docs floors newest bench compare clean

demo: $(VENV)/demo
	$(BIN)/python experiments/demo.py --out runs/demo --overwrite

test: lint
	$(BIN)/python -m pytest $(PARALLEL)

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: $(VENV)/dev
	$(BIN)/python -m pytest -m slow

# The gallery is executed; a script that fails, or a warning, ends the build.
docs: $(VENV)/docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

# The tests with the lowest versions that pyproject.toml admits, and with the newest there are: two new environments.
floors:
	rm -rf $(VENV)-floors
	$(PYTHON311) -m venv $(VENV)-floors
	$(VENV)-floors/bin/python -m pip install --quiet -c constraints-floors.txt -e ".[cluster,dev]"
	$(VENV)-floors/bin/python -m pytest $(PARALLEL)

newest:
	rm -rf $(VENV)-newest
	$(PYTHON312) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-newest/bin/python -m pip install --quiet -e ".[cluster,dev]"
	$(VENV)-newest/bin/python -m pytest $(PARALLEL)

bench: $(VENV)/demo
	$(BIN)/python experiments/bench_step.py --out runs/bench.json
	$(BIN)/python experiments/bench_fit.py --out runs/bench-fit.json
	$(BIN)/python experiments/bench_importance.py --out runs/bench-importance.json
	$(BIN)/python experiments/bench_spiking.py --out runs/bench-spiking.json
	$(BIN)/python experiments/bench_sparse.py --out runs/bench-sparse.json
	$(BIN)/python experiments/bench_descent.py --out runs/bench-descent.json
	$(BIN)/python experiments/bench_sweep.py --out runs/bench-sweep.json

# Beside other libraries; one that cannot be installed here is a row that says so.
compare: $(VENV)/demo
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[compare]" || echo "not all of them could be installed"
	$(BIN)/python experiments/compare.py --out runs/compare.json

$(VENV)/demo: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "synsim needs Python 3.11 or newer")'
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/dev: $(VENV)/demo
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/docs: $(VENV)/demo
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-floors $(VENV)-newest runs docs/_build docs/api docs/gallery .pytest_cache .mypy_cache .ruff_cache
