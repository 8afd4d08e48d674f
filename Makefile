# `make help` lists the targets. Needs Python 3.11 or newer, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test test-slow test-real check format fuzz bench ablate scale crash bench-gpu soak faults ui app clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP)  ## make .venv with everything in it; does nothing when it is up to date

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mmclf needs Python 3.11 or newer, found %d.%d; set PYTHON=" % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: setup  ## draw a catalogue, then stage1 -> stage2 -> register -> infer on a tiny CLIP, by `mlflow run`
	PATH="$(CURDIR)/$(BIN):$$PATH" mlflow run . --env-manager local --experiment-name demo

# a thread a test, and files in their order, since the long ones have few tests
test: setup  ## every test but the slow and the real ones
	$(BIN)/python -m pytest -m "not slow and not real" -n 2 --dist loadfile --no-loadscope-reorder

test-slow: setup  ## the slow tests: ViT-L/14 with random weights (24 GiB), 100,000 rows, torch.compile
	$(BIN)/python -m pytest -m slow

test-real: setup  ## the chain on real products, where MMCLF_REAL_DATA (../shared/data) is
	$(BIN)/python -m pytest -m real -s

check: setup  ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup  ## let ruff mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

fuzz: setup  ## 10,000 damaged tables and as many pictures: each is read or refused, in bounded time and memory
	$(BIN)/python -m benchmarks.fuzz_tables && $(BIN)/python -m benchmarks.fuzz_pictures

bench: setup  ## mmclf against a plain loop, on the real catalogues: hours (ROWS="stage1-luma memory" for some)
	$(BIN)/python -m benchmarks.bench $(ROWS)

ablate: setup  ## what each part of the heads is worth, on the real catalogues: an hour
	$(BIN)/python -m benchmarks.ablate

scale: setup  ## time and memory of the heads, 1,000 to 1,000,000 rows: hours
	$(BIN)/python -m benchmarks.scale

crash: setup  ## 100 kills at random moments, each started again to the same result: an hour
	$(BIN)/python -m benchmarks.crash

bench-gpu: setup  ## the use of a GPU: ViT-L/14 with random weights, pictures in memory and from files
	$(BIN)/python -m benchmarks.gpu

soak: setup  ## a served model among 20 clients, some wrong, some gone: ten minutes
	$(BIN)/python -m benchmarks.soak

faults: setup  ## first starts of a store by many processes at once; every command on full and read-only disks (root)
	$(BIN)/python -m benchmarks.first_start
	$(BIN)/python -m benchmarks.full_disk

ui: setup  ## open the MLflow UI on the store of this folder
	$(BIN)/mlflow ui --host 127.0.0.1 --port 5000

app: setup  ## ask the champion in the browser: http://127.0.0.1:7860 (APP="--csv train.csv --images images/" for more)
	@$(BIN)/python -m entrypoints.app $(APP)

clean:  ## remove the demo, its store and the caches (.venv stays)
	rm -rf demo-output mlflow.db* mlruns .hypothesis .pytest_cache .mypy_cache .ruff_cache
