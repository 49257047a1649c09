# syntax=docker/dockerfile:1
# One build, one small image per binary: docker build --target api .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin waybill-api --bin waybill-worker --bin waybill-scheduler \
        --bin waybill-sandbox --bin waybill \
    && mkdir /out \
    && cp target/release/waybill-api target/release/waybill-worker target/release/waybill-scheduler \
        target/release/waybill-sandbox target/release/waybill /out/

FROM debian:bookworm-slim AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/waybill --create-home waybill
# `waybill health URL` is what the health checks call.
COPY --from=build /out/waybill /usr/local/bin/waybill
USER waybill
WORKDIR /var/lib/waybill
ENV WAYBILL_LOG__FORMAT=json
# tini passes SIGTERM on and reaps: the binaries are not written to be process 1.
ENTRYPOINT ["/usr/bin/tini", "--"]

FROM base AS api
COPY --from=build /out/waybill-api /usr/local/bin/waybill-api
ENV WAYBILL_API__LISTEN=0.0.0.0:8080
EXPOSE 8080
CMD ["waybill-api"]

FROM base AS worker
COPY --from=build /out/waybill-worker /usr/local/bin/waybill-worker
ENV WAYBILL_WORKER__OPS_LISTEN=0.0.0.0:9090
EXPOSE 9090
CMD ["waybill-worker"]

FROM base AS scheduler
COPY --from=build /out/waybill-scheduler /usr/local/bin/waybill-scheduler
ENV WAYBILL_SCHEDULER__OPS_LISTEN=0.0.0.0:9090
EXPOSE 9090
CMD ["waybill-scheduler"]

FROM base AS sandbox
COPY --from=build /out/waybill-sandbox /usr/local/bin/waybill-sandbox
EXPOSE 8090
CMD ["waybill-sandbox", "--listen", "0.0.0.0:8090"]
