# What people and CI call; `make help` lists it. The work is in scripts/ and in cargo.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run run-services flow asyncapi test chaos chaos-broken bench fuzz check-api check-spam lint fmt audit images push check-containers validate-kubernetes

VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version *= *"\(.*\)"/\1/p' Cargo.toml)
REVISION = $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
SERVICES := datagen distributor processor statistics
# With the tests, which ask for more features of some libraries: without them, sqlx and all of ours would be built twice.
BUILD := cargo build --workspace --bins --tests --locked
SHELL_SCRIPTS = $(shell grep -rlE '^\#!/(usr/)?bin/(env )?(ba)?sh' scripts .ci benches)

help: ## lists these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 22

run: ## the whole system in one process, which needs nothing but Rust; the same as `cargo run --release`
	@cargo run --release --locked

run-services: ## the four services on this machine, over a RabbitMQ of their own unless QUEUE_URL names one
	@scripts/run

flow: ## who publishes and who consumes what, as the code does it
	@cargo run --quiet --package contract --locked -- flow

asyncapi: ## writes asyncapi.json, the document of the bus, from the code; a test sees that it is up to date
	@mkdir -p target
	cargo run --quiet --package contract --locked -- asyncapi >target/asyncapi.json
	mv target/asyncapi.json asyncapi.json

test: ## all tests, with a RabbitMQ of their own
	scripts/broker install
	scripts/setup-tool perl >/dev/null
	scripts/setup-tool pika >/dev/null
	scripts/setup-tool sqlite3 >/dev/null
	$(BUILD)
	@# Most tests wait, for brokers, processes and disks: never fewer than four at once.
	cores=$$(getconf _NPROCESSORS_ONLN); export RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((cores < 4 ? 4 : cores))}; \
	  scripts/broker with auto cargo test --workspace --locked

chaos: ## the whole system under random faults, over RabbitMQ and embedded, a minute each; ARGS='--seconds 3600 --seed 7'
	scripts/broker install
	$(BUILD)
	"$${CARGO_TARGET_DIR:-target}/debug/chaos" $(ARGS)

chaos-broken: ## the same for three minutes with a rule broken on purpose, one after the other: each must be noticed; ARGS as for chaos
	scripts/broker install
	@# It stays what it is until the next build without the feature, and breaks nothing unless it is told to.
	cargo build --workspace --bins --features break-rules --locked
	for rule in acknowledge-before-commit confirm-not-awaited merge-not-a-join; do \
	  "$${CARGO_TARGET_DIR:-target}/debug/chaos" --break $$rule --seconds 180 $(ARGS); \
	done

bench: ## what it costs: throughput, latency, memory, beside the broker's own ceiling and a peer; ARGS=--quick for a first look
	scripts/broker install
	scripts/setup-tool strace >/dev/null || true
	cargo build --release --workspace --bins --bench system --locked
	mkdir -p target/bench
	@# On the disk of the repository: /tmp may be memory, where nothing is durable and everything fast.
	TMPDIR=$(CURDIR)/target/bench cargo bench --workspace --bench system --locked -- $(ARGS)

fuzz: ## looks for input that breaks something, ten minutes a target; ARGS=20 for 20 seconds each
	scripts/fuzz $(ARGS)

check-api: ## whether every answer is as the OpenAPI document says, asked by schemathesis for a minute; ARGS='--seed 7'
	$(BUILD)
	EBS_BIN="$${CARGO_TARGET_DIR:-target}/debug" scripts/api/check $(ARGS)

check-spam: ## a minute of `ebs spam` at a fixed rate, over RabbitMQ and embedded: no error, and the figures of statistics; ARGS=10 for 10 seconds
	scripts/broker install
	$(BUILD)
	EBS_TEST_SECONDS=$(or $(ARGS),60) scripts/broker with auto cargo test --workspace --locked --test system -- \
	  what_it_reports_is_what_the_system_has_counted --nocapture --test-threads 1

lint: ## format, clippy, documentation, licences and sources, unused dependencies, shell scripts
	cargo fmt --all --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked
	"$$(scripts/setup-tool cargo-deny)" --locked check --hide-inclusion-graph bans licenses sources
	"$$(scripts/setup-tool cargo-machete)" --skip-target-dir
	"$$(scripts/setup-tool shellcheck)" $(SHELL_SCRIPTS)

fmt: ## formats the code
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

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
