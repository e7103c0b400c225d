# make demo      set-up; a dynamic exam of a phantom, its bones segmented by the network that comes with the package and
#                followed through motion, compared with the truth; ends by naming the report
# make tutorial  set-up; a phantom cohort, training, prediction, evaluation, as docs/tutorial.md explains them
# make test      set-up, and the whole test suite
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
RUN := $(BIN)/python -m

.PHONY: demo tutorial test lint types docs wheel clean

$(VENV)/core.done: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ankleseg needs Python 3.11 or later; try make PYTHON=python3.11")'
	@echo "setting up $(VENV): PyTorch, MONAI and the rest, some minutes"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	@touch $@

$(VENV)/dev.done: $(VENV)/core.done
	$(INSTALL) --editable '.[dev,docs,sweep]'
	@touch $@

# the exam is what a scanner gives: static scan and sequences, no masks
demo: $(VENV)/core.done
	rm -rf $(DEMO)/exam $(DEMO)/motion $(DEMO)/motion_evaluation
	$(RUN) ankleseg.phantoms cohort=ankle dynamic=true size=demo subjects=1 seed=0 out=$(DEMO)/moving
	mkdir -p $(DEMO)/exam
	cp -R $(DEMO)/moving/participants.tsv $(DEMO)/moving/sub-C01 $(DEMO)/exam
	$(RUN) ankleseg.prepare recipe=ankle_dynamic cohort.root=$(DEMO)/exam out=$(DEMO)/motion motion.highres=false
	$(RUN) ankleseg.evaluate recipe=motion predictions=$(DEMO)/motion references=$(DEMO)/moving \
		out=$(DEMO)/motion_evaluation
	@echo "The report: $(CURDIR)/$(DEMO)/motion/sub-C01/report.html"

tutorial: $(VENV)/core.done
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
