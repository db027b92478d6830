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

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench,demo,dev,slurm]'
	touch $@

.PHONY: demo test check bench report plots help

demo: .venv/installed ## run the demo study and print the selected terms
	snakemake --cores $(CORES) --quiet rules host reason --config study=demo
	beft summary

test: .venv/installed ## run all tests
	python -m pytest -n $(CORES)

check: .venv/installed ## formats, lints, generated files
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint

report: .venv/installed ## write reports/ from whatever has been run so far
	beft report

plots: .venv/installed ## what moved since a commit (SINCE=HEAD~1), on a page that opens offline
	dvc plots diff $(SINCE)
	python workflow/offline.py dvc_plots/index.html

bench: .venv/installed ## measure speed, into benchmarks/results/
	python -m benchmarks

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10
