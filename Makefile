# make demo    replicate 200 objects from an S3 stand-in to an OSS stand-in, and keep the admin running
# make test    run all tests
# `make help` lists all targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHONS = $(PYTHON) python3 python3.13 python3.12 python3.11
# No line of an unknown package runs: only wheels, each with a known hash, some of them kept here.
INSTALL := --disable-pip-version-check --quiet install --require-hashes --only-binary :all: --find-links requirements/wheels
TESTS ?= tests
define VALIDATE
import sys, pathlib
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(pathlib.Path(sys.argv[1]).read_text())
sys.exit(error and f"{sys.argv[1]} is not CycloneDX 1.6: {error}")
endef
export VALIDATE
# Django needs its settings even to check types. Nothing connects to this database.
NO_DATABASE := DATABASE_URL=postgresql://nobody@127.0.0.1:9/none S3SYNC_SECRET_KEY=only-to-load-the-settings-nothing-more
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make requirements'
# One date for all files, and no compiler: crcmod then builds its pure Python version, which runs everywhere.
REPRODUCIBLY := SOURCE_DATE_EPOCH=315532800 CC=false
UV_COMPILE_WHEELS := $(UV_COMPILE) --only-binary :all: --emit-build-options --find-links requirements/wheels \
	--upgrade-package crcmod --upgrade-package oss2 --upgrade-package alibabacloud-tea $(if $(RAISE),--upgrade-package $(RAISE))

.PHONY: help demo test check chaos upgrade clients signers fidelity bench format migrations openapi sandbox requirements wheels rebuilt-wheels sbom advisories release-check clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/demo.installed ## Replicate 200 objects between the stand-ins, then keep the admin running (ONCE=1: exit instead)
	@$(BIN)/python -m sandbox.demo $(if $(ONCE),--once)

test: $(VENV)/dev.installed ## Run all tests (TESTS=tests/jobs: only these)
	@$(BIN)/python -m pytest -n auto --dist loadgroup $(TESTS)

check: $(VENV)/dev.installed ## Check lint, types, the import contract, settings, migrations and known advisories
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(NO_DATABASE) $(BIN)/mypy .
	@$(NO_DATABASE) $(BIN)/lint-imports
	@$(NO_DATABASE) $(BIN)/python manage.py check
	@$(NO_DATABASE) $(BIN)/python -W ignore manage.py makemigrations --check --dry-run
	@$(BIN)/python -m security.advisories

chaos: $(VENV)/dev.installed ## Kill processes and inject faults at random, then compare both buckets: SEED=n KEYS=5000 DURATION=120 CLUSTERS=2 POLLERS=2 EDITS=1 SWEEP=1 WEATHER=1 TOKENS=1 REPORT=file
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) --keys $(or $(KEYS),5000) --duration $(or $(DURATION),120) --clusters $(or $(CLUSTERS),2) --pollers $(or $(POLLERS),2) $(if $(EDITS),--edits) $(if $(SWEEP),--sweep) $(if $(WEATHER),--weather) $(if $(TOKENS),--tokens) $(if $(REPORT),--report $(REPORT))

upgrade: $(VENV)/dev.installed ## Upgrade a running installation from an earlier commit, with kills, and compare every job: JOBS=2000000 FROM=commit SEED=n KILLS=3 LOGS=folder
	@$(BIN)/python -m tests.upgrade --jobs $(or $(JOBS),2000000) --kills $(or $(KILLS),3) $(if $(FROM),--from $(FROM)) $(if $(SEED),--seed $(SEED)) $(if $(LOGS),--logs $(LOGS))

clients: $(VENV)/dev.installed .venv-gdal/installed ## Test the OSS stand-in with Alibaba's SDK for Node.js and with GDAL
	@npm install --silent --no-save --no-package-lock --prefix .cache/ali-oss ali-oss@6
	@$(BIN)/python -m tests.sandbox.clients .cache/ali-oss/node_modules .venv-gdal/bin/python

signers: $(VENV)/dev.installed ## Compare our signatures with the SDKs' own over 20,000 requests each
	@$(BIN)/python -m pytest -n 2 -o timeout=3600 --hypothesis-profile=thorough tests/stores/s3/test_signing.py tests/stores/oss/test_signing.py

fidelity: $(VENV)/dev.installed ## Replicate the corpus from two S3 implementations, compare every property, write docs/reports/fidelity.md
	@$(BIN)/python -m pytest -n auto tests/fidelity/test_corpus.py tests/fidelity/test_parts.py
	@$(BIN)/python -m tests.fidelity.document

bench: .venv-bench/installed ## Compare with juicefs and rclone, write benchmarks/RESULTS.md: QUICK=1 ROWS=small_local,intake
	@.venv-bench/bin/python -m benchmarks.bench $(if $(QUICK),--quick) $(if $(ROWS),--rows $(ROWS))

format: $(VENV)/dev.installed ## Format the code
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

migrations: $(VENV)/dev.installed ## Write the migrations that the models lack
	@$(NO_DATABASE) $(BIN)/python -W ignore manage.py makemigrations replication

openapi: $(VENV)/dev.installed ## Write docs/reference/openapi.json from the code
	@$(NO_DATABASE) $(BIN)/python manage.py shell --no-imports -c 'from replication.api.openapi import as_text; print(as_text(), end="")' > docs/reference/openapi.json

sandbox: $(VENV)/demo.installed ## Start PostgreSQL, S3, SQS and OSS stand-ins, and print the service's environment for them
	@$(BIN)/python -m sandbox

requirements: $(VENV)/dev.installed ## Compile the pins from the ranges in pyproject.toml: RAISE=package
	$(UV_COMPILE_WHEELS) pyproject.toml -o requirements.txt
	$(UV_COMPILE_WHEELS) -c requirements.txt --extra inventory pyproject.toml -o requirements/inventory.txt
	$(UV_COMPILE_WHEELS) -c requirements.txt --extra alibaba pyproject.toml -o requirements/alibaba.txt
	$(UV_COMPILE_WHEELS) -c requirements.txt --group demo pyproject.toml -o requirements/demo.txt
	$(UV_COMPILE_WHEELS) -c requirements/demo.txt -c requirements/inventory.txt -c requirements/alibaba.txt --group dev pyproject.toml -o requirements/dev.txt
	$(UV_COMPILE_WHEELS) requirements/ministack.in -o requirements/ministack.txt
	$(UV_COMPILE_WHEELS) requirements/moto.in -o requirements/moto.txt
	$(UV_COMPILE_WHEELS) requirements/tools.in -o requirements/tools.txt
	$(UV_COMPILE_WHEELS) requirements/gdal.in -o requirements/gdal.txt
	$(UV_COMPILE_WHEELS) --no-deps requirements/postgres.in -o requirements/postgres.txt
	$(UV_COMPILE_WHEELS) -c requirements/dev.txt --group bench pyproject.toml requirements/bench.in -o requirements/bench.txt

wheels: $(VENV)/dev.installed ## Build the wheels of what has only source distributions, byte for byte the same everywhere
	$(subst make requirements,make wheels,$(UV_COMPILE)) --only-binary :all: --emit-build-options requirements/build.in -o requirements/build.txt
	$(subst make requirements,make wheels,$(UV_COMPILE)) --no-deps --no-binary :all: requirements/sdists.in -o requirements/sdists.txt
	@$(MAKE) --no-print-directory rebuilt-wheels

rebuilt-wheels: # from the pins alone
	@rm -rf .cache/build && mkdir -p .cache
	@$(call make_venv,.cache/build,$(PYTHONS))
	@.cache/build/bin/pip $(INSTALL) -r requirements/build.txt
	@umask 022 && $(REPRODUCIBLY) .cache/build/bin/pip --disable-pip-version-check --quiet wheel --require-hashes --no-deps \
		--no-binary :all: --no-build-isolation -r requirements/sdists.txt --wheel-dir .cache/build/wheels
	@rm -f requirements/wheels/*.whl && mv .cache/build/wheels/*.whl requirements/wheels/
	@git status --short requirements/wheels

sbom: $(VENV)/dev.installed .venv-tools/installed .venv-image/installed ## Write security/sbom.cdx.json: what the image holds, with hashes, licences and what is vendored
	@.venv-tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o .cache/environment.json .venv-image/bin/python
	@$(BIN)/python -m security.sbom .cache/environment.json > .cache/sbom.cdx.json
	@.venv-tools/bin/python -c "$$VALIDATE" .cache/sbom.cdx.json
	@mv .cache/sbom.cdx.json security/sbom.cdx.json

advisories: $(VENV)/dev.installed .venv-tools/installed ## Look up all pins and vendored libraries, and write security/advisories.json: SERVICE=osv
	@$(BIN)/python -m security.refresh --pip-audit .venv-tools/bin/pip-audit --service $(or $(SERVICE),pypi)

release-check: check rebuilt-wheels sbom ## Refuse a release whose base image, wheels, bill of materials or advisories can't be relied on
	@git diff --exit-code --stat requirements security/sbom.cdx.json || { echo "ERROR: what was built anew differs from what is kept: look at it, then commit it." >&2; exit 1; }
	@$(BIN)/python -m security.advisories --release
	@$(BIN)/python -m security.release

clean: ## Remove everything that make installed or built here
	rm -rf $(VENV) .venv-ministack .venv-moto .venv-gdal .venv-tools .venv-image .venv-bench .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache staticfiles

$(VENV)/%.installed: requirements/%.txt | $(BIN)/python
	@echo "Installing requirements/$*.txt …"
	@$(BIN)/pip $(INSTALL) -r $<
	@touch $@

.venv-gdal/installed: requirements/gdal.txt
	@echo "Installing $< …"
	@$(call make_venv,.venv-gdal,$(PYTHONS))
	@.venv-gdal/bin/pip $(INSTALL) -r $<
	@touch $@

# The image's Python first: another one may need other packages, and the bill of materials would differ.
.venv-tools/installed: requirements/tools.txt
	@echo "Installing $< …"
	@$(call make_venv,.venv-tools,$(PYTHON) python3.11 $(PYTHONS))
	@.venv-tools/bin/pip $(INSTALL) -r $<
	@touch $@

# As the Dockerfile makes it, with the extras: the bill of materials is made of it.
.venv-image/installed: requirements/inventory.txt .venv-tools/installed
	@echo "Installing $< …"
	@rm -rf .venv-image
	@.venv-tools/bin/python -m venv --without-pip .venv-image
	@.venv-tools/bin/pip --python .venv-image/bin/python $(INSTALL) -r $<
	@mkdir -p .cache && touch $@

# Measure the service as it ships: on a Python compiled with all optimizations. The Pythons of the
# image and of distributions are; a Python built by hand may not be.
.venv-bench/installed: requirements/bench.txt
	@echo "Installing $< …"
	@$(call make_venv,.venv-bench,$(PYTHON) /usr/bin/python3 $(PYTHONS))
	@.venv-bench/bin/pip $(INSTALL) -r $<
	@touch $@

$(BIN)/python:
	@$(call make_venv,$(VENV),$(PYTHONS))

# Make a virtual environment in $(1) with the first Python of $(2) that runs and is 3.11 or later: a
# name on PATH may not be a working Python.
define make_venv
for python in $(2); do \
    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then \
        $$python -m venv $(1) && exit 0; \
        rm -rf $(1); \
        echo "$$python can't make a virtual environment; on Debian, run: apt install python3-venv" >&2; \
    fi; \
done; echo "No Python 3.11 or later was found; name one with: make PYTHON=/path/to/python3" >&2; exit 1
endef
