# Everything runs from .venv, which the first target that needs it creates. PYTHON chooses the interpreter (3.11 to 3.13).
PYTHON ?= python3
TORCH ?= torch==2.13.0
PIP := .venv/bin/python -m pip --disable-pip-version-check -qq
STAMP := .venv/.installed
REHEARSAL := .venv/bin/python -m benchmarks.network.cuts && .venv/bin/python -m benchmarks.rehearsal

# Where this is set (many containers do), every process would compile its libraries again: 6 seconds each.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install sweep test test-fast test-long check docs rehearsal train bench quality report ui clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## create .venv and install everything (about 3 minutes, once)

# torch goes first and alone: an open version range may pick a build with gigabytes of GPU packages. Modules are compiled when
# first imported: compiling all of them would double the time.
$(STAMP): pyproject.toml constraints.txt
	@echo "installing into .venv (about 3 minutes, once)"
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@$(PIP) install --no-compile -c constraints.txt "$(TORCH)" "setuptools>=77"
	@$(PIP) install --no-compile -c constraints.txt --no-build-isolation -e ".[dev,docs]"
	@touch $@

sweep: $(STAMP)  ## plan the default sweep and print its table; run again, it plans only what is missing
	@.venv/bin/grasp sweep

# Two processes, each file in one of them; files in their order, so that the long ones (clusters, drivers) do not come last.
test: $(STAMP)  ## run the tests (20 to 30 minutes on 2 cores)
	@.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(STAMP)  ## run the tests that need no server, cluster or training (under 3 minutes on 2 idle cores)
	@.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

# Into a folder of its own, which a study that was cut off before does not change. The rehearsal's verdict is the last line.
test-long: $(STAMP)  ## the long checks: packages of a user's own and of environments, the quick study of planning quality, the rehearsal (15 to 25 minutes)
	@.venv/bin/python -m pytest tests/end_to_end/outside.py tests/end_to_end/own_models.py tests/end_to_end/outside_nodes.py
	@.venv/bin/python -m pytest --timeout 1800 -rs tests/end_to_end/environments.py
	@rm -rf outputs/test-long
	@.venv/bin/grasp quality planning_quality=quick output=outputs/test-long
	@test -s outputs/test-long/quality/planning-quality.md
	@$(REHEARSAL)

check: $(STAMP)  ## format, lint, types, import direction
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/pyright
	@.venv/bin/lint-imports

docs: $(STAMP)  ## build the documentation into outputs/site; broken links and warnings are errors
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict
	@echo "the site is at outputs/site/index.html"

rehearsal: $(STAMP)  ## clusters on this machine whose network and machines fail (under 10 minutes; needs PostgreSQL)
	@$(REHEARSAL)

train: $(STAMP)  ## rebuild every world model of the zoo (about an hour on 2 cores)
	@.venv/bin/grasp train all out=world_models/zoo

bench: $(STAMP)  ## measure planner throughput; the last line is JSON
	@.venv/bin/python -m benchmarks.planner_throughput

quality: $(STAMP)  ## the study of planning quality and its page (at most 8 hours on 2 cores; it resumes)
	@.venv/bin/grasp quality

report: $(STAMP)  ## print the latest sweep's table again
	@.venv/bin/grasp report

ui: $(STAMP)  ## review the sweeps in MLflow's UI
	@.venv/bin/grasp ui

clean:  ## remove caches and build leftovers; .venv and outputs stay
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
