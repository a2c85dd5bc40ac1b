# Concord and its stand-in Stripe in one small image, without a shell: `docker build -t concord .`

FROM rust:1.95.0-slim-trixie AS chef
# What librdkafka and OpenSSL are built with.
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential cmake libssl-dev perl pkg-config \
    && rm -rf /var/lib/apt/lists/* \
    && cargo install cargo-chef --locked --version 0.1.78
WORKDIR /src

FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS build
# What it depends on, in a layer of its own: it is built again only when Cargo.lock changes.
COPY --from=plan /src/recipe.json recipe.json
COPY .cargo .cargo
RUN cargo chef cook --release --locked --recipe-path recipe.json --package concord --package sandbox
COPY . .
RUN cargo build --release --locked --package concord --package sandbox --bins \
    && mkdir -p /out/bin /out/data \
    && cp target/release/concord target/release/sandbox /out/bin/

FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=build /out/bin/ /usr/local/bin/
# A new volume mounted here belongs to this user.
COPY --from=build --chown=65532:65532 /out/data /data
ENV CONCORD_DATA_DIR=/data
VOLUME /data
USER 65532:65532
WORKDIR /data
EXPOSE 8000 8081
HEALTHCHECK --interval=10s --timeout=12s --start-period=60s CMD ["/usr/local/bin/concord", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/concord"]
CMD ["run"]
