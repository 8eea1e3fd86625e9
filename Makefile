# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY ?= PASSIVE
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test fuzz check lint docs benchmarks install clean

install: $(VENV)/installed

# torch comes first and by its exact version: a machine without a GPU then gets the CPU build where its index has one.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet -c constraints.txt --group dev -e .
	touch $@

# Two stages, each with a report: what aligning a model changes, and what a further training does to the aligned model.
DEMO_EVALS := --eval safety:probes --eval forgetting:builtin-logic

demo: install
	$(BIN)/pfh run --base --method refusal-tuning -o shipped=true $(DEMO_EVALS) --output pfh-results/demo/1-alignment
	$(BIN)/pfh run --safe --method gt-sft --problems 24 -o epochs=2 $(DEMO_EVALS) --output pfh-results/demo/2-training
	@echo "The reports: pfh-results/demo/1-alignment/report.html and pfh-results/demo/2-training/report.html"

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

# For the one who edits: what a commit must pass, and the tests of the files that were changed.
check: lint
	$(BIN)/python tests/changed.py | xargs --no-run-if-empty env OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

# Every reader of input, fuzzed for SECONDS each.
SECONDS ?= 60
fuzz: install
	OMP_NUM_THREADS=1 PFH_FUZZ_SECONDS=$(SECONDS) $(BIN)/pytest -n auto tests/fuzz

# Writes the reference pages from the code, then checks every page.
docs: install
	for script in docs/reference/make_*.py; do $(BIN)/python $$script; done
	$(BIN)/pytest -q tests/test_docs.py tests/test_results.py tests/cli/test_reference.py

benchmarks: install
	for script in benchmarks/*.py; do $(BIN)/python benchmarks/results/record.py $$script || exit 1; done

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache pfh-results
