# make demo   set-up, phantom cohort, training, prediction, evaluation; ends by naming the report
# make test   set-up, and the whole test suite
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
RUN := $(BIN)/python -m

.PHONY: demo test lint types docs wheel clean

$(VENV)/core.done: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ankleseg needs Python 3.11 or later; try make PYTHON=python3.11")'
	@echo "setting up $(VENV): PyTorch, MONAI and the rest, some minutes"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	@touch $@

$(VENV)/dev.done: $(VENV)/core.done
	$(INSTALL) --editable '.[dev,docs,sweep]'
	@touch $@

demo: $(VENV)/core.done
	rm -rf $(DEMO)/run $(DEMO)/predictions $(DEMO)/evaluation
	$(RUN) ankleseg.phantoms cohort=ankle size=demo subjects=14 seed=0 out=$(DEMO)/cohort
	$(RUN) ankleseg.train +experiment=ankle_static_unet +budget=demo scheduler=polynomial optimizer.lr=4e-3 \
		cohort.root=$(DEMO)/cohort hydra.run.dir=$(DEMO)/run
	$(RUN) ankleseg.predict checkpoint=$(DEMO)/run input=$(DEMO)/cohort group=equinus out=$(DEMO)/predictions
	$(RUN) ankleseg.evaluate predictions=$(DEMO)/predictions references=$(DEMO)/cohort out=$(DEMO)/evaluation
	@echo "The report: $(CURDIR)/$(DEMO)/evaluation/report.html"

# two workers with a thread each get in each other's way least
test: $(VENV)/dev.done
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.done
	$(BIN)/mypy

docs: $(VENV)/dev.done
	$(BIN)/mkdocs build --strict --quiet

wheel: $(VENV)/dev.done
	$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf dist build site $(DEMO) .pytest_cache .mypy_cache .ruff_cache
