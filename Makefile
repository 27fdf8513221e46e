# Everything the project does, one command each. `make` alone lists them.
# Every command installs what it needs: the virtual environment follows requirements.lock.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
STAMP := $(VENV)/.installed
APT_VENV = apt-get update -q >/dev/null && apt-get install -y -q python3-venv >/dev/null
COMPILE = .local/uv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" $(UPGRADE)

# Bytecode is kept, whatever the shell says: else every process compiles every module anew.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help demo test check static pure up down status cases histories webhooks chaos crashes siege fuzz outage month bench images k8s-check dashboards-check \
	format lock docs install clean

# Most tests on a real stack wait more than they work. Of the whole system the long ones go first, as they are found: chaos, then e2e, whose
# shared system each worker starts when it comes to it.
PURE := tests/unit tests/histories
ON_THE_STACK := tests/contract tests/integration
# Some take long to show once more, under kills, what shorter ones show: LONG=1 runs them too.
SHORT := $(if $(LONG),,-m "not long")

help: ## Lists the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP) ## Starts everything and plays the whole guide; leaves reports/demo.json
	$(RUN) -m deploy.local.demo

test: $(STAMP) ## Everything that must pass: static checks, and the tests (LONG=1: the long ones too)
	@$(RUN) -m deploy.checks promtool
	@$(MAKE) --no-print-directory -j 2 --output-sync=target static pure
	$(BIN)/pytest -n 2 $(SHORT) --dist loadfile $(ON_THE_STACK)
	$(BIN)/pytest -n 2 $(SHORT) --dist loadfile --no-loadscope-reorder $(addprefix --ignore=,$(PURE) $(ON_THE_STACK))

check: static ## Format, lint, types, import rules, the quick unit tests with few examples; under a minute
	$(BIN)/pytest -n auto -m "not slow" --hypothesis-profile quick tests/unit

pure: $(STAMP)
	$(BIN)/pytest -n 2 $(PURE)

static: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

up: $(STAMP) ## Starts the whole system in the background on fixed local ports
	$(RUN) -m deploy.local up

down: $(STAMP) ## Stops it; data stay (WIPE=1 deletes them)
	$(RUN) -m deploy.local down $(if $(WIPE),--wipe)

status: $(STAMP) ## Tells what runs where
	$(RUN) -m deploy.local status

cases: $(STAMP) ## Plays the cases of FILE= (ONLY= some) as pure decisions; SYSTEM=1 through the whole system
	@$(RUN) -m tests.cases $(if $(SYSTEM),--system) $(if $(ONLY),--only "$(ONLY)") $(FILE)

histories: $(STAMP) ## Plays N=10000 generated histories through the router and a naive model of it
	HISTORIES=$$(( ($(or $(N),10000) + 5) / 6 )) $(BIN)/pytest -n auto --timeout 0 tests/histories

webhooks: $(STAMP) ## Plays N=100000 generated updates clean and in every disorder (SEED=); leaves reports/webhooks.json
	@$(RUN) -m tests.webhooks $(if $(N),--updates $(N)) $(if $(SEED),--seed $(SEED))

chaos: $(STAMP) ## Injects seeded faults (SEED=, MINUTES=); leaves reports/chaos.json
	$(RUN) -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

crashes: $(STAMP) ## Kills senders N=500 times at every step of a send (SEED=); leaves reports/crashes.json
	@$(RUN) -m tests.chaos.sends $(if $(N),--crashes $(N)) $(if $(SEED),--seed $(SEED))

siege: $(STAMP) ## Attacks ingress in every way for SECONDS=10 each (SEED=) beside good traffic; leaves reports/siege.json
	@$(RUN) -m tests.siege $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

fuzz: $(STAMP) ## Gives ingress N=1000000 signed bodies that Meta never sent (SEED=); leaves reports/fuzz.json
	@$(RUN) -m tests.fuzz $(if $(N),--bodies $(N)) $(if $(SEED),--seed $(SEED))

outage: $(STAMP) ## Stops, then freezes Kafka for SECONDS=30 under load (SEED=); leaves reports/outage.json
	@$(RUN) -m tests.outage $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

month: $(STAMP) ## Bills a random month of N=1000000 messages (SEED=, KILLS=20) beside an oracle, or plants DIFFERENCES=50 and reconciles; leaves reports/month.json
	@$(RUN) -m tests.billing_month $(if $(N),--messages $(N)) $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) $(if $(DIFFERENCES),--differences $(DIFFERENCES))

bench: $(STAMP) ## Measures against ceilings of the same run (ARGS=--help); leaves reports/bench.json
	$(RUN) -m tests.bench $(ARGS)

images: $(STAMP) ## Builds the container images and tries them
	$(RUN) -m deploy.images

k8s-check: $(STAMP) ## Verifies the Kubernetes manifests
	@$(RUN) -m deploy.checks kustomize
	$(BIN)/pytest tests/contract/test_deploy_k8s.py

dashboards-check: $(STAMP) ## Verifies dashboards and alert rules
	@$(RUN) -m deploy.checks promtool
	$(BIN)/pytest tests/contract/test_deploy_prometheus.py tests/contract/test_deploy_dashboard.py

format: $(STAMP) ## Formats the code and applies safe lint fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## Generates the generated documentation
	$(RUN) -m docs.generate

lock: .local/uv/bin/uv ## Writes the lock files anew (UPGRADE=-U takes new versions)
	$(COMPILE) --extra dev pyproject.toml -o requirements.lock
	$(COMPILE) -c requirements.lock pyproject.toml -o requirements-runtime.lock
	$(COMPILE) deploy/local/jre.in -o deploy/local/jre.lock
	$(COMPILE) deploy/local/redis.in -o deploy/local/redis.lock
	$(COMPILE) deploy/local/node.in -o deploy/local/node.lock

install: $(STAMP) ## Installs the virtual environment only

clean: ## Deletes what can be made again: environment, caches, local data
	rm -rf $(VENV) .local .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is missing: install it (Debian: apt-get install python3-venv)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, $(PYTHON) is older; choose another: make PYTHON=<path>"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { test "$$(id -u)" = 0 && $(APT_VENV); } || { echo "Python's venv is missing: install it (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.local/uv/bin/uv:
	$(PYTHON) -m venv --clear .local/uv
	.local/uv/bin/pip install -q --disable-pip-version-check uv
