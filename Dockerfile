# One static program on an empty image. The image that builds it is named by its digest, since a tag can be moved to another one:
#   docker build --build-arg RUST=rust:1.95-bookworm@sha256:… -t programmatic-users .
ARG RUST=rust:1.95-bookworm
FROM ${RUST} AS build
ARG RUST
RUN case "$RUST" in *@sha256:*) ;; *) \
    echo "error: $RUST is no digest. 'docker buildx imagetools inspect $RUST' prints it: build with --build-arg RUST=$RUST@sha256:..." >&2; exit 1 ;; esac
WORKDIR /src
COPY . .
# The same source and the same compilers give the same program.
RUN make static

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/image/programmatic-users /programmatic-users
USER 65532:65532
ENTRYPOINT ["/programmatic-users"]
