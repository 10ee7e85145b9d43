# One static program in an empty image, with a policy and the public authorities: no shell, no libc, nothing to write to, not root.
# `tests/container.sh` does what these steps do without a container engine.

FROM rust:1.91-slim-bookworm AS build
WORKDIR /src
COPY . .
# Static glibc: the program resolves names by itself, so it needs nothing of NSS when it runs.
# With a target named, the flag does not reach build scripts and procedural macros.
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN cargo build --release --locked --bin sluicegate --target "$(rustc -vV | sed -n 's/^host: //p')" --target-dir /build
RUN install -D -m 0755 /build/*/release/sluicegate /image/sluicegate
RUN install -D -m 0644 policies/limited.yaml /image/etc/sluicegate/policies/limited.yaml
# Whom origins are verified by, where TLS is decrypted.
RUN install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt

FROM scratch
COPY --from=build /image/ /
USER 65532:65532
# The proxy is open to the container's network; the admin server to the container alone.
ENV SLUICEGATE_POLICY=/etc/sluicegate/policies
ENV SLUICEGATE_ADMIN=127.0.0.1:9901
EXPOSE 3128
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s CMD ["/sluicegate", "health"]
ENTRYPOINT ["/sluicegate"]
# A flag, not the environment, so that a configuration that is run instead has its own listeners.
CMD ["run", "--listen", "0.0.0.0:3128"]
