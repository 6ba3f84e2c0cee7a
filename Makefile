# What people and CI call; `make help` lists it. The work is in scripts/ and in cargo.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run run-services test lint fmt audit images push check-containers validate-kubernetes

VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version *= *"\(.*\)"/\1/p' Cargo.toml)
REVISION = $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
SERVICES := datagen distributor processor statistics
SHELL_SCRIPTS = $(shell grep -rlE '^\#!/(usr/)?bin/(env )?(ba)?sh' scripts .ci benches)

help: ## lists these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 22

run: ## the whole system in one process, which needs nothing but Rust; the same as `cargo run --release`
	@cargo run --release --locked

run-services: ## the four services on this machine, over a RabbitMQ of their own unless QUEUE_URL names one
	@scripts/run

test: ## all tests, with a RabbitMQ of their own
	scripts/broker install
	scripts/setup-tool perl >/dev/null
	scripts/setup-tool sqlite3 >/dev/null
	cargo build --workspace --bins --locked
	scripts/broker with auto cargo test --workspace --locked

bench: ## what it costs: throughput, latency, memory, beside the broker's own ceiling and a peer; ARGS=--quick for a first look
	scripts/broker install
	scripts/setup-tool strace >/dev/null || true
	cargo build --release --workspace --bins --bench system --locked
	mkdir -p target/bench
	@# On the disk of the repository: /tmp may be memory, where nothing is durable and everything fast.
	TMPDIR=$(CURDIR)/target/bench cargo bench --workspace --bench system --locked -- $(ARGS)

lint: ## format, clippy, documentation, licences and sources, unused dependencies, shell scripts
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked
	"$$(scripts/setup-tool cargo-deny)" --locked check --hide-inclusion-graph bans licenses sources
	"$$(scripts/setup-tool cargo-machete)" --skip-target-dir
	"$$(scripts/setup-tool shellcheck)" $(SHELL_SCRIPTS)

fmt: ## formats the code
	cargo fmt --all

audit: ## known vulnerabilities of the dependencies (asks the RustSec database over the network)
	"$$(scripts/setup-tool cargo-deny)" --locked check advisories

images: ## the four images, as ebs-<service>:<version>
	for service in $(SERVICES); do \
	  docker build --target $$service --tag ebs-$$service:$(VERSION) \
	    --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) .; \
	done

push: ## REGISTRY=docker.io/you: builds the images, pushes them there, and puts their names into kustomize/hubbed
	@[[ -n "$(REGISTRY)" ]] || { echo "Where to? make push REGISTRY=docker.io/you" >&2; exit 64; }
	scripts/containers/push "$(REGISTRY)"

check-containers: ## builds the images, brings the system up with them, and uses it: with Compose, and as the manifests say
	scripts/containers/check
	scripts/containers/run-as-pods

validate-kubernetes: ## renders every overlay and checks it against Kubernetes' schemas and our own policy
	scripts/kubernetes/validate
