# Two commands: `make demo` and `make test`. The rest is for those who work on this.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CONTROLPLANE := target/controlplane/controlplane
# What is built of others' sources is kept here for all checkouts, by the hash of its versions: Kubernetes, Helm, tools of `audit`.
export PROGRAMMATIC_USERS_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/programmatic-users
export CONTROLPLANE_CACHE ?= $(PROGRAMMATIC_USERS_CACHE)/kubernetes
# As root on Linux there is a real node, where pods run; CONTROLPLANE_NODE=none does without.
NODE := $(if $(filter Linux-0,$(shell uname)-$(shell id -u)),$(if $(filter none,$(CONTROLPLANE_NODE)),,--node))

.PHONY: help demo demo-stop check test test-image test-faults test-hostile fuzz soak durability load bench model static lint audit release-chart crds controlplane prerequisites clean

help: ## Show this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

# One build of program and example, with the features of the tests: they share all dependencies.
demo: $(if $(CLUSTER),,controlplane) ## Show the whole on this machine: control plane, node, platform, operator, a pod with its token (KEEP=1 leaves it running; CLUSTER=current uses the cluster of KUBECONFIG and builds no Kubernetes)
	@cargo build --locked --bins --example demo
	@CLUSTER=$(CLUSTER) cargo run --locked --quiet --example demo

demo-stop: ## Stop what `make demo KEEP=1` left running
	@cargo run --locked --quiet --example demo -- stop

# No control plane, no database, no browser: the first thing to run after a change.
check: ## Formatting, clippy, unit tests, rules of the source, names in the docs, definitions current
	@cargo fmt --check
	@cargo clippy --locked --quiet --lib --bins --tests -- -D warnings
	@cargo test --locked --quiet --lib --test structure --test docs

# T=operator::rotation: those tests of tests/operator whose names begin so; T=lib::plan: unit tests. The control plane stays for
# ten minutes, for the next call.
TESTS_OF := $(firstword $(subst ::, ,$(T)))
NAMED := $(patsubst $(TESTS_OF)::%,%,$(filter-out $(TESTS_OF),$(T)))
test: controlplane ## Run all tests on the real control plane; T=operator::rotation those that match
ifdef T
	@CONTROLPLANE_LINGER=10m cargo test --locked $(if $(filter lib,$(TESTS_OF)),--lib,--test $(TESTS_OF)) -- --show-output $(NAMED)
else
	@cargo test --locked --no-fail-fast -- --show-output
endif

# `make test` runs a part of it; FAULT='create/W4-*' runs what fits a pattern.
test-faults: controlplane ## Run the whole fault matrix: crash, lost answer, refusal, second leader at every write
	@FAULTS=all cargo test --locked --test faults -- --nocapture

# The seed decides what goes wrong, and what people do.
soak: controlplane ## Random faults and two leaders over LIVES=2000 lives of users; SEED=N repeats a run
	@SEED=$(or $(SEED),1) LIVES=$(or $(LIVES),2000) cargo test --locked --test soak -- --nocapture

# `make test` runs three rounds of two seconds.
durability: ## Kill the platform under 16 writers, 20 times, and look for what it had answered
	@ROUNDS=$(or $(ROUNDS),20) SPAN=$(or $(SPAN),60) cargo test --locked --test durability -- --nocapture

# `make test` runs it for a moment. An optimised build, with nothing else running.
load: ## Measure the platform against its own /healthz and against raw SQLite, and with USERS=100000
	@SPAN_MS=$(or $(SPAN_MS),4000) USERS=$(or $(USERS),100000) cargo test --locked --release --test load -- --nocapture

# `make test` runs it with 40 users. An optimised build, with nothing else running; N=100000 puts most of its users there.
bench: controlplane ## Measure the operator with N=1000 users: against the API server, at rest, in memory, restarted, rotated
	@N=$(or $(N),1000) cargo test --locked --release --test bench -- --nocapture

model: ## Look at tens of millions of worlds around the plan, and whether it keeps its promises in each
	@MODEL=large cargo test --locked --release --test model -- --nocapture large

# `make test` tries the corpus and a fixed number of mutations of it. What is found stays in target/fuzz, and a fault's input too.
fuzz: ## Fuzz every parser that tenants, platforms and callers feed, guided by coverage, each for SECONDS=60; TARGET=window only that one
	@test -x target/tools/bin/cargo-fuzz || cargo install --quiet --locked --version 0.13.2 --root target/tools cargo-fuzz
	@cd fuzz && RUSTC_BOOTSTRAP=1 ../target/tools/bin/cargo-fuzz build --sanitizer none --target-dir ../target/fuzz any
	@for target in $(or $(TARGET),$(notdir $(wildcard fuzz/corpus/*))); do \
		echo "== $$target"; mkdir -p target/fuzz/corpus/$$target; \
		TARGET=$$target target/fuzz/$(HOST)/release/any -max_total_time=$(or $(SECONDS),60) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
			-artifact_prefix=target/fuzz/$$target- target/fuzz/corpus/$$target fuzz/corpus/$$target || exit 1; \
	done

# `make test` runs a part of it.
test-hostile: controlplane ## Let a tenant and a platform do their worst for MINUTES=60 together, and measure what others notice
	@MINUTES=$(or $(MINUTES),60) cargo test --locked --test hostile -- --nocapture --test-threads=1

# No path of this machine and no time is in it; its libraries are, so that an image needs nothing else.
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
HOME_OF_CARGO := $(or $(CARGO_HOME),$(HOME)/.cargo)
static: export SOURCE_DATE_EPOCH := 0
static: export CARGO_INCREMENTAL := 0
static: export CFLAGS := -ffile-prefix-map=$(CURDIR)=. -ffile-prefix-map=$(HOME_OF_CARGO)=cargo
static: export RUSTFLAGS := -C target-feature=+crt-static --remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(HOME_OF_CARGO)=cargo
static: ## Build the program that images are made of, static: target/image/programmatic-users
	@cargo build --locked --release --target $(HOST) --target-dir target/static
	@install -D target/static/$(HOST)/release/programmatic-users target/image/programmatic-users

# `make test` does it with the program that it has built anyway.
test-image: static controlplane ## Run the chart's own pods with the static program that images are made of
	@IMAGE_PROGRAM=target/image/programmatic-users cargo test --locked --test chart install:: -- --show-output

lint: prerequisites ## Formatting and clippy, without a word
	@cargo fmt --check
	@cargo clippy --locked --all-targets -- -D warnings
	@for module in controlplane conformance/go gitops; do (cd tests/$$module && test -z "$$(gofmt -l .)" && go vet .) || exit 1; done

audit: prerequisites ## Check the dependencies, and write what the program is made of (SBOM)
	@tests/audit.sh

release-chart: export DIGEST := $(DIGEST)
release-chart: export REPOSITORY := $(REPOSITORY)
release-chart: ## Package the chart of a release with its image pinned: DIGEST=sha256:… REPOSITORY=registry/programmatic-users
	@charts/release.sh

crds: ## Write crds/ anew, after a change of src/api
	@cargo build --locked --quiet --bins --example demo
	@$(or $(CARGO_TARGET_DIR),target)/debug/programmatic-users crds --dir crds

# Builds Kubernetes from its Go modules the first time, with progress; a moment later on. Not needed where a cluster
# (TEST_KUBECONFIG) or binaries (KUBEBUILDER_ASSETS) are given.
controlplane: prerequisites
	@mkdir -p target/controlplane
	@cd tests/controlplane && go build -o ../../$(CONTROLPLANE) .
	@test -z "$(NODE)" || $(CONTROLPLANE) prerequisites --install
	@test -n "$(TEST_KUBECONFIG)$(KUBEBUILDER_ASSETS)" || $(CONTROLPLANE) build --cache $(CONTROLPLANE_CACHE) $(NODE)

prerequisites:
	@tests/prerequisites.sh

# Programs of the cache stay for other checkouts: remove $(PROGRAMMATIC_USERS_CACHE) by hand.
clean: ## Stop what runs, and remove what was built here
	@test ! -x $(CONTROLPLANE) || for run in target/controlplane/test target/demo/plane; do $(CONTROLPLANE) stop --run $$run; done
	@rm -rf target
