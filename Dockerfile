# The gateway in an image: docker build -t wsplice-gateway .
#
#     docker run --rm -p 3000:3000 wsplice-gateway --listen 0.0.0.0:3000 --upstream ws://10.0.0.1:8080
#
# Without arguments it is the demo. The process is not root, needs no writable file system, and drains
# at SIGTERM for --drain-timeout (30 s): give `docker stop --time` and terminationGracePeriodSeconds more
# than that.

FROM rust:1-slim-trixie AS build
WORKDIR /src
COPY . .
RUN CARGO_PROFILE_DIST_STRIP=true cargo build --locked --profile dist -p wsplice-gateway

FROM debian:trixie-slim
# For --upstream-system-ca; Mozilla's roots are built in.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/dist/wsplice-gateway /usr/local/bin/wsplice-gateway
# A number, so that Kubernetes' runAsNonRoot can see that it is not 0.
USER 65532:65532
EXPOSE 3000
STOPSIGNAL SIGTERM
ENTRYPOINT ["wsplice-gateway"]
CMD ["--listen", "0.0.0.0:3000"]
