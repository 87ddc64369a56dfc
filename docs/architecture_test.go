// Package docs holds no code; this test holds the code to what architecture.md says of its imports.
package docs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/adastream/adastream/"

// layers from the bottom up: a package imports only its own layer and those below. Schemas may be read by everyone, and client, which other modules import, reads nothing else.
var layers = []string{"schemas", "client", "avx", "index", "pipeline", "cmd"}

// beside are what is not part of the product: nothing of the layers imports it.
var beside = []string{"bench", "docs", "internal"}

// order of the packages of index and pipeline, from the bottom up: a package imports only those before it.
var order = map[string][]string{
	"index":    {"arrowfile", "mrl", "kmeans", "coarse", "pca", "opq", "model", "segment", "snapshot", "filter", "search", "exact", "recall", "bulk", "eval", "capacity"},
	"pipeline": {"problem", "access", "trace", "store", "commit", "source", "events", "replica", "diff", "rebuild", "follow", "jsonrow", "registry", "ingest", "quarantine", "verify", "build", "serve", "fanout", "ui", "files", "export", "produce", "load"},
}

// apart are the stages of the pipeline, which know one another only through what is stored.
var apart = []string{"pipeline/ingest", "pipeline/build", "pipeline/serve"}

// outside are what the pure index must not know: network, bucket, log, flags, clock-driven work.
var outside = []string{"net/http", "log/slog", "flag", "github.com/segmentio/kafka-go", "github.com/minio/minio-go/v7", "github.com/prometheus/client_golang/prometheus", "github.com/alecthomas/kong"}

type goPackage struct {
	ImportPath string
	GoFiles    []string // without tests
	Imports    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,GoFiles,Imports", module+"...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 20 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

func TestImportsGoDown(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, module)
		if slices.Contains(beside, first(from)) {
			continue
		}
		layer := slices.Index(layers, first(from))
		if layer < 0 {
			t.Errorf("%s is in no layer, %s, and not beside them, %s", from, strings.Join(layers, " < "), strings.Join(beside, ", "))
			continue
		}
		if order[first(from)] != nil && len(p.GoFiles) > 0 {
			place(t, from)
		}
		for _, imported := range p.Imports {
			if layers[layer] == "index" && slices.Contains(outside, imported) {
				t.Errorf("%s imports %s: the index is pure", from, imported)
			}
			to, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			if target := slices.Index(layers, first(to)); target < 0 || target > layer {
				t.Errorf("%s imports %s: imports go down, %s", from, to, strings.Join(layers, " < "))
			}
			if slices.Contains(apart, stage(from)) && slices.Contains(apart, stage(to)) && stage(from) != stage(to) {
				t.Errorf("%s imports %s: the stages know one another only through what is stored", from, to)
			}
			if first(from) == first(to) && order[first(from)] != nil {
				a, b := place(t, from), place(t, to)
				if b > a {
					t.Errorf("%s imports %s: the order is %s", from, to, strings.Join(order[first(from)], ", "))
				}
			}
		}
	}
}

// architecture.md has the packages in their order, each on a line.
func TestPackagesAreListed(t *testing.T) {
	text, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, layer := range layers {
		listed := []string{layer}
		if order[layer] != nil {
			listed = nil
			for _, name := range order[layer] {
				listed = append(listed, layer+"/"+name)
			}
		}
		for _, name := range listed {
			line := bytes.Index(text[at:], []byte("\n"+name+" "))
			if line < 0 {
				t.Fatalf("architecture.md does not list %s, or not after those that it may import", name)
			}
			at += line
		}
	}
}

func first(path string) string { return strings.SplitN(path, "/", 2)[0] }

func stage(path string) string {
	parts := strings.SplitN(path, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}

// place is where a package stands in its layer's order. A package that is not listed has no place: list it.
func place(t *testing.T, path string) int {
	t.Helper()
	parts := strings.Split(path, "/")
	if len(parts) < 2 {
		return 0
	}
	i := slices.Index(order[parts[0]], parts[1])
	if i < 0 {
		t.Errorf("%s: package %s has no place in the order of %s", path, parts[1], parts[0])
	}
	return i
}
