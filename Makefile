# The few commands a person types; `make` alone lists them.

# One target directory for everything, outside the checkout if there is one: RocksDB takes 15 to 25 minutes to compile.
export CARGO_TARGET_DIR ?= $(or $(wildcard $(HOME)/.cache/twinset-target),$(CURDIR)/target)
BIN := $(CARGO_TARGET_DIR)/release
DEMO_DIR ?= demo-data

.PHONY: help alerts demo drills endurance journal jepsen jepsen-long canaries sim up down test build lint audit fmt bench bench-sites bin setup clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## Two sites, live traffic, a switch, a killed leader, a site powered off: what clients saw, and whether the books balance
	deploy/checks/example_journal.sh $(DEMO_DIR)/journal
	$(BIN)/twinset demo --data $(DEMO_DIR)/cluster --journal $(DEMO_DIR)/journal/example.beancount --power-off

journal: build ## Import the example journal, export it, and let beancount compare every balance
	deploy/checks/journal_roundtrip.sh $(DEMO_DIR)/roundtrip

jepsen: build ## Faults on live traffic for a minute, then check every promise
	$(BIN)/twinset-jepsen run --nemesis all --time 60 --dir $(DEMO_DIR)/jepsen $(if $(SEED),--seed $(SEED))

jepsen-long: build ## The same for an hour
	$(BIN)/twinset-jepsen run --nemesis all --time 3600 --rate 1200 --dir $(DEMO_DIR)/jepsen-long $(if $(SEED),--seed $(SEED))

canaries: setup ## Build in each bug on purpose, and show that the tests catch it (SAMPLE=3: three of them)
	deploy/checks/canaries.sh --dir $(DEMO_DIR)/canaries $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED))

sim: build ## 64 seeds of the simulator: the real programs in simulated worlds, repeatable to the byte
	$(BIN)/twinset-sim --seeds 0..64

drills: build ## Play every scenario of deploy/drills on a local cluster: about half an hour, a report for each
	DRILLS_DIR=$(DEMO_DIR)/drills deploy/checks/drills.sh $(ARGS)

up: build ## Start a local cluster and leave it running (stop it with `make down`)
	$(BIN)/twinset dev up --detach

down: ## Stop the cluster of `make up`
	$(BIN)/twinset dev down

test: build ## Run all tests
	cargo test --release --workspace

build: setup ## Build everything (the first time RocksDB alone takes 15 to 25 minutes)
	cargo build --release --workspace

lint: setup ## Formatting and clippy, without changing anything
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings

audit: setup ## Licences, sources and bans of all dependencies (the first time it builds cargo-deny)
	@command -v cargo-deny >/dev/null || cargo install --locked --quiet cargo-deny@0.20.2
	cargo deny --log-level error check bans licenses sources

fmt: ## Format the code
	cargo fmt --all

bench: build ## The figures of docs/reference/performance.md, on this machine (the 200 kills alone take ten minutes)
	deploy/checks/figures.sh $(DEMO_DIR)/figures

bench-sites: build ## What moves and lost sites cost, at 0, 1 and 5 ms between the sites: hours, and goes on where it was broken off
	deploy/checks/sites.sh $(DEMO_DIR)/sites $(ARGS)

endurance: build ## A thousand kills and ten thousand switches under traffic, all checked: hours, and goes on where it was broken off
	deploy/checks/endurance.sh $(DEMO_DIR)/endurance

alerts: ## Check the Prometheus rules, and play their tests
	deploy/checks/alerts.sh

bin: ## Where the programs are
	@echo $(BIN)

setup: ## Install what the build needs and this machine lacks
	@deploy/setup.sh

clean: ## Remove what demos and local clusters have left; a cluster of `make up` is stopped first
	@test ! -e .twinset-dev/dev.json || $(BIN)/twinset dev down
	rm -rf $(DEMO_DIR) .twinset-dev .twinset-jepsen
