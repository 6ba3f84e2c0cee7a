# One file for the four services, for BuildKit and for the legacy builder:
#
#   docker build --target datagen --tag ebs-datagen .
#
# Stages: split -> dependencies -> build -> one final stage a service.

ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# --- split: the workspace in two, manifests with stubs here, sources there ------------------
# This stage runs again at every change. What the next stage copies from it is compared by its
# content, which a change to a source file leaves as it was.
FROM ${RUST_IMAGE} AS split
COPY . /context
RUN sh /context/scripts/containers/split-workspace /context /skeleton /sources

# --- dependencies: other people's crates, compiled once for each Cargo.lock ------------------
FROM ${RUST_IMAGE} AS dependencies
ENV CARGO_INCREMENTAL=0 \
    CARGO_NET_RETRY=10 \
    CARGO_TERM_COLOR=never
WORKDIR /ebs
COPY --from=split /skeleton ./
# `clean` throws the stubs' own artifacts away: cargo compares times, the real sources are
# older than this layer, and it would take the compiled stubs for fresh.
RUN cargo build --release --locked \
      --package datagen --package distributor --package processor --package statistics \
 && cargo clean --release --workspace \
 && test ! -e target/release/datagen \
 && test ! -e target/release/statistics

# --- build: our crates ----------------------------------------------------------------------
FROM dependencies AS build
COPY --from=split /sources ./
RUN cargo build --release --locked --offline \
      --package datagen --package distributor --package processor --package statistics \
 && mkdir -p /out/state/data \
 && cp target/release/datagen target/release/distributor \
       target/release/processor target/release/statistics /out/

# --- runtime: what the four images share -------------------------------------------------------
# No shell, no package manager; user 65532. Ports below 1024 are open to it, because Docker
# (since 20.10), Compose and the pods set net.ipv4.ip_unprivileged_port_start to 0.
FROM ${RUNTIME_IMAGE} AS runtime
ARG VERSION=unversioned
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="EBS" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV LISTEN=0.0.0.0:80
USER 65532:65532
EXPOSE 80

# --- datagen ---------------------------------------------------------------------------------
FROM runtime AS datagen
LABEL org.opencontainers.image.title="ebs-datagen" \
      org.opencontainers.image.description="EBS: the front door, accepts objects and publishes them"
ENV STATISTICS_URL=http://statistics
COPY --from=build /out/datagen /usr/local/bin/datagen
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["/usr/local/bin/datagen", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/datagen"]

# --- distributor -----------------------------------------------------------------------------
FROM runtime AS distributor
LABEL org.opencontainers.image.title="ebs-distributor" \
      org.opencontainers.image.description="EBS: splits objects into tasks"
COPY --from=build /out/distributor /usr/local/bin/distributor
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["/usr/local/bin/distributor", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/distributor"]

# --- processor -------------------------------------------------------------------------------
# For operations that a command executes it lacks the command, and any interpreter:
# libs/operations/OWN_OPERATIONS.md shows an image made from this one that has them.
FROM runtime AS processor
LABEL org.opencontainers.image.title="ebs-processor" \
      org.opencontainers.image.description="EBS: executes tasks"
COPY --from=build /out/processor /usr/local/bin/processor
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["/usr/local/bin/processor", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/processor"]

# --- statistics ------------------------------------------------------------------------------
# /data is the only place that it writes to, SQLite's temporary files included; an empty named
# volume takes over its owner.
FROM runtime AS statistics
LABEL org.opencontainers.image.title="ebs-statistics" \
      org.opencontainers.image.description="EBS: the record, merges every event and answers questions"
ENV DATABASE_URL=sqlite:///data/stats.db \
    SQLITE_TMPDIR=/data
COPY --from=build --chown=65532:65532 /out/state/ /
COPY --from=build /out/statistics /usr/local/bin/statistics
VOLUME /data
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["/usr/local/bin/statistics", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/statistics"]
