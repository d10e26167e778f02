# Everything that a developer and CI do with this repository. `make` says what there is.

# Binaries of Kubernetes are kept here between runs.
export CONTROLPLANE_CACHE ?= $(CURDIR)/target/controlplane
CONTROLPLANE := target/controlplane/controlplane
TARGET := $(or $(CARGO_TARGET_DIR),target)
# As root on Linux demo and tests have a real node, where pods run.
NODE := $(if $(filter Linux-0,$(shell uname)-$(shell id -u)),$(if $(filter none,$(CONTROLPLANE_NODE)),,--node))

.PHONY: help demo demo-stop test lint crds clean prerequisites control-plane

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16
	@echo
	@echo 'KEEP=1 make demo          leaves the demo running; make demo-stop ends it'
	@echo 'TEST_KUBECONFIG=FILE      tests use this cluster instead of one of their own'
	@echo 'CONTROLPLANE_NODE=none    no node, so no real pods, although this is root on Linux'

demo: control-plane ## Show the whole system at work: control plane, platform, operator, a pod
	cargo build --locked --bin programmatic-users --example demo
	$(TARGET)/debug/examples/demo

demo-stop: ## End a demo that was left running with KEEP=1
	cargo build --locked --quiet --bin programmatic-users --example demo
	$(TARGET)/debug/examples/demo stop

test: control-plane ## Run all tests
	cd tests/controlplane && go test .
	cargo test --locked --no-fail-fast

lint: prerequisites ## Check format and lints
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@test -z "$$(gofmt -l tests/controlplane)" || { gofmt -l tests/controlplane; echo 'run gofmt on these files'; exit 1; }
	cd tests/controlplane && go vet .

crds: ## Write crds/ from the types
	cargo run --locked --quiet -- crds --dir crds

clean: ## Stop what runs and remove its data; builds stay (cargo clean removes them, too)
	@test ! -x $(CONTROLPLANE) || for run in target/controlplane/test target/demo/plane; do $(CONTROLPLANE) stop --run $$run; done
	rm -rf target/demo target/tests target/controlplane/test

prerequisites:
	@.ci/prerequisites

# Minutes at the first time, so with its progress shown. Nothing to do where a cluster or binaries are given.
control-plane: prerequisites
	@mkdir -p target/controlplane
	cd tests/controlplane && go build -trimpath -o ../../$(CONTROLPLANE) .
	@test -n "$(TEST_KUBECONFIG)$(KUBEBUILDER_ASSETS)" || $(CONTROLPLANE) build --cache $(CONTROLPLANE_CACHE) $(NODE)
