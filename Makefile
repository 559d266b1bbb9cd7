# Two commands matter: `make run` starts a node with a model, `make test` runs every test.

SHELL := /bin/bash
.DELETE_ON_ERROR:

CACHE_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/shoal
# Outside the clone, so that a second clone is quick; one for each kind of CPU, since the build
# is for the CPU that it is made on (.cargo/config.toml).
CPU_KIND := $(shell { uname -m; grep -m1 -E '^(flags|Features)' /proc/cpuinfo || sysctl -n machdep.cpu.brand_string; } 2>/dev/null | cksum | cut -d' ' -f1)
export CARGO_TARGET_DIR ?= $(CACHE_DIR)/target-$(CPU_KIND)
JOBS ?= 2
CARGO := cargo
SHOAL := $(CARGO_TARGET_DIR)/release/shoal
FEATURES ?=
FEATURE_FLAGS := $(if $(FEATURES),--features $(FEATURES))
RUN_ARGS ?=

.PHONY: help run check-run build test setup setup-test fmt clippy docs unit lean fuzz deny clients interop bench bench-boards bench-nat swarms completions

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup:
	@.ci/setup build

setup-test:
	@.ci/setup test

build: setup ## the release binary (FEATURES=cuda|rocm|metal|vulkan for a GPU)
	@$(CARGO) build --release --locked -j$(JOBS) -p node $(FEATURE_FLAGS)

run: build ## build, fetch the starter model, start a node (RUN_ARGS="…" goes to `shoal up`)
	@model=$$(.ci/starter-model "$(CACHE_DIR)") || true; \
	exec $(SHOAL) up $${model:+--model "$$model"} $(RUN_ARGS)

check-run: build ## what `make run` does, ended by one question over the API
	@.ci/check-run $(SHOAL) "$(CACHE_DIR)"

test: setup-test fmt clippy docs unit lean fuzz deny clients interop check-run ## every test

fmt: setup-test
	@$(CARGO) fmt --all --check

clippy: setup-test
	@$(CARGO) clippy --workspace --all-targets --locked -j$(JOBS) -- -D warnings

docs: setup-test
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked -j$(JOBS) --quiet
	@$(CARGO) test --workspace --doc --locked -j$(JOBS) --quiet

unit: setup-test
	@TEST_MODEL=$$(.ci/starter-model "$(CACHE_DIR)") \
	$(CARGO) nextest run --workspace --locked -j$(JOBS)

lean: setup-test ## the API-client-only build, without llama.cpp
	@$(CARGO) clippy -p node --no-default-features --all-targets --locked -j$(JOBS) -- -D warnings

fuzz: setup-test ## a bounded run of every fuzz target
	@tests/fuzz/smoke

deny: setup-test ## licences, bans and sources of the dependencies
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	  $(CARGO) deny --config .deny.toml check bans licenses sources; \
	else \
	  echo "deny: SKIPPED, cargo-deny is not installed (cargo install --locked cargo-deny)"; \
	fi

clients: setup-test ## real OpenAI clients against a real node
	@$(CARGO) test --workspace --no-run --locked -j$(JOBS) --quiet # what `unit` built
	@model=$$(.ci/starter-model "$(CACHE_DIR)") && \
	tests/clients/run $(CARGO_TARGET_DIR)/debug/shoal "$$model" "$(CACHE_DIR)"

interop: setup-test ## a js-libp2p peer in the public mesh, and before a private swarm
	@$(CARGO) test --workspace --no-run --locked -j$(JOBS) --quiet # what `unit` built
	@tests/interop/run $(CARGO_TARGET_DIR)/debug "$(CACHE_DIR)"

bench: build setup-test ## against llama.cpp's own server, and the swarm; writes tests/benches/RESULTS.md (BENCH="--only peers" for one part)
	@$(CARGO) build --release --locked -j$(JOBS) -p bootstrap
	@server=$$(tests/benches/llama-server "$(CACHE_DIR)") && \
	model=$$(.ci/starter-model "$(CACHE_DIR)") && \
	$(CARGO) run --release --locked -j$(JOBS) -p tests --bin bench -- --shoal $(SHOAL) --llama-server "$$server" --model "$$model" $(BENCH)

swarms: setup-test ## simulated swarms of up to 10,000 peers: control traffic, churn, attacks
	@$(CARGO) run --release --locked -j$(JOBS) -p sim --bin swarms

bench-boards: setup-test ## how notes spread between 200 nodes; writes tests/benches/RESULTS.md
	@$(CARGO) build --release --locked -j$(JOBS) -p tests --bin bench
	@$(CARGO_TARGET_DIR)/release/bench boards

bench-nat: setup-test ## hole punches between homes, counted (needs root); writes tests/benches/RESULTS.md
	@$(CARGO) build --locked -j$(JOBS) -p node -p bootstrap -p tests --bins
	@$(CARGO_TARGET_DIR)/debug/bench nat
