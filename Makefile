# Two commands: `make demo` runs the whole journey, `make test` checks and tests everything.
# Both set up .venv by themselves.
#   make demo                        on phantom CT, no data needed
#   make demo DIM=3                  the same with networks of volumes
#   make demo DATA=../shared/data    on real CT
#   make test                        ruff, mypy, pytest
#   make check                       ruff and mypy alone
#   make figures                     the pictures of the README
#   make bench [ONLY=perlin]         the benchmarks, or one of them
#   make fuzz [N=200000]             broken files of every format, over all readers
#   make docker-steps                the Dockerfile's steps in a clean folder, without Docker
# The studies, on real CT; they go on where they were, and DRY=1 says what is left and how long it takes:
#   make reproduce DATA=../shared/data [RUNS=../covidssl-runs] [STAGE='pretrain-*']
#   make reproduce SCALE=gpu DATA=...      a larger network, on a machine with a GPU
#   make ablate DATA=... [STAGE=noise]     so too: label-efficiency scaling cross-site shortcuts
#   make localise DATA=...                 without stages
#   make records                     tables and charts of docs/ from docs/records/
#   make help                        says this

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?=
DIM ?= 2
OUT ?= work/$(if $(DATA),demo-real,demo$(if $(filter 3,$(DIM)),-volume))
DEVICE ?= auto
ONLY ?=
N ?= 200000
SCALE ?= cpu
# Outside of the checkout: hours of training are not to be cleaned away with it.
RUNS ?= ../covidssl-runs
STAGE ?=
DRY ?=
STUDIES := label-efficiency scaling cross-site ablate shortcuts
# Tests in so many processes: one a processor, and no more than there is memory for.
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))
# A torch for CUDA brings its own; beside one for the CPU its interpreter tests the kernel.
TRITON := triton==3.9.0
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo help test check figures bench fuzz docker-steps reproduce $(STUDIES) localise records data-given system clean
.DELETE_ON_ERROR:

demo: $(VENV)/.covidssl
	$(BIN)/python -m pipelines.demo --out $(OUT) --device $(DEVICE) --dim $(DIM) $(if $(DATA),--data $(DATA))

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

test: check
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

check: $(VENV)/.covidssl-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

figures: $(VENV)/.covidssl
	$(BIN)/python -m pipelines.readme_figures --demo work/demo

bench: $(VENV)/.covidssl-bench
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

fuzz: $(VENV)/.covidssl-dev
	$(BIN)/python -m tests.fuzz --n $(N)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.covidssl: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) (some minutes) ..."
	$(PIP) --editable .
	@touch $@

$(VENV)/.covidssl-dev: pyproject.toml constraints.txt | system $(VENV)/bin/python
	@echo "Setting up $(VENV) with the tools for tests (some minutes) ..."
	$(PIP) --editable '.[dev,reference,ray,s3,lungmask,export,dicom,view]'
	@$(BIN)/python -c 'import triton' 2>/dev/null || $(PIP) --no-deps $(TRITON) || \
	  echo "Triton cannot be had here: the tests of the GPU's Perlin kernel are skipped."
	@touch $@ $(VENV)/.covidssl

$(VENV)/.covidssl-bench: pyproject.toml constraints.txt | system $(VENV)/bin/python
	@echo "Setting up $(VENV) with the peers of the benchmarks (some minutes) ..."
	$(PIP) --editable '.[bench]'
	@touch $@ $(VENV)/.covidssl

RUN_STUDY = $(BIN)/python -m pipelines.$(1) --data $(DATA) --runs $(RUNS) \
  $(if $(STAGE),--only '$(STAGE)') $(if $(DRY),--dry-run)

reproduce: data-given $(VENV)/.covidssl
	$(if $(filter-out cpu gpu,$(SCALE)),$(error SCALE is cpu or gpu, and not '$(SCALE)'))
	$(call RUN_STUDY,$(if $(filter gpu,$(SCALE)),reproduce_gpu all,reproduce_paper))

$(STUDIES): data-given $(VENV)/.covidssl
	$(call RUN_STUDY,$(subst -,_,$@))

localise: data-given $(VENV)/.covidssl
	$(if $(STAGE),$(error localise has no stages: leave STAGE out))
	$(call RUN_STUDY,localise)

records: $(VENV)/.covidssl
	$(BIN)/python -m pipelines.remake

data-given:
	@test -n "$(DATA)" || { echo "Say where the data are: make DATA=../shared/data ..." >&2; exit 2; }

docker-steps: $(VENV)/.covidssl-dev
	$(BIN)/python -m tests.docker_steps

# The reference Perlin noise is C and has no wheels; pages are tested in a browser.
system:
	@if command -v cc >/dev/null && $(PYTHON) -c \
	  'import pathlib, sysconfig as s; raise SystemExit(not pathlib.Path(s.get_path("include"), "Python.h").is_file())'; \
	then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	then apt-get update -qq && apt-get install -y -qq gcc libc6-dev python3-dev; \
	else echo "The tests need a C compiler and Python's headers: install gcc and python3-dev." >&2; exit 1; fi
	@if { command -v chromium || command -v chromium-browser; } >/dev/null && command -v chromedriver >/dev/null; \
	then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends chromium chromium-driver; \
	then :; \
	else echo "No Chromium with its driver here (chromium, chromium-driver): tests of pages in a browser are skipped." >&2; fi

clean:
	rm -rf work .pytest_cache .mypy_cache .ruff_cache
