package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/pipeline/store/storetest"
	"github.com/adastream/adastream/schemas"
)

func loadIndex(t *testing.T, b store.Bucket) {
	t.Helper()
	spec := schemas.Spec{Name: "n", Ladder: []int{4}, Encoder: "e", Topic: schemas.Topic{Name: "t", Partitions: 2}, Loads: 2}.WithDefaults()
	if err := commit.Create(t.Context(), b, &spec); err != nil {
		t.Fatal(err)
	}
}

func rowsFile(from, n int) []byte {
	var b strings.Builder
	for i := from; i < from+n; i++ {
		fmt.Fprintf(&b, `{"id":"i%d","vector":[%d,1,2,3]}`+"\n", i, i)
	}
	return []byte(b.String())
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	b, err := store.Open(t.Context(), filepath.Join(dir, "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	loadIndex(t, b)
	file := filepath.Join(dir, "rows.jsonl")
	if err := os.WriteFile(file, rowsFile(0, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	c := loadCommand{Store: cli.Store{Store: filepath.Join(dir, "store")}, Name: "load", Part: "0/1", Encoder: "e", Files: []string{file}, JSON: true, Ops: freeAddress(t)}
	run := func() error { return c.Run(t.Context(), &cli.Logging{}) }
	for _, already := range []bool{false, true} {
		var got loaded
		described(t, "load", stdout(t, run), &got)
		if got.Already != already || got.Rows+got.Read != map[bool]int64{false: 6, true: 0}[already] || got.Parts != 1 || got.Timestamp.IsZero() {
			t.Errorf("%+v", got)
		}
	}
	c.JSON, c.Name = false, "next"
	if out := stdout(t, run); !strings.Contains(out, "part 0/1 of load next: 3 rows and 0 deletes loaded, 0 quarantined, 0 already present, in ") {
		t.Error(out)
	}
	defer func() { // none of the refused ones was begun
		c.Name = "last"
		if out := stdout(t, run); !strings.Contains(out, "load last: 3 rows") {
			t.Error(out)
		}
	}()
	for want, change := range map[string]func(c *loadCommand){
		`--part "1/1", allowed: i/n with i from 0 to n-1, as 0/4`: func(c *loadCommand) { c.Part = "1/1" },
		`--part "one", allowed: i/n`:                              func(c *loadCommand) { c.Part = "one" },
		"parts of a load: 3, allowed: 1 to 2":                     func(c *loadCommand) { c.Part = "0/3" },
		"no such file":                                            func(c *loadCommand) { c.Files = []string{file + "x"} },
		"not a regular file":                                      func(c *loadCommand) { c.Files = []string{dir} },
		`rows.jsonl: its vectors are of the encoder "f", the index is for "e"`: func(c *loadCommand) { c.Encoder, c.Name = "f", "wrong" },
		"needs exactly one file, got 2":                                        func(c *loadCommand) { c.Files, c.IDs = []string{file, file}, file },
	} {
		changed := c
		change(&changed)
		if err := changed.Run(t.Context(), &cli.Logging{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A file of ids is one of the files that a load goes on with: with others the rows that are left would have the ids of other rows.
func TestLoad_otherIDs(t *testing.T) {
	dir := t.TempDir()
	b, err := store.Open(t.Context(), filepath.Join(dir, "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	loadIndex(t, b)
	file, ids := filepath.Join(dir, "rows.fvecs"), filepath.Join(dir, "ids.txt")
	row := []byte{4, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0x80, 0x3f, 0, 0, 0x80, 0x3f, 0, 0, 0x80, 0x3f}
	c := loadCommand{Store: cli.Store{Store: filepath.Join(dir, "store")}, Name: "load", Part: "0/1", Encoder: "e", Files: []string{file}, IDs: ids}
	if err := errors.Join(os.WriteFile(file, append(row, row...), 0o600), os.WriteFile(ids, []byte("a\nb\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 rows and 0 deletes loaded", "already loaded"} {
		if out := stdout(t, func() error { return c.Run(t.Context(), &cli.Logging{}) }); !strings.Contains(out, want) {
			t.Errorf("%s, want %q", out, want)
		}
	}
	if err := os.WriteFile(ids, []byte("a\nother\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context(), &cli.Logging{}); err == nil || !strings.Contains(err.Error(), "a load goes on with the same files") {
		t.Errorf("%v, want to be told of other files", err)
	}
}

// Files may be objects of a bucket, and all that a pattern fits.
func TestLoad_objects(t *testing.T) {
	from, to := storetest.S3URL(t), storetest.URL(t)
	b, err := store.Open(t.Context(), to, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	loadIndex(t, b)
	files, err := store.Open(t.Context(), from, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, called := range []string{"rows-0.jsonl", "rows-100%25#1.jsonl", "rows-what?.jsonl"} {
		if err := files.PutIfAbsent(t.Context(), called, rowsFile(10*i, 5)); err != nil {
			t.Fatal(err)
		}
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err = z.Write(rowsFile(30, 5))
	if err := errors.Join(err, z.Close(), files.PutIfAbsent(t.Context(), "rows-3.jsonl.gz", packed.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := files.PutIfAbsent(t.Context(), "below/rows-9.jsonl", rowsFile(90, 5)); err != nil {
		t.Fatal(err)
	}
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	place, query, _ := strings.Cut(from, "?")
	rows := int64(0)
	for part := range 2 {
		c := loadCommand{Store: cli.Store{Store: to}, Name: "load", Part: fmt.Sprintf("%d/2", part), Encoder: "e", Files: []string{place + "/rows-*.jsonl*?" + query}, JSON: true}
		var got loaded
		if err := json.Unmarshal([]byte(stdout(t, func() error { return c.Run(t.Context(), &cli.Logging{}) })), &got); err != nil {
			t.Fatal(err)
		}
		rows += got.Rows
	}
	if rows != 20 {
		t.Errorf("%d rows were loaded, want 20", rows)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("%d temporary files are left, %v", len(left), err)
	}
	c := loadCommand{Store: cli.Store{Store: to}, Name: "load", Part: "0/2", Encoder: "e", Files: []string{place + "/none-*.jsonl?" + query}}
	if err := c.Run(t.Context(), &cli.Logging{}); err == nil || !strings.Contains(err.Error(), "no such object") {
		t.Errorf("%v, want to be told that there is none", err)
	}
	c.Files = []string{place + "/rows-0.jsonl#1?" + query}
	if err := c.Run(t.Context(), &cli.Logging{}); err == nil || !strings.Contains(err.Error(), "%23") {
		t.Errorf("%v, want to be told how # is written", err)
	}
}

// cutting serves one object as S3 does, but all of it once at most, of which it breaks off in the middle; then it is away for a request, and of
// another time if it is replaced.
type cutting struct {
	body     []byte
	replaced bool
	asked    []string // ranges
}

func (c *cutting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	modified := time.Unix(1e9, 0)
	if r.Method == http.MethodGet {
		c.asked = append(c.asked, r.Header.Get("Range"))
	}
	switch n := len(c.asked); {
	case r.Method == http.MethodGet && n == 1:
		w.Header().Set("Content-Length", strconv.Itoa(len(c.body)))
		w.Header().Set("Last-Modified", modified.UTC().Format(http.TimeFormat))
		_, _ = w.Write(c.body[:len(c.body)/2])
		panic(http.ErrAbortHandler)
	case r.Method == http.MethodGet && n == 2:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case n > 0 && c.replaced:
		modified = modified.Add(time.Second)
	}
	http.ServeContent(w, r, "", modified, bytes.NewReader(c.body))
}

// A download that breaks off goes on where it was. What it came to be of two objects is none.
func TestLoad_cutDownloads(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("TMPDIR", t.TempDir())
	for _, replaced := range []bool{false, true} {
		place := filepath.Join(t.TempDir(), "store")
		b, err := store.Open(t.Context(), place, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		loadIndex(t, b)
		objects := &cutting{body: rowsFile(0, 3000), replaced: replaced}
		server := httptest.NewServer(objects)
		defer server.Close()
		c := loadCommand{Store: cli.Store{Store: place}, Name: "load", Part: "0/1", Encoder: "e", Files: []string{"s3://bucket/rows.jsonl?endpoint=" + server.URL}}
		var failed error
		out := stdout(t, func() error { failed = c.Run(t.Context(), &cli.Logging{}); return nil })
		switch {
		case replaced && (failed == nil || !strings.Contains(failed.Error(), ": was replaced while being read")):
			t.Errorf("of an object that was replaced: %v", failed)
		case !replaced && (failed != nil || !strings.Contains(out, "3000 rows")):
			t.Errorf("%s, %v, asked for %q", out, failed, objects.asked)
		case len(objects.asked) != 3 || !strings.HasSuffix(objects.asked[2], fmt.Sprint("-", len(objects.body)-1)):
			t.Errorf("asked for the ranges %q", objects.asked)
		}
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("%d temporary files are left, %v", len(left), err)
	}
}
