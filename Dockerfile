# One static program on an empty image. Pin both stages by digest where images are made for others:
#   docker build --build-arg RUST=rust@sha256:… -t programmatic-users .
ARG RUST=rust:1.95-bookworm
FROM ${RUST} AS build
WORKDIR /src
COPY . .
# The same source and the same compilers give the same program.
RUN make static

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/image/programmatic-users /programmatic-users
USER 65532:65532
ENTRYPOINT ["/programmatic-users"]
