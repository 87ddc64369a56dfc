package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// packed is a folder like those that releases are packed of.
func packed(t *testing.T, arch string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range append(slices.Clone(programs), "LICENSE", "README.md", "licences/go/LICENSE", "licences/"+strings.Repeat("long/", 25)+"LICENSE") {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(name+arch), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func written(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image.tar")
	err := write(options{version: "0.1.0", revision: "abc", created: time.Date(2026, 5, 4, 3, 2, 1, 0, time.FixedZone("", 3600)), out: out,
		folders: map[string]string{"arm64": packed(t, "arm64"), "amd64": packed(t, "amd64")}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// open unpacks an image, and returns its index of platforms.
func open(t *testing.T, file string) v1.ImageIndex {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(to, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		body, err := io.ReadAll(r)
		if err == nil {
			err = os.WriteFile(to, body, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := outer.IndexManifest()
	if err != nil || len(m.Manifests) != 1 || m.Manifests[0].Annotations[tagged] != "0.1.0" {
		t.Fatalf("%+v, %v", m, err)
	}
	index, err := outer.ImageIndex(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestImage(t *testing.T) {
	index := open(t, written(t))
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 2 {
		t.Fatalf("%+v, %v", m, err)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		if p := m.Manifests[i].Platform; p == nil || p.OS != "linux" || p.Architecture != arch {
			t.Errorf("platform %d: %v", i, p)
		}
		image, err := index.Image(m.Manifests[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		file, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		c := file.Config
		if file.Architecture != arch || c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/usr/local/bin/adastream"}) || c.Labels["org.opencontainers.image.revision"] != "abc" ||
			!slices.Contains(c.Env, "PATH=/usr/local/bin") {
			t.Errorf("%s: %+v", arch, file)
		}
		layers, err := image.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("%d layers, %v", len(layers), err)
		}
		body, err := layers[0].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		if layer, err := io.ReadAll(body); err != nil || !bytes.HasSuffix(layer, make([]byte, 1024)) {
			t.Errorf("%s: the layer has no end, %v", arch, err)
		}
		files := map[string]*tar.Header{}
		bodies := map[string][]byte{}
		for r := tar.NewReader(mutate.Extract(image)); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(h.Name, "/")
			files[name] = h
			if bodies[name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
			if h.Uid != 0 || h.Mode&0o022 != 0 && h.Mode != 0o1777 {
				t.Errorf("%s: %+v", arch, h)
			}
		}
		for _, program := range programs {
			h := files["usr/local/bin/"+program]
			if h == nil || h.Mode != 0o755 || string(bodies["usr/local/bin/"+program]) != program+arch {
				t.Errorf("%s: %s: %+v", arch, program, h)
			}
		}
		for _, name := range []string{"tmp", "var/cache/adastream"} {
			if h := files[name]; h == nil || h.Mode != 0o1777 {
				t.Errorf("%s: %s: %+v", arch, name, h)
			}
		}
		for _, name := range []string{"LICENSE", "go/LICENSE", strings.Repeat("long/", 25) + "LICENSE"} {
			if files["usr/share/licenses/adastream/"+name] == nil {
				t.Errorf("%s: no %s", arch, name)
			}
		}
		if x509.NewCertPool().AppendCertsFromPEM(bodies["etc/ssl/certs/ca-certificates.crt"]) == false || bytes.Count(bodies["etc/ssl/certs/ca-certificates.crt"], []byte("BEGIN")) < 100 {
			t.Errorf("%s: authorities", arch)
		}
		if files["usr/local/bin/README.md"] != nil || files["bin/sh"] != nil {
			t.Errorf("%s has more than it should", arch)
		}
	}
}

func TestImageIsReproducible(t *testing.T) {
	a, err := os.ReadFile(written(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(written(t))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("the same input gave different bytes")
	}
}

func TestImageWantsAllPrograms(t *testing.T) {
	dir := packed(t, "amd64")
	if err := os.Remove(filepath.Join(dir, "query")); err != nil {
		t.Fatal(err)
	}
	if err := write(options{out: filepath.Join(t.TempDir(), "image.tar"), folders: map[string]string{"amd64": dir}}); err == nil || !strings.Contains(err.Error(), "query") {
		t.Errorf("%v", err)
	}
}

// The Dockerfile makes the same image, by the toolchain of releases.
func TestDockerfile(t *testing.T) {
	read := func(name string) string {
		body, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(body))
	}
	file, script := read("Dockerfile"), read(".ci/release.sh")
	for _, want := range []string{
		"golang:" + read(".go-version") + " ", "USER 65532:65532\n", `ENTRYPOINT ["/usr/local/bin/adastream"]`, "PATH=" + binaries + " ", "SSL_CERT_FILE=" + roots + " ", "XDG_CACHE_HOME=" + cacheHome + "\n",
		"chmod 1777 tmp var/cache/adastream", "CGO_ENABLED=0", "-trimpath",
	} {
		if !strings.Contains(file, want) {
			t.Errorf("the Dockerfile has no %q", want)
		}
	}
	for _, name := range []string{"ci", "nightly", "release"} {
		if name = ".github/workflows/" + name + ".yml"; !strings.Contains(read(name), "golang:"+read(".go-version")+"-") {
			t.Errorf("%s is by another toolchain than .go-version", name)
		}
	}
	const stamp = "-s -w -buildid= -X github.com/adastream/adastream/cmd/internal/cli.stamp="
	for name, text := range map[string]string{"Dockerfile": file, ".ci/release.sh": script} {
		if !strings.Contains(text, stamp) {
			t.Errorf("%s does not link with %q", name, stamp)
		}
	}
	for _, folder := range []string{"avx", "client", "cmd", "index", "internal", "pipeline", "schemas", "go.mod", "LICENSE"} {
		if !strings.Contains(read(".dockerignore"), "\n!"+folder+"\n") {
			t.Errorf(".dockerignore leaves out %s", folder)
		}
	}
}
