# Two commands: `make repro` (environment, phantom, pipeline, result) and `make test`.
# On Windows, or without make: README.md has the plain commands.

PYTHON ?= python3
UV_VERSION := 0.13.9
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONUTF8 := 1
export USE_LIBUV ?= 0

.PHONY: repro test slow lint environment data clean

repro: data
	dvc repro
	sam3-angio result

# Two processes, a module in one of them, in the order of tests/conftest.py.
TWO := -n 2 --dist loadfile --no-loadscope-reorder

test: environment lint
	pytest -m "torch and not slow" $(TWO) --durations=12
	pytest -m "not torch and not slow" $(TWO) --durations=12

# What `make test` leaves out.
slow: environment
	pytest -m slow $(TWO) --durations=0

lint: environment
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache
	deptry .

environment: .venv/installed

# Compiled at once: where Python may not write bytecode (PYTHONDONTWRITEBYTECODE, as in many
# containers), each worker would otherwise compile PyTorch for itself.
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 repro") if not (3, 11) <= sys.version_info[:2] < (3, 14) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/python -m uv pip install --quiet --require-hashes --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/python -m uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	$(BIN)/python -c 'from pathlib import Path; Path(".venv/installed").touch()'

data: environment
	@test -e data/manifest.csv || sam3-angio phantom --out data

clean:
	rm -rf .venv frames converted dataset models predictions runs report
