# `make help` is the index. VENV=PATH uses another virtual environment; PYTHON=python3.12 another interpreter.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
READY  := $(VENV)/.medexp-ready
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types train sweep evaluate predict bench clean

help:  ## what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "medexp needs Python 3.11 or newer: make setup PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(READY)  ## make .venv (or VENV=PATH) with everything in it

demo: $(READY)  ## train and test the default on the built-in phantom, a few minutes on a CPU
	$(BIN)/medexp train experiment=segmentation/phantom $(ARGS)

test: $(READY)  ## run the test suite (ARGS="-k splits")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(READY)  ## ruff and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

types: $(READY)  ## the type checker alone
	$(BIN)/mypy

train: $(READY)  ## medexp train (ARGS="experiment=classification/mednist seed=1")
	$(BIN)/medexp train $(ARGS)

sweep: $(READY)  ## medexp train -m (ARGS="model=unet,dynunet optimizer=adamw,sgd")
	$(BIN)/medexp train -m $(or $(ARGS),model=unet,basic_unet optimizer=adamw,sgd trainer.max_epochs=3)

evaluate: $(READY)  ## medexp evaluate (ARGS="outputs/...")
	$(BIN)/medexp evaluate $(ARGS)

predict: $(READY)  ## medexp predict (ARGS="outputs/... --input scan.nii.gz --output mask.nii.gz")
	$(BIN)/medexp predict $(ARGS)

bench: $(READY)  ## medexp beside PyTorch, Lightning and MONAI on this machine (ARGS="--json trend.jsonl")
	$(BIN)/medexp bench all $(ARGS)

clean:  ## remove caches and build leftovers; outputs/ and .venv stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find medexp tests -name __pycache__ -type d -prune -exec rm -rf {} +
