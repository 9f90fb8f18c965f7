# Everything runs from `.venv`. Studio has a separate environment, because its dependencies conflict with those of the tests.

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BRIEF ?= a relaxing rain video
PROJECT ?= shorts
RENDER ?= embedded
PORT ?= 8000
CHAOS_KILLS ?= 200
MINUTES ?= 20
# All tests of a file run in one process, because they share a server.
PARALLEL = -n auto --maxprocesses 4 --dist loadfile

BIN := .venv/bin
STUDIO := .venv-studio
# Twice quiet: with many indexes configured, pip warns of each for each package. Errors are shown.
INSTALL := -m pip install --disable-pip-version-check --quiet --quiet --no-deps
UV = $(shell test -x $(BIN)/uv && echo $(BIN)/uv || echo $(PYTHON) -m uv)
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help setup demo test slow screenshots check coverage lint serve studio studio-setup openapi docs lock chaos bench soak remotion remotion-built clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | \
		while IFS='|' read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done

setup: .venv/.with-tools ## Install MyloWare and the development tools into .venv

demo: .venv/.installed $(if $(filter remotion,$(RENDER)),remotion-built) ## Make a film in the terminal: BRIEF="…" PROJECT=shorts RENDER=remotion KILL=1 (kills its process twice) CONSOLE=1 (you approve in the browser)
ifdef CONSOLE
	@$(BIN)/myloware serve --sandbox --port $(PORT) --project "$$PROJECT" --brief="$$BRIEF"
else
	@$(if $(filter remotion,$(RENDER)),remotion/with-service) $(BIN)/$(if $(KILL),python -m bench.kill_demo,myloware make --sandbox --yes) --project "$$PROJECT" $(if $(filter remotion,$(RENDER)),--remotion) -- "$$BRIEF"
	@echo "Next: make serve, which serves the API and runs a worker." >&2
endif

test: .venv/.with-tools ## Run the tests without the slow ones; needs no service and no API key
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow" --durations=5

check: lint test ## Check format, style, types and import layers, and run the tests

coverage: .venv/.with-tools ## Run the tests, and print which lines of the product they reach
	@$(BIN)/python -m pytest $(PARALLEL) -m "not slow" --cov --cov-report=term

slow: .venv/.with-tools ## Run the slow tests: crashes, whole films and conversations, browsers, Studio, Remotion, the quickstart
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m slow --durations=5

screenshots: .venv/.with-tools ## Write pictures of every page of the console into docs/console (needs Chromium)
	@mkdir -p docs/console
	@CONSOLE_PICTURES=docs/console $(BIN)/python -m pytest tests/console/test_screenshots.py

lint: .venv/.with-tools
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

serve: .venv/.installed ## Serve the API and run a worker: PORT=8000
	@$(BIN)/myloware serve --port $(PORT)

studio: studio-setup ## Serve the graphs for LangGraph Studio on port 2024; the threads of the product read-only: THREADS=product; a copy of a run, to change: RUN=ID
	@.ci/studio

studio-setup: $(STUDIO)/.installed

openapi: .venv/.installed ## Write openapi.json
	@$(BIN)/myloware openapi > .openapi.new && mv .openapi.new openapi.json

docs: .venv/.installed ## Generate the marked parts of README.md, and .env.example, from the code
	@$(BIN)/python docs/build.py

lock: | .venv ## Resolve the dependencies into the lock files (needs uv)
	@$(UV) --version >/dev/null 2>&1 || { echo "make lock needs uv: $(BIN)/pip install uv" >&2; exit 1; }
	$(COMPILE) -o requirements.lock
	$(COMPILE) -c requirements.lock --group dev -o requirements-dev.lock
	$(COMPILE) -c requirements.lock --group studio -o requirements-studio.lock

chaos: .venv/.with-tools ## Run the crash harness: kill processes and check the invariants: CHAOS_KILLS=200
	@$(BIN)/python -m tests.chaos --kills $(CHAOS_KILLS)

bench: .venv/.installed ## Measure speed beside yardsticks, and write bench/RESULTS.md; one figure: FIGURE=webhook
	@$(BIN)/python -m bench $(FIGURE)

soak: .venv/.installed ## Run a run per second and check that nothing grows and nothing is lost: MINUTES=20
	@$(BIN)/python -m bench.soak --minutes $(MINUTES)

remotion: remotion-built ## Build and start the optional render service (Node), for REMOTION_URL=http://127.0.0.1:8400
	@cd remotion && ARTIFACTS="$${ARTIFACTS:-../.myloware/artifacts}" npm --silent start

remotion-built: remotion/build/.installed

remotion/build/.installed: remotion/package-lock.json $(wildcard remotion/src/* remotion/film/* remotion/public/*)
	@command -v node >/dev/null && command -v npm >/dev/null || \
		{ echo "The render service needs Node 20 or newer, with npm: https://nodejs.org" >&2; exit 1; }
	@test -n "$$CHROMIUM" || command -v chromium-headless-shell chromium chromium-browser google-chrome >/dev/null || \
		{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends chromium-headless-shell >/dev/null; } || \
		{ echo "The render service needs Chromium: install chromium-headless-shell, or set CHROMIUM to its path." >&2; exit 1; }
	@echo "Building the render service (a minute, the first time)"
	@cd remotion && npm ci --silent && npm run --silent build
	@touch $@

clean: ## Remove the environments and caches; the data folder .myloware is kept
	rm -rf .venv .venv-studio .coverage .coverage.* htmlcov .pytest_cache .mypy_cache .ruff_cache \
		.import_linter_cache .hypothesis .langgraph_api .openapi.new
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A brief is free text. It is passed through the environment, so that neither make nor the shell expands anything in it.
demo: override export BRIEF := $(value BRIEF)
demo: override export PROJECT := $(value PROJECT)

# ---- environments: created once, updated when a lock file or pyproject.toml changes ----

.venv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer not found. Set its path: make PYTHON=/path/to/python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: MyloWare needs Python 3.11 or newer." >&2; exit 1; }
	@echo "Creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "$(PYTHON) cannot create an environment. On Debian and Ubuntu, install python3-venv." >&2; exit 1; }

.venv/.installed: requirements.lock pyproject.toml | .venv
	@echo "Installing MyloWare (a minute or two, the first time)"
	@$(BIN)/python $(INSTALL) -r requirements.lock
	@$(BIN)/python $(INSTALL) -e .
	@touch $@

.venv/.with-tools: requirements-dev.lock .venv/.installed
	@echo "Installing the development tools"
	@$(BIN)/python $(INSTALL) -r requirements-dev.lock
	@touch $@

$(STUDIO)/.installed: requirements-studio.lock pyproject.toml | .venv
	@echo "Installing Studio"
	@test -x $(STUDIO)/bin/python || $(BIN)/python -m venv $(STUDIO)
	@$(STUDIO)/bin/python $(INSTALL) -r requirements-studio.lock
	@$(STUDIO)/bin/python $(INSTALL) -e .
	@touch $@
