# The front door. `make help` lists what there is; CONTRIBUTING.md says more.
#
#   make demo    set up, build, and run TPC-H against a server from the stock DuckDB Python package and CLI
#   make demo-s3 the same for databases in S3 and PostgreSQL: machines and metadata are lost, answers are not
#   make test    set up, build with sanitizers, run every test
#
# The work itself is done by CMake (CMakePresets.json), tools/ and tests/; here is only the order of things.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := build
.NOTPARALLEL:

PREFIX ?= /usr/local
# How many compilers at once. The DuckDB headers need about 1 GB each.
JOBS ?= $(shell nproc)
# Passed on: make test CTEST_ARGS='-R buf' PYTEST_ARGS='-k attach'
CTEST_ARGS ?=
PYTEST_ARGS ?=
PYTEST_WORKERS ?= 2

RELEASE := build/release
ASAN := build/asan
PYTHON := .venv/bin/python

# A compiler cache that cannot write to the home directory fails the build: keep it here then.
ifneq ($(shell test -w "$$HOME" && echo yes),yes)
export CCACHE_DIR := $(CURDIR)/build/ccache
endif

# compile PRESET
define compile
	@test -f build/$(1)/build.ninja || cmake --preset $(1)
	cmake --build build/$(1) --parallel $(JOBS)
endef

# place FILE FOLDER: by renaming, so that a running program keeps its copy; not at all when nothing changed
define place
	@cmp -s $(1) $(2)/$(notdir $(1)) || { install -m 755 $(1) $(2)/.new && mv -f $(2)/.new $(2)/$(notdir $(1)); }
endef

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## fetch what building needs, and nothing when it is there
	@tools/setup build

.PHONY: build
build: setup ## build/openduck and build/openduck.duckdb_extension
	$(call compile,release)
	$(call place,$(RELEASE)/src/cli/openduck,build)
	$(call place,$(RELEASE)/extension/openduck.duckdb_extension,build)
	$(call place,.deps/duckdb/lib/libduckdb.so,build)
	@echo "built: build/openduck, build/openduck.duckdb_extension (next: make demo, make test)"

.PHONY: demo
demo: ## TPC-H on a server, queried from the stock DuckDB
	@tools/setup demo
	@$(MAKE) --no-print-directory build
	@$(PYTHON) tools/demo

.PHONY: demo-s3
demo-s3: ## databases in S3 and PostgreSQL outlive machines, and PostgreSQL
	@tools/setup test
	@tools/setup s3
	@$(MAKE) --no-print-directory build
	@$(PYTHON) tools/demo_s3

.PHONY: build-asan
build-asan: setup
	$(call compile,asan)

# ctest runs the unit tests and the corpora of the fuzz targets; pytest everything that starts a server or a client.
# The server is the sanitized one. Stock Python, CLI and Node are not sanitized, so they load the release extension.
.PHONY: test
test: export OPENDUCK_SERVER ?= $(CURDIR)/$(ASAN)/src/cli/openduck
test: export OPENDUCK_EXTENSION ?= $(CURDIR)/build/openduck.duckdb_extension
test: export OPENDUCK_NODE_PATH ?= $(CURDIR)/.deps/node/node_modules
test: ## every test, on a sanitized server (sets itself up)
	@tools/setup test
	@$(MAKE) --no-print-directory build-asan
	@$(MAKE) --no-print-directory build
	@unit=0; all=0; \
	ctest --test-dir $(ASAN) --output-on-failure --timeout 300 -j $(JOBS) $(CTEST_ARGS) </dev/null || unit=$$?; \
	$(PYTHON) -m pytest tests -n $(PYTEST_WORKERS) --timeout 180 --durations 5 $(PYTEST_ARGS) </dev/null || all=$$?; \
	exit $$((unit ? unit : all))

.PHONY: bench
bench: ## the published measurements (bench/README.md)
	@test -x bench/run || { echo "make bench: bench/run is not there" >&2; exit 1; }
	@tools/setup test
	@$(MAKE) --no-print-directory build
	@PATH="$(CURDIR)/.venv/bin:$$PATH" bench/run

.PHONY: fuzz
fuzz: ## build the fuzz targets with libFuzzer into build/fuzz
	@tools/setup dev
	$(call compile,fuzz)

.PHONY: tsan
tsan: setup ## the unit tests under ThreadSanitizer
	$(call compile,tsan)
	@ctest --test-dir build/tsan --output-on-failure --timeout 600 -j $(JOBS) $(CTEST_ARGS) </dev/null

.PHONY: format
format: ## lay out all C and C++ (clang-format-14)
	@tools/format.sh

.PHONY: lint
lint: ## layout, house rules, clang-tidy on what changed
	@tools/lint.sh

.PHONY: install
install: ## into PREFIX (default /usr/local); DESTDIR is honoured
	@test -x build/openduck || { echo "make install: run make build first" >&2; exit 1; }
	cmake --install $(RELEASE) --prefix $(PREFIX)

.PHONY: clean
clean: ## remove build/ (keeps .deps and .venv)
	rm -rf build

.PHONY: distclean
distclean: clean ## remove also what tools/setup fetched
	rm -rf .deps .venv
