# `make demo` and `make test` do all set-up themselves: a virtual environment in .venv, the exact versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	$(BIN)/jmlip demo

test: lint
	$(BIN)/pytest -n 2 --dist worksteal -q

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright --level error

# the same jaxlib at build time, whose headers the C++ kernels take, as at run time; the second name is that of pip 25.3
$(VENV)/.installed: export PIP_CONSTRAINT = constraints.txt
$(VENV)/.installed: export PIP_BUILD_CONSTRAINT = constraints.txt
$(VENV)/.installed: pyproject.toml constraints.txt hatch_build.py $(wildcard jmlip/ops/native/*.cc jmlip/ops/native/*.h)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[demo,notebooks,test]'
	@$(BIN)/python -c "from jmlip.ops import native; print('C++ kernels:', native.why_not() or 'built')"
	touch $@

clean:
	rm -rf $(VENV) demo jmlip/ops/native/libjmlip.so
