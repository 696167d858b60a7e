# make demo: the whole job on this machine.  make test: lint, types and tests.  make card DATA=folder: the tables and
# pictures of models/README.md.  All set up .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
ARGUMENTS := $(if $(DATA),--data $(DATA)) $(if $(OUT),--out $(OUT)) $(if $(NIGHT),--night)

.PHONY: demo test picture card clean

demo: .venv/runtime
	$(BIN)/python -m mmcfusion_ros.cli demo $(ARGUMENTS)

test: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest

picture: .venv/runtime
	PYTHONPATH=. $(BIN)/python docs/rig.py

card: .venv/dev
	PYTHONPATH=. $(BIN)/python docs/model_card.py $(DATA)

.venv/runtime: requirements.txt
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	touch $@

.venv/dev: requirements-dev.txt .venv/runtime
	$(PIP) -r requirements-dev.txt
	touch $@

clean:
	rm -rf .venv demo_output build install log
