# Every target makes .venv by itself.  ARGS is handed on: make test ARGS="-k engine -x"

STAMP := .venv/.stamp
BIN := .venv/bin
ARGS ?=
# A process for each core; who has none left gets tests of the others.
PARALLEL := -n auto --dist worksteal

.PHONY: demo test check bench brokers brokers-stop test-brokers format clean

demo: $(STAMP)
	$(BIN)/python -m pipelines.orders demo $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p reactor
	$(if $(wildcard tests/typing/*.py),$(BIN)/mypy $(wildcard tests/typing/*.py))
	$(BIN)/basedpyright
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

# Real servers on loopback, started until brokers-stop; the tests start servers of their own.
brokers: $(STAMP)
	$(BIN)/python -m tests.servers install
	$(BIN)/python -m tests.servers start

brokers-stop: $(STAMP)
	$(BIN)/python -m tests.servers stop

# Its tests wait for servers most of the time.
test-brokers: $(STAMP)
	$(BIN)/python -m tests.servers install
	$(BIN)/python -m pytest -n 4 --dist worksteal tests/brokers tests/servers $(ARGS)

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .orders build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Python 3.11 where there is one (constraints.txt was resolved on it), else any python3 from 3.11 on.
# Set PYTHON=... to choose.  Each candidate is run: a name on the path may be a shim that leads nowhere.
$(STAMP): pyproject.toml constraints.txt
	@set -e; \
	found=; \
	for python in $(PYTHON) python3.11 python3 python3.14 python3.13 python3.12; do \
		if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
		then found="$$python"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "error: reactor needs Python 3.11 or newer with its venv module; none was found." >&2; \
		echo "       Install one (Debian, Ubuntu: apt-get install python3.11 python3.11-venv;" >&2; \
		echo "       macOS: brew install python@3.11) or name it: make PYTHON=/path/to/python3.11 ..." >&2; \
		exit 1; \
	fi; \
	echo "making .venv with $$("$$found" --version) (once, about a minute) ..."; \
	$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
		|| "$$found" -m venv --clear .venv; \
	for try in 1 2 3; do \
		if $(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 10 --timeout 60 \
			-c constraints.txt -e '.[dev]'; then touch $@; exit 0; fi; \
		sleep 5; \
	done; \
	exit 1
