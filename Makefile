# The one command surface. Every target does its own set-up: it needs Python 3.11+, git and make, nothing else.
SHELL := /bin/sh
UV := $(shell sh tools/uv.sh)
RUN := $(UV) run --frozen
OUT ?= report

.PHONY: demo test check lint types unit bench build pulumi golden setup clean

setup:
	@$(UV) sync --frozen --quiet --compile-bytecode

demo: setup  ## Deploy the whole stack on the embedded cloud, push the example documents through, report, tear down.
	$(RUN) keepwarm local run --documents examples/documents --again 1 --out $(OUT)

build: setup  ## Build every function bundle and the inference server image; print the size ledger.
	$(RUN) python -m infra.bundles

lint: setup
	$(RUN) ruff format --check .
	$(RUN) ruff check .

types: setup
	$(RUN) mypy components functions/keepwarm_runtime bundling policies planner localcloud cli infra
	@$(RUN) sh tools/types_of_functions.sh

unit: setup
	$(RUN) pytest -n 2 -m "not slow and not engine and not e2e"

check: lint types unit  ## Lint, types and the fast tests: under two minutes.

pulumi:  ## Build the real Pulumi CLI once, into a cache outside the tree (needs Go; does nothing when pulumi is on PATH).
	sh tools/pulumi/build.sh

test: setup  ## Everything: fast, slow, end to end, and with the real Pulumi CLI where there is one or Go to build it.
	@if command -v go >/dev/null 2>&1 || command -v pulumi >/dev/null 2>&1; then sh tools/pulumi/build.sh; fi
	$(RUN) pytest -n 2 --dist loadgroup

bench: setup  ## Ratios against baselines measured in the same run; see docs/benchmarks.md.
	@for b in benchmarks/bench_*.py; do echo "== $$b"; $(RUN) python $$b || exit 1; done

golden: setup  ## Rewrite the golden files (schema, URNs); review the diff.
	KEEPWARM_GOLDEN=write $(RUN) pytest -q tests/components/test_components_contract.py tests/infra/test_program.py

clean:
	rm -rf build dist .keepwarm report
