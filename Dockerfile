# One static program on an empty image. Pin both stages by digest where images are made for others:
#   docker build --build-arg RUST=rust@sha256:… -t programmatic-users .
ARG RUST=rust:1.95-bookworm
FROM ${RUST} AS build
WORKDIR /src
COPY . .
# The same source gives the same program: fixed folder, locked dependencies, no paths and no times in it.
ENV SOURCE_DATE_EPOCH=0 CARGO_INCREMENTAL=0 \
    RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=/src=. --remap-path-prefix=/usr/local/cargo=cargo"
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
 && cargo build --locked --release --target "$target" \
 && install -D "target/$target/release/programmatic-users" /out/programmatic-users

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/programmatic-users /programmatic-users
USER 65532:65532
ENTRYPOINT ["/programmatic-users"]
