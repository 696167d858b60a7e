# make demo: the whole job on this machine.  make test: lint, types and tests, with SLOW=1 the slow fault tests too.
# make card DATA=folder: the tables of results/ that measure the shipped weights.  make golden: test/golden.
# make lock licences: after a change of a requirements file.  make audit: known vulnerabilities, from PyPI.
# make coverage: lines that the tests run, also those of the processes that they start.
# All set up an environment by themselves, from files whose hashes the .lock files give: .venv with ROS 2 Kilted for
# Python 3.11, .venv-3.12 with Jazzy for 3.12, as PYTHON=python3.12 asks for.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c "import sys; print('%d.%d' % sys.version_info[:2])")
OF_VERSION := $(filter-out -3.11,-$(VERSION))
VENV := .venv$(OF_VERSION)
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
LOCK := $(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --custom-compile-command "make lock" \
	--python-version $(VERSION) --python-platform x86_64-manylinux_2_28
ARGUMENTS := $(if $(DATA),--data $(DATA)) $(if $(OUT),--out $(OUT)) $(if $(NIGHT),--night)

.PHONY: demo test coverage picture card golden lock licences audit clean

demo: $(VENV)/runtime
	$(BIN)/python -m mmcfusion_ros.cli demo $(ARGUMENTS)

test: $(VENV)/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	CI=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(if $(SLOW),,-m "not slow")

coverage: $(VENV)/dev
	$(PIP) coverage==7.17.5
	CI=1 $(BIN)/coverage run -m pytest -n 2 --dist loadfile -m "not slow"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

picture: $(VENV)/runtime
	PYTHONPATH=. $(BIN)/python scripts/rig.py

card: $(VENV)/dev
	PYTHONPATH=. $(BIN)/python scripts/model_card.py $(DATA)

golden: $(VENV)/dev
	PYTHONPATH=. $(BIN)/python scripts/golden.py

licences: $(VENV)/dev
	$(BIN)/pip-licenses --from=mixed --with-system --format=markdown --output-file=results/licences.md

audit: $(VENV)/runtime
	$(PIP) pip-audit==2.10.1
	$(BIN)/pip-audit --require-hashes --disable-pip -r requirements-dev$(OF_VERSION).lock

lock: $(VENV)/runtime
	$(PIP) uv==0.13.9
	$(LOCK) requirements-dev.txt -o requirements-dev$(OF_VERSION).lock
	$(LOCK) requirements.txt -c requirements-dev$(OF_VERSION).lock -o requirements$(OF_VERSION).lock

$(VENV)/runtime: requirements$(OF_VERSION).lock
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements$(OF_VERSION).lock
	touch $@

$(VENV)/dev: requirements-dev$(OF_VERSION).lock $(VENV)/runtime
	$(PIP) --require-hashes -r requirements-dev$(OF_VERSION).lock
	touch $@

requirements-%.lock:
	$(error Python $(VERSION) is not supported here, only 3.11 and 3.12: make demo PYTHON=python3.12)

clean:
	rm -rf .venv .venv-* demo_output build install log
