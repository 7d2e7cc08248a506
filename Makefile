# Everything a fresh machine needs; `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
VENV := .venv
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
PLAYBOOK := $(RUN) ansible-playbook
ARGS ?=
PART ?=
SCENARIO ?= site

.PHONY: help setup test-setup up smoke test-alert down lint sanity unit integration molecule test test-full benchmark lock docs dashboards benchmark-hosts build clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.controller ## Make the controller's environment (.venv)

$(VENV)/.controller: requirements.txt
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends python3-venv; }
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement requirements.txt
	touch $@

test-setup: $(VENV)/.tests ## Add what the tests need

$(VENV)/.tests: $(VENV)/.controller tests/requirements.txt
	$(VENV)/bin/pip install --quiet --requirement tests/requirements.txt
	@command -v shellcheck >/dev/null || { apt-get update -q && apt-get install -qy --no-install-recommends shellcheck; }
	touch $@

up: setup ## Bring up the whole stack on this machine
	$(PLAYBOOK) site.yml $(ARGS)

smoke: setup ## Prove that the platform works: train, register, serve, predict
	$(PLAYBOOK) playbooks/smoke.yml $(ARGS)

test-alert: setup ## Send a test alert to every receiver and see it arrive
	$(PLAYBOOK) playbooks/test-alert.yml $(ARGS)

down: setup ## Stop and remove the containers; data stays (ARGS="-e delete_data=true" deletes it)
	$(PLAYBOOK) playbooks/down.yml $(ARGS)

lint: test-setup ## Static checks
	$(RUN) tests/lint

sanity: test-setup ## ansible-test sanity on the built collection, on every Python that is here
	$(RUN) tests/sanity $(ARGS)

unit: test-setup ## Unit tests
	$(RUN) pytest -q tests/unit $(ARGS)

integration: test-setup ## Modules against scripted servers and real services
	$(RUN) pytest -q -m "not full" tests/integration $(ARGS)

molecule: test-setup ## One scenario: make molecule SCENARIO=mlflow
	$(RUN) tests/molecule $(SCENARIO)

test: test-setup ## All tests but the long fault matrices
	$(RUN) tests/run

LOCK := uv pip compile --quiet --upgrade --python-version 3.13 --python-platform x86_64-manylinux_2_40 --generate-hashes \
  --no-emit-index-url --no-header --no-annotate requirements.in -o requirements.lock

lock: setup ## Bring the images' lock files to the newest versions that their requirements allow
	$(VENV)/bin/pip install --quiet uv==0.13.9
	cd roles/images/files/mlflow && PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(LOCK)
	cd roles/images/files/airflow && PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(LOCK) --excludes excludes.txt
	cd roles/regmodel/files && PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(LOCK)

docs: setup ## Write .env.example, its table, and the variable tables of the roles' READMEs
	$(VENV)/bin/python docs/generate.py

dashboards: test-setup ## Write Grafana's dashboards and the console pages of Prometheus
	$(VENV)/bin/python roles/monitoring/dashboards/generate.py

test-full: $(if $(PART),test-setup,test) ## All tests and the long ones; one of the long ones: make test-full PART=upgrade
	$(RUN) pytest -q -m full -k "$(PART)" tests/integration

benchmark: test-setup ## wait_healthy against its peers, half an hour (ARGS=--quick: two minutes); results in .build/benchmarks/
	$(RUN) tests/benchmarks/wait_healthy.py $(ARGS)

benchmark-hosts: test-setup ## What more hosts cost: site.yml over 1, 3 and 10 of them, a quarter of an hour; results in .build/benchmarks/
	$(RUN) tests/benchmarks/hosts.py $(ARGS)

build: setup ## Build the collection's tarball into .build/
	$(RUN) ansible-galaxy collection build --force --output-path .build

clean: ## Remove what make made in the checkout
	rm -rf $(VENV) .build
