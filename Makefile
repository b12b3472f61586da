# Everything is installed into .venv and nothing outside the checkout is written.
PYTHON ?= python3
FLAGS  ?=
NB     ?=
ARGS   ?=
VENV   := .venv
BIN    := $(VENV)/bin
# JupyterLab's settings, kernels and history stay in .venv
JUPYTER := JUPYTER_CONFIG_DIR="$(CURDIR)/$(VENV)/jupyter/config" JUPYTER_DATA_DIR="$(CURDIR)/$(VENV)/jupyter/data" \
           JUPYTER_RUNTIME_DIR="$(CURDIR)/$(VENV)/jupyter/runtime" IPYTHONDIR="$(CURDIR)/$(VENV)/jupyter/ipython"
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --quiet

.DELETE_ON_ERROR:
.PHONY: help demo test docs browser lab lab-test bench cuda notebooks readme export clean

help:
	@echo 'make demo        train on small digits, explain a prediction, write runs/demo'
	@echo 'make test        every check and every notebook, about 10 minutes; FLAGS="data ddp slow cuda" runs more cells, NB=losses one notebook'
	@echo 'make docs        the site, in _docs/, with the notebooks run anew; about 10 minutes'
	@echo 'make browser     look at every page of the site in Chromium: phone and desk, light and dark; NB=digits some pages'
	@echo 'make lab         JupyterLab on the notebooks'
	@echo 'make lab-test    run the main notebooks in JupyterLab in Chromium, move every slider; NB=04_figures one notebook'
	@echo 'make bench       speed and memory, into runs/bench*.json, on all threads, on one, and with AVX2 only; on a quiet machine; NB=tiny one measurement'
	@echo 'make cuda        with an NVIDIA card: the tests flagged cuda, then its speed, into runs/cuda.json; up to 9 minutes'
	@echo 'make export      tidy the notebooks and write protoflow/ from them'
	@echo 'make notebooks   run the notebooks in place to refresh their outputs; FLAGS and NB as above'
	@echo 'make readme      README.md from nbs/index.ipynb'
	@echo 'make clean       remove what was built; .venv and runs/ stay'
	@echo 'PYTHON=python3.12 names the Python that makes .venv, ARGS="--seed 1" is passed on to demo and lab'

demo: $(VENV)/.runtime
	$(BIN)/protoflow_demo $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python tools/test.py $(NB) --flags "$(FLAGS)"

docs: $(VENV)/.dev
	$(BIN)/python tools/docs.py

browser: $(VENV)/.dev
	$(BIN)/python tools/browser.py $(NB) $(ARGS)

lab: $(VENV)/.dev
	$(JUPYTER) $(BIN)/jupyter-lab nbs $(ARGS)

lab-test: $(VENV)/.dev
	$(JUPYTER) $(BIN)/python tools/lab.py $(NB) $(ARGS)

export: $(VENV)/.dev
	$(BIN)/python tools/notebooks.py tidy
	$(BIN)/nbdev_export

bench: $(VENV)/.dev
	$(BIN)/python tools/bench.py $(NB)
	$(BIN)/python tools/bench.py $(or $(NB),training_step) --threads 1 --out runs/bench-one-thread.json
	ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python tools/bench.py $(or $(NB),training_step) --threads 1 --out runs/bench-avx2.json

cuda: $(VENV)/.dev
	$(BIN)/python tools/card.py

notebooks: $(VENV)/.dev
	$(BIN)/python tools/notebooks.py run $(NB) --flags "$(FLAGS)"

readme: $(VENV)/.dev
	$(BIN)/python tools/notebooks.py readme

clean:
	rm -rf _proc _docs _build build dist *.egg-info
	find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -exec rm -rf {} +

# Install once, and again when what is to be installed has changed.
$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || { echo 'protoflow: there is no $(PYTHON); install Python 3.10 or newer'; exit 1; }
	@$(PYTHON) tools/make_venv.py $(VENV)

$(VENV)/.runtime: settings.ini setup.py | $(BIN)/python
	@echo 'installing protoflow into .venv; the first time takes some minutes'
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: settings.ini setup.py | $(BIN)/python
	@echo 'installing protoflow and its tools into .venv; the first time takes some minutes'
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.runtime
