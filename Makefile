# make test   all tests, among them the loop against a real Label Studio, Chromium and the trainers' readers
# make demo   the whole loop on this machine; ONCE=1 ends it, IMAGES=dir LABELS=dir take your own pictures
SHELL := /bin/bash
PYTHON ?= python3
LABEL_STUDIO_VERSION := 1.23.2
PIP := pip install -qq --disable-pip-version-check
VENVS := .venv/.tools .venv-label-studio/.installed

.PHONY: help install label-studio demo test lint format benchmarks clean system

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile
	@echo "make install     the command .venv/bin/negatives"
	@echo "make lint        ruff and mypy"
	@echo "make benchmarks  figures, as ratios against a named alternative"

install: .venv/.installed

label-studio: .venv-label-studio/.installed

.venv/.installed: pyproject.toml
	@echo "The service's virtual environment: .venv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv .venv
	@.venv/bin/$(PIP) --editable .
	@touch $@

.venv/.tools: .venv/.installed
	@echo "The tools for tests: .venv"
	@.venv/bin/$(PIP) --editable '.[dev]'
	@touch $@

.venv-label-studio/.installed: Makefile
	@echo "Label Studio $(LABEL_STUDIO_VERSION) in a virtual environment of its own (a minute, 1 GB): .venv-label-studio"
	@$(PYTHON) -m venv .venv-label-studio
	@.venv-label-studio/bin/$(PIP) label-studio==$(LABEL_STUDIO_VERSION)
	@touch $@

# The pair is pinned together: another torch beside PyPI's torchvision fails at import. aiohttp is for NDJSON files.
.venv-readers/.installed: Makefile
	@echo "Ultralytics and TensorFlow, whose readers the tests ask (three minutes, 7 GB): .venv-readers"
	@$(PYTHON) -m venv .venv-readers
	@.venv-readers/bin/$(PIP) ultralytics torch==2.12.1 torchvision==0.27.1 tensorflow-cpu aiohttp
	@touch $@

# What pip can't bring: a browser for the browser tests, a PostgreSQL for the jobs' tests.
system:
	@missing=(); \
	command -v chromium >/dev/null || missing+=(chromium); \
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql); \
	if (( $${#missing[@]} )); then \
	  echo "Installing $${missing[*]}"; \
	  as_root=""; [ "$$(id -u)" = 0 ] || as_root=sudo; \
	  command -v apt-get >/dev/null || { echo "please install: $${missing[*]}"; exit 1; }; \
	  $$as_root apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -y -qq --no-install-recommends "$${missing[@]}" >/dev/null; \
	fi

demo:
	@$(MAKE) --silent --no-print-directory --jobs=2 .venv/.installed .venv-label-studio/.installed
	@.venv/bin/negatives demo $(if $(ONCE),--once) $(if $(IMAGES),--images '$(IMAGES)') $(if $(LABELS),--labels '$(LABELS)')

test: system
	@$(MAKE) --silent --no-print-directory --jobs=3 $(VENVS) .venv-readers/.installed
	@.venv/bin/pytest --numprocesses=2 --dist=loadfile $(ARGS)

lint: .venv/.tools
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

format: .venv/.tools
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

# What figures are compared with brings an OpenCV that asks for more of the system than the tests should.
.venv-benchmarks/.installed: pyproject.toml
	@echo "The tests' tools and what figures are compared with: .venv-benchmarks"
	@$(PYTHON) -m venv .venv-benchmarks
	@.venv-benchmarks/bin/$(PIP) --editable '.[dev,benchmarks]'
	@touch $@

benchmarks:
	@$(MAKE) --silent --no-print-directory --jobs=2 .venv-benchmarks/.installed .venv-label-studio/.installed
	@for file in tests/benchmarks/bench_*.py; do .venv-benchmarks/bin/python -m "$$(basename "$${file%.py}" | sed 's/^/tests.benchmarks./')" || exit; done

clean:
	rm -rf .venv .venv-benchmarks .venv-label-studio .venv-readers demo-run artifacts .mypy_cache .ruff_cache .pytest_cache .hypothesis
