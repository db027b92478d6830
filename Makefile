# demo: the demo study, installed from nothing   test: the whole test suite   help: all targets
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
PYTHON ?= python3
CORES ?= $(shell nproc)
SINCE ?= HEAD~1
BIN := .venv/bin
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export HF_HUB_DISABLE_TELEMETRY := 1
export DVC_NO_ANALYTICS := 1
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --root-user-action ignore

.venv/installed: pyproject.toml constraints.txt
	@echo "installing into .venv, for minutes when nothing is cached"
	@$(PYTHON) -m venv .venv
	@$(PIP) -c constraints.txt -e '.[pipeline,bench,demo,dev]' # twice quiet: errors, no warnings
	@touch $@

.PHONY: install demo test test-fast check bench report plots help

install: .venv/installed ## make .venv with all that the other targets need

demo: .venv/installed ## run the demo study and print the selected terms
	@PYTHONPATH=workflow/logger snakemake --cores $(CORES) --logger lines --config study=demo >/dev/null # logs/ has what jobs say
	@beft summary

test: .venv/installed ## run all tests
	@python -m pytest -n $$(($(CORES) + 1)) # one of the workers mostly waits for SLURM

test-fast: .venv/installed ## run the unit tests alone
	@python -m pytest -n $(CORES) tests/unit

check: .venv/installed ## formats, lints, types, directions of imports
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint
	mypy
	lint-imports

report: .venv/installed ## write reports/ from whatever has been run so far
	@beft report

plots: .venv/installed ## what moved since a commit (SINCE=HEAD~1), on a page that opens offline
	@dvc plots diff $(SINCE)
	@python workflow/offline.py dvc_plots/index.html

bench: .venv/installed ## measure speed, into benchmarks/results/ and docs/performance.md; takes 40 minutes
	@python -m benchmarks

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
