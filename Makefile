# The commands of this project. Everything is installed into .venv; the only things needed are Python 3.11+ and make.

VENV    ?= .venv
WORKERS ?= 2
PYTHON  ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check
# Tests compile with less optimisation, in a third of the time; those of tests/engine/test_resume.py as users do.
PYTEST  := CVDL_TEST_COMPILE=fast $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal
RESULTS := build/curriculum

.PHONY: help run test test-all test-interop lint format curriculum clean
.DELETE_ON_ERROR:

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 20

run: $(VENV)/run.stamp  ## train LeNet-5 on the digits data and print its test accuracy
	$(BIN)/python launch.py --config configs/classify/lenet5.py --workdir runs/digits_lenet5

test: $(VENV)/test.stamp  ## run the quick tests
	$(PYTEST) -m "not long" --curriculum-json=$(RESULTS)/quick.json

test-all: $(VENV)/test.stamp  ## run the long tests, which `make test` leaves out, and check docs/CURRICULUM.md
	$(PYTEST) -m long --curriculum-json=$(RESULTS)/long.json
	$(BIN)/python docs/make_curriculum.py --check $(RESULTS)/quick.json $(RESULTS)/long.json

test-interop:  ## compare models with torchvision's and timm's, in .venv-interop
	$(MAKE) VENV=.venv-interop .venv-interop/interop.stamp
	.venv-interop/bin/python -m pytest -q tests/interop

lint: $(VENV)/test.stamp  ## check style (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/test.stamp  ## mend style where ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

curriculum: $(VENV)/test.stamp  ## write docs/CURRICULUM.md from the last `make test` and `make test-all`
	$(BIN)/python docs/make_curriculum.py $(RESULTS)/quick.json $(RESULTS)/long.json

clean:  ## remove .venv and everything that can be made again; runs/ stays
	rm -rf $(VENV) .venv-interop build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps are made last, so that an interrupted installation is done again.
$(VENV)/venv.stamp:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or later with the venv module was found. Install it" \
		"(Debian, Ubuntu: sudo apt install python3 python3-venv; macOS: brew install python@3.12;" \
		"others: https://www.python.org/downloads) or name it: make PYTHON=/path/to/python3.12 ..." >&2; exit 2; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/run.stamp: $(VENV)/venv.stamp requirements.txt
	$(PIP) install --quiet -r requirements.txt
	@touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp requirements-test.txt
	$(PIP) install --quiet -r requirements-test.txt
	@touch $@

$(VENV)/interop.stamp: $(VENV)/test.stamp requirements-interop.txt
	$(PIP) install --quiet -r requirements-interop.txt
	@touch $@
