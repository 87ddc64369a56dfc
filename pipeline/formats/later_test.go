package formats_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/pipeline/build"
	"github.com/adastream/adastream/pipeline/build/buildtest"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/schemas"
)

// words are what a program says of an object of a later format.
const words = "; a later version of Adastream wrote it"

// present is the index as this version writes it.
func present(t *testing.T) *index {
	all := folders(t)
	slices.SortFunc(all, func(a, b string) int { return len(a) - len(b) }) // v10 is after v9
	return stored(t, filepath.Join(all[len(all)-1], "index"))
}

// laterRecord is a record of a kind as a later version might write it.
func laterRecord(kind string, body []byte) []byte {
	f := formatOf(kind)
	return bytes.Replace(body, fmt.Appendf(nil, `"format":%d,`, f.Writes), fmt.Appendf(nil, `"format":%d,"news":{"a":1},`, f.Writes+1), 1)
}

func formatOf(kind string) schemas.Format {
	all := schemas.Formats()
	return all[slices.IndexFunc(all, func(f schemas.Format) bool { return f.Kind == kind })]
}

// laterFile is a file as a later version might write it.
func laterFile(x *index, body []byte) []byte {
	x.Helper()
	r, err := ipc.NewFileReader(bytes.NewReader(body))
	if err != nil {
		x.Fatal(err)
	}
	defer r.Close()
	schema := r.Schema()
	keys, values := append(slices.Clone(schema.Metadata().Keys()), "adastream.news"), append(slices.Clone(schema.Metadata().Values()), "a")
	values[slices.Index(keys, schemas.MetaFormat)] = "2"
	metadata := arrow.NewMetadata(keys, values)
	var out bytes.Buffer
	w, err := ipc.NewFileWriter(&out, ipc.WithSchema(arrow.NewSchema(schema.Fields(), &metadata)))
	if err != nil {
		x.Fatal(err)
	}
	batch, err := r.RecordBatchAt(0)
	if err != nil {
		x.Fatal(err)
	}
	if err := errors.Join(w.Write(batch), w.Close()); err != nil {
		x.Fatal(err)
	}
	return out.Bytes()
}

// replace has another body under a key, which all that name it name now.
func (x *index) replace(key string, body []byte) {
	x.Helper()
	old := x.get(key)
	was, is := fmt.Sprintf("%x", sha256.Sum256(old)), fmt.Sprintf("%x", sha256.Sum256(body))
	names := strings.NewReplacer(fmt.Sprintf(`"size":%d,"sha256":%q`, len(old), was), fmt.Sprintf(`"size":%d,"sha256":%q`, len(body), is), was, is)
	x.put(names.Replace(key), body)
	for _, record := range x.keys("") {
		if strings.HasSuffix(record, ".arrow") {
			continue
		}
		body := string(x.get(record))
		switch named := names.Replace(body); {
		case strings.HasPrefix(record, "pages/") && named != body: // manifests name it by its own sum
			x.replace(record, []byte(named))
		default:
			x.put(record, []byte(named))
		}
	}
}

// Whatever a later version has written is refused for its format, and by its name.
func TestLaterFormatsAreRefused(t *testing.T) {
	m := present(t).newest()
	files := map[string]string{
		schemas.KindSegment: m.Segments[0].Key, schemas.KindRows: m.Chunks[0].Rows.Key, schemas.KindCodes: m.Chunks[0].Codes.Key, schemas.KindVectors: m.Chunks[0].Vectors.Key,
		schemas.KindTombstones: m.Tombstones[0].Key, schemas.KindDead: m.Dead.Key, schemas.KindModel: m.Model.Key, schemas.KindQuarantine: "",
	}
	if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, slices.Sorted(slices.Values(fileKinds))) {
		t.Fatalf("files of %v", got)
	}
	for kind, key := range files {
		t.Run(kind, func(t *testing.T) {
			x := present(t)
			if key == "" {
				key = x.keys("quarantine/")[0]
			}
			x.replace(key, laterFile(x, x.get(key)))
			x.isRefused(`adastream.format "2" is not known here, allowed: "1"` + words)
		})
	}
	for prefix, kind := range recordKinds {
		t.Run(kind, func(t *testing.T) {
			x := present(t)
			keys := x.keys(prefix)
			key := keys[len(keys)-1]
			if kind == "page" { // its name is a sum
				key = x.newest().Pages[0].Key
				x.replace(key, laterRecord(kind, x.get(key)))
			} else {
				x.put(key, laterRecord(kind, x.get(key)))
			}
			f := formatOf(kind)
			allowed := strings.ReplaceAll(strings.Trim(fmt.Sprint(f.Reads), "[]"), " ", ", ")
			x.isRefused(fmt.Sprintf("format: %d is not known here, allowed: %s%s", f.Writes+1, allowed, words))
		})
	}
}

// isRefused fails the test unless verify says so.
func (x *index) isRefused(want string) {
	x.Helper()
	log, err := commit.Open(x.Context(), x.bucket)
	if err == nil {
		x.log = log
		report, runErr := x.verify()
		if err = runErr; err == nil {
			err = errors.Join(report.Faults...)
		}
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		x.Errorf("%v, want %s", err, want)
	}
}

// laterGeneration publishes one of a later format, and promotes it.
func (x *index) laterGeneration() {
	x.Helper()
	key := x.keys("manifests/")
	newest := key[len(key)-1]
	m := x.newest()
	next := strings.Replace(newest, fmt.Sprintf("%020d", m.Generation), fmt.Sprintf("%020d", m.Generation+1), 1)
	x.put(next, bytes.Replace(laterRecord("manifest", x.get(newest)), fmt.Appendf(nil, `"generation":%d`, m.Generation), fmt.Appendf(nil, `"generation":%d`, m.Generation+1), 1))
	if _, err := x.log.Promote(x.Context(), x.channel(), schemas.Channel{Generation: m.Generation + 1, Reason: "test", By: "b"}); err != nil {
		x.Fatal(err)
	}
}

// A node that was forgotten serves what it has, and says why.
func TestNodeServesOnBeforeALaterVersion(t *testing.T) {
	x := present(t)
	n := x.node()
	before := x.ask(n, `{"like":"id-20"}`)
	x.laterGeneration()
	ready := func() string {
		w := httptest.NewRecorder()
		n.Ops().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		return fmt.Sprint(w.Code, " ", w.Body)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if got := ready(); strings.HasPrefix(got, "200 ok, but stale: ") && strings.Contains(got, words) {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("it takes no notice: /readyz: %s", got)
		}
	}
	if got := x.ask(n, `{"like":"id-20"}`); !sameHits(got, before) {
		t.Errorf("%v, before %v", got, before)
	}
}

// A builder ends before what a later version has written, whether that built or ingested.
func TestBuilderStopsBeforeALaterVersion(t *testing.T) {
	for name, change := range map[string]func(*index){
		"generation": (*index).laterGeneration,
		"commit": func(x *index) {
			keys := x.keys("commits/000000/")
			newest := keys[len(keys)-1]
			x.put(newest, laterRecord("commit", x.get(newest)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := present(t)
			change(x)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			x = x.in(x.bucket)
			b, err := build.New(build.Options{Log: x.log, Cache: buildtest.Cache(t, x.bucket), Level: avx.Generic, PublishEvery: time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Run(ctx); err == nil || !strings.Contains(err.Error(), words) || ctx.Err() != nil {
				t.Errorf("%v", err)
			}
		})
	}
}
