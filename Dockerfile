# For those who have Docker:
#
#   docker build --build-arg VERSION=0.1.0+$(git rev-parse HEAD) -t adastream .
#
# The images of releases are made by .ci/release.sh, which needs none; both have the same files in the same places.
FROM --platform=$BUILDPLATFORM golang:1.26.11 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETARCH
# A semantic version, and after a plus sign the revision.
ARG VERSION=
RUN CGO_ENABLED=0 GOOS=linux GOARCH=$TARGETARCH go build -o /root-fs/usr/local/bin/ -trimpath -buildvcs=false \
      -ldflags "-s -w -buildid= -X github.com/adastream/adastream/cmd/internal/cli.stamp=$VERSION" ./cmd/...
RUN cd /root-fs && mkdir -p etc/ssl/certs tmp usr/share/licenses/adastream var/cache/adastream && chmod 1777 tmp var/cache/adastream && \
    cp /src/LICENSE usr/share/licenses/adastream/ && cp /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ && \
    printf 'root:x:0:0:root:/:/none\nadastream:x:65532:65532:adastream:/var/cache:/none\n' > etc/passwd && \
    printf 'root:x:0:\nadastream:x:65532:\n' > etc/group

FROM scratch
COPY --from=build /root-fs /
ENV PATH=/usr/local/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt XDG_CACHE_HOME=/var/cache
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/adastream"]
CMD ["--help"]
LABEL org.opencontainers.image.title=adastream \
      org.opencontainers.image.description="Live nearest-neighbour search over Matryoshka embeddings" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.source=https://github.com/adastream/adastream
