# make demo: the whole job on this machine.  make test: lint, types and tests, with SLOW=1 the slow fault tests too.
# make card DATA=folder: the tables of results/ that measure the shipped weights.  make golden: test/golden.
# make lock licences: after a change of a requirements file.  make audit: known vulnerabilities, from PyPI.
# All set up .venv by themselves, from files whose hashes the .lock files give.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
LOCK := $(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --custom-compile-command "make lock" \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28
ARGUMENTS := $(if $(DATA),--data $(DATA)) $(if $(OUT),--out $(OUT)) $(if $(NIGHT),--night)

.PHONY: demo test picture card golden lock licences audit clean

demo: .venv/runtime
	$(BIN)/python -m mmcfusion_ros.cli demo $(ARGUMENTS)

test: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	CI=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(if $(SLOW),,-m "not slow")

picture: .venv/runtime
	PYTHONPATH=. $(BIN)/python scripts/rig.py

card: .venv/dev
	PYTHONPATH=. $(BIN)/python scripts/model_card.py $(DATA)

golden: .venv/dev
	PYTHONPATH=. $(BIN)/python scripts/golden.py

licences: .venv/dev
	$(BIN)/pip-licenses --from=mixed --with-system --format=markdown --output-file=results/licences.md

audit: .venv/runtime
	$(PIP) pip-audit==2.10.1
	$(BIN)/pip-audit --require-hashes --disable-pip -r requirements-dev.lock

lock: .venv/runtime
	$(PIP) uv==0.13.9
	$(LOCK) requirements-dev.txt -o requirements-dev.lock
	$(LOCK) requirements.txt -c requirements-dev.lock -o requirements.lock

.venv/runtime: requirements.lock
	$(PYTHON) -m venv .venv
	$(PIP) --require-hashes -r requirements.lock
	touch $@

.venv/dev: requirements-dev.lock .venv/runtime
	$(PIP) --require-hashes -r requirements-dev.lock
	touch $@

clean:
	rm -rf .venv demo_output build install log
