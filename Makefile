# Every target sets up .venv by itself; set-up is repeated only when pyproject.toml changed.
PYTHON ?= python3
BIN := .venv/bin
PYTEST_ARGS ?=

.PHONY: setup run test lab bench lint

setup: .venv/.ready

.venv/.ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -e ".[all]"
	touch .venv/.ready

run: setup
	$(BIN)/python -m vintk_kit notebooks run 00_tour --run tour

# Parallel first (one torch thread per worker), then what needs the machine to itself.
test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not browser and not serial" $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m "browser or serial" $(PYTEST_ARGS)

lab: setup
	$(BIN)/python -m jupyter lab notebooks/index.ipynb

bench: setup
	$(BIN)/python benchmarks/kernel.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files '*.ipynb' -z | xargs -0 -r $(BIN)/nbstripout --keep-id --verify
