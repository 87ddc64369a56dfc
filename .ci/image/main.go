// Command image makes the container image of a release without a container daemon: an OCI layout in a tar file, for both platforms.
//
//	image --version=0.1.0 --revision=... --created=2026-05-04T03:02:01Z --out=image.tar amd64=DIR arm64=DIR
//
// A folder has what .ci/release.sh has packed: the programs and the texts of licences. The image has nothing else but certificate
// authorities, a user and a folder for temporary files: no shell, no package manager, no libc. The same input gives the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	user       = 65532 // as in distroless images, and in the chart
	tagged     = "org.opencontainers.image.ref.name"
	binaries   = "/usr/local/bin"
	licences   = "/usr/share/licenses/adastream"
	cacheHome  = "/var/cache" // the chart mounts a volume at /var/cache/adastream
	roots      = "/etc/ssl/certs/ca-certificates.crt"
	sourceRepo = "https://github.com/adastream/adastream"
)

var programs = []string{"adastream", "builder", "ingestor", "query"}

type options struct {
	version, revision string
	created           time.Time
	out               string
	folders           map[string]string // by architecture
}

func main() {
	o := options{folders: map[string]string{}}
	created := ""
	flag.StringVar(&o.version, "version", "", "semantic version")
	flag.StringVar(&o.revision, "revision", "", "commit that it is made of")
	flag.StringVar(&created, "created", "", "RFC 3339 time of the image and of all in it")
	flag.StringVar(&o.out, "out", "", "tar file to write")
	flag.Parse()
	var err error
	if o.created, err = time.Parse(time.RFC3339, created); err != nil {
		fail(err)
	}
	for _, arg := range flag.Args() {
		arch, folder, _ := strings.Cut(arg, "=")
		o.folders[arch] = folder
	}
	if err := write(o); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "image:", err)
	os.Exit(1)
}

// write makes the tar file.
func write(o options) error {
	o.created = o.created.UTC()
	work, err := os.MkdirTemp("", "image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range slices.Sorted(maps.Keys(o.folders)) {
		image, err := imageOf(o, arch)
		if err != nil {
			return fmt.Errorf("%s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	l, err := layout.Write(work, empty.Index)
	if err != nil {
		return err
	}
	if err := l.AppendIndex(index, layout.WithAnnotations(map[string]string{tagged: o.version})); err != nil {
		return err
	}
	return pack(work, o.out, o.created)
}

func imageOf(o options, arch string) (v1.Image, error) {
	files, err := layerOf(o.folders[arch], o.created)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil }, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: ".ci/image.sh", Created: v1.Time{Time: o.created}}})
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", arch, v1.Time{Time: o.created}
	file.Config = v1.Config{
		User:       fmt.Sprintf("%d:%d", user, user),
		Entrypoint: []string{binaries + "/adastream"},
		Cmd:        []string{"--help"},
		Env:        []string{"PATH=" + binaries, "SSL_CERT_FILE=" + roots, "XDG_CACHE_HOME=" + cacheHome},
		WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title": "adastream", "org.opencontainers.image.version": o.version, "org.opencontainers.image.revision": o.revision,
			"org.opencontainers.image.created": o.created.Format(time.RFC3339), "org.opencontainers.image.licenses": "Apache-2.0", "org.opencontainers.image.source": sourceRepo,
			"org.opencontainers.image.description": "Live nearest-neighbour search over Matryoshka embeddings",
		},
	}
	return mutate.ConfigFile(image, file)
}

// layerOf is the file system: the programs and licences of a folder, and what programs expect of a system.
func layerOf(folder string, created time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := newArchive(&out, created)
	w.file("/etc/passwd", 0o644, []byte(fmt.Sprintf("root:x:0:0:root:/:/none\nadastream:x:%d:%d:adastream:%s:/none\n", user, user, cacheHome)))
	w.file("/etc/group", 0o644, []byte(fmt.Sprintf("root:x:0:\nadastream:x:%d:\n", user)))
	w.file(roots, 0o644, authorities())
	w.folder("/tmp", 0o1777)
	w.folder(cacheHome+"/adastream", 0o1777)
	for _, name := range programs {
		body, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return nil, err
		}
		w.file(binaries+"/"+name, 0o755, body)
	}
	texts := os.DirFS(folder)
	err := fs.WalkDir(texts, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name != "LICENSE" && !strings.HasPrefix(name, "licences/") {
			return err
		}
		body, err := fs.ReadFile(texts, name)
		if err == nil {
			w.file(licences+"/"+strings.TrimPrefix(name, "licences/"), 0o644, body)
		}
		return err
	})
	if err := errors.Join(err, w.close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// authorities are Mozilla's, without those that it trusts within limits only, which a file cannot tell.
func authorities() []byte {
	var out bytes.Buffer
	for r := range bundle.Roots() {
		if r.Constraint == nil {
			out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate}))
		}
	}
	return out.Bytes()
}

// archive is a tar file that says nothing of who made it.
type archive struct {
	tar     *tar.Writer
	created time.Time
	folders map[string]bool
	faults  []error
}

func newArchive(w io.Writer, created time.Time) *archive {
	return &archive{tar: tar.NewWriter(w), created: created, folders: map[string]bool{}}
}

func (a *archive) close() error { return errors.Join(append(a.faults, a.tar.Close())...) }

func (a *archive) file(name string, mode int64, body []byte) {
	a.folder(path.Dir(name), 0o755)
	err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name[1:], Mode: mode, Size: int64(len(body)), ModTime: a.created, Format: tar.FormatUSTAR})
	if err == nil {
		_, err = a.tar.Write(body)
	}
	a.faults = append(a.faults, err)
}

// folder makes one with those above it, once.
func (a *archive) folder(name string, mode int64) {
	if name == "/" || a.folders[name] {
		return
	}
	a.folder(path.Dir(name), 0o755)
	a.folders[name] = true
	a.faults = append(a.faults, a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name[1:] + "/", Mode: mode, ModTime: a.created, Format: tar.FormatUSTAR}))
}

// pack writes a folder as a tar file.
func pack(folder, to string, created time.Time) error {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	w := newArchive(f, created)
	err = filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(name)
		if err == nil {
			w.file(strings.TrimPrefix(filepath.ToSlash(name), filepath.ToSlash(folder)), 0o644, body)
		}
		return err
	})
	return errors.Join(err, w.close(), f.Close())
}
