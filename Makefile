# Each target prepares what it needs by itself, the first time; .ci/setup says what that is.
# ARGS are handed on:  make demo ARGS=--keep    make test ARGS='tests/unit -x'    make bench ARGS=...

ARGS =
bin = .venv/bin

.PHONY: help demo test bench fuzz soak check clean

help:
	@echo 'make demo    build a VPS of network namespaces, and show a container unreachable, then reachable (root)'
	@echo 'make test    run the tests (root)'
	@echo 'make bench   measure the hot path, the daemon against other responders, and how cost grows (root)'
	@echo 'make fuzz    look for inputs that break what reads them, 60 seconds for each parser'
	@echo 'make soak    run the daemon for 10 minutes under changes of everything and 20,000 solicitations a second (root)'
	@echo 'make check   lint, types and the layering of the modules'
	@echo 'make clean   remove what the others made: .venv, caches, build output'

demo:
	@.ci/setup demo
	@$(bin)/ndpresponder demo $(ARGS)

test:
	@.ci/setup test
	@$(bin)/python -m pytest -n 2 --dist loadfile $(ARGS)

bench:
	@.ci/setup bench
	@$(bin)/python bench/hotpath.py
	@$(bin)/python bench/wire.py --short $(ARGS)
	@$(bin)/python bench/scale.py --short

fuzz:
	@.ci/setup check
	@$(bin)/python tests/fuzz/fuzz.py $(ARGS)

soak:
	@.ci/setup test
	@$(bin)/python tests/soak/soak.py $(ARGS)

check:
	@.ci/setup check
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/python -m pytest -q tests/unit/test_layering.py

clean:
	rm -rf .venv .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -prune -exec rm -rf {} +
