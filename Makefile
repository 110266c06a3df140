# Each target does its own set-up: a virtual environment in .venv with the package and all it needs.
PYTHON ?= python3
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: quickstart test slow docs lint clean

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

# Without a compiler, or if the build fails, the operators' TensorFlow twins run.
.PHONY: native
native: .venv/installed
	-.venv/bin/python -m custom_ops.build

quickstart: native
	.venv/bin/python -m tools.train --config=configs/retinanet/r18_shapes.py --run=runs/quickstart
	.venv/bin/python -m tools.evaluate --model=runs/quickstart --out=runs/quickstart --pictures=12

test: native
	.venv/bin/python -m ruff check .
	.venv/bin/python -m pytest --numprocesses=auto --dist=loadgroup --durations=10

slow: native
	.venv/bin/python -m pytest -m slow -v

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --quiet --strict
	@echo open site/index.html

lint: .venv/installed
	.venv/bin/python -m ruff check --fix .
	.venv/bin/python -m ruff format .

clean:
	rm -rf .venv runs site build dist *.egg-info
