package load

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// What is done, or begun by another part, is of its files: others under the same name are told, not taken for loaded; and of parts that
// disagree about the files some would be of none.
func TestLoad_otherFilesOfTheSameName(t *testing.T) {
	names := write(t, []string{line("a", 1)}, []string{line("b", 1)})
	reversed, more := []string{names[1], names[0]}, write(t, []string{line("c", 1)}, []string{line("d", 1), line("e", 1)})
	shards := open(t, store.NewMemory(), testSpec(1, 3))
	if report, err := Run(t.Context(), options(t, shards, names, 0, 2)); err != nil || report.Rows != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	for what, o := range map[string]Options{
		"other files":                     options(t, shards, more, 0, 2),
		"other parts":                     options(t, shards, names, 0, 1),
		"another order, of another part":  options(t, shards, reversed, 1, 2),
		"other parts, of another part":    options(t, shards, names, 1, 3),
		"another time, of another part":   func() Options { o := options(t, shards, names, 1, 2); o.Timestamp = time.UnixMilli(5); return o }(),
		"another time of what was loaded": func() Options { o := options(t, shards, names, 0, 2); o.Timestamp = time.UnixMilli(5); return o }(),
	} {
		if report, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "it was begun with 2 parts, timestamp ") || !strings.Contains(err.Error(), "another load has another name") {
			t.Errorf("%s: %+v, %v", what, report, err)
		}
	}
	if report, err := Run(t.Context(), options(t, shards, names, 1, 2)); err != nil || report.Rows != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	check(t, shards, map[string]string{"a": fmt.Sprint([]float32{1, 1, 2, 3}), "b": fmt.Sprint([]float32{1, 1, 2, 3})}, 0)
}

func TestLoad_refusals(t *testing.T) {
	names := write(t, []string{line("a", 1), line("b", 1)})
	b := store.NewMemory()
	shards := open(t, b, testSpec(1, 3))
	k := &killer{Bucket: b}
	k.left.Store(1)
	over, err := commit.OpenShards(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), options(t, over, names, 0, 1)); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	bad := make([]string, 1200)
	for i := range bad {
		bad[i] = fmt.Sprintf(`{"id":"x%d","vector":[0,0,0,0]}`, i)
	}
	for want, change := range map[string]func(*Options){
		`load second, part 0 of 1: load "first" of this part is not done: run it again until it is, or end it where it is with --abandon`: func(o *Options) { o.Name = "second" },
		"a load goes on with the same files, parts and timestamp":                                                                         func(o *Options) { o.Parts = 2 },
		"it was begun with 1 parts, timestamp ":                                                                                           func(o *Options) { o.Timestamp = time.UnixMilli(5) },
		"now there are 1 parts":                                                                                                           func(o *Options) { o.Input = strings.Repeat("0", 64) },
		"parts of a load: 4, allowed: 1 to 3, the loads of the index spec":                                                                func(o *Options) { o.Parts = 4 },
		"part of a load: 2, allowed: 0 to 1":                                                                                              func(o *Options) { o.Part, o.Parts = 2, 2 },
		`load.name: "a b"`:                                                                                                                func(o *Options) { o.Name = "a b" },
		"files of a load: 0":                                                                                                              func(o *Options) { o.Files = nil },
		`its vectors are of the encoder "f", the index is for "e"`: func(o *Options) {
			o.Open = func(name string, _, _ int64) (*files.Reader, error) {
				return files.Open(name, files.Options{Encoder: "f"})
			}
		},
		"the file does not name the encoder": func(o *Options) {
			o.Open = func(name string, _, _ int64) (*files.Reader, error) { return files.Open(name, files.Options{}) }
		},
		"1200 of the 1200 rows from 0 of the part on are refused, allowed: 90 %; the first one: zero_vector": func(o *Options) {
			o.Part, o.Parts, o.Name, o.Files = 0, 1, "first", write(t, bad)
		},
	} {
		o := options(t, shards, names, 0, 1)
		change(&o)
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	o := options(t, shards, names, 0, 1)
	o.Name, o.Abandon = "second", true
	if report, err := Run(t.Context(), o); err != nil || report.Rows != 2 {
		t.Errorf("abandoned: %+v, %v", report, err)
	}
	none := open(t, store.NewMemory(), testSpec(1, 0))
	if _, err := Run(t.Context(), options(t, none, names, 0, 1)); err == nil || !strings.Contains(err.Error(), "made with --loads=N") {
		t.Errorf("%v, want to be told of --loads", err)
	}
}

// Rows that are numbered have the same numbers whichever part reads them.
func TestLoad_numberedRows(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for i := range 3 {
		var body []byte
		for row := range i + 2 {
			body = append(body, 4, 0, 0, 0)
			body = append(body, bytes.Repeat([]byte{0, 0, 0x80, 0x3f}, 3)...)
			body = append(body, 0, 0, byte(0x80+row), 0x40)
		}
		names = append(names, filepath.Join(dir, fmt.Sprint(i, ".fvecs")))
		if err := os.WriteFile(names[i], body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shards := open(t, store.NewMemory(), testSpec(1, 2))
	for part := range 2 {
		o, opened := options(t, shards, names, part, 2), 0
		inner := o.Open
		o.Open = func(name string, first, skip int64) (*files.Reader, error) {
			opened++ // which is a download, of an object
			return inner(name, first, skip)
		}
		if _, err := Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if want := []int{4, 3}[part]; opened != want { // each of its own twice, but for the first of all, and those between once
			t.Errorf("part %d opens files %d times, want %d", part, opened, want)
		}
	}
	live, _, _ := state(t, shards)
	if got := slices.Sorted(maps.Keys(live)); !slices.Equal(got, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8"}) {
		t.Errorf("ids %v", got)
	}
}

// A float has no point in JSON where it happens to be whole: rows are loaded also where all of a batch are, as the last few of a file may be.
func TestLoad_wholeFloats(t *testing.T) {
	spec := testSpec(1, 1)
	spec.Attributes = []schemas.Attribute{{Name: "price", Type: schemas.AttributeFloat}}
	shards := open(t, store.NewMemory(), spec)
	names := write(t, []string{`{"id":"a","vector":[1,2,3,4],"price":0.5}`}, []string{`{"id":"b","vector":[1,2,3,4],"price":3}`, `{"id":"c","vector":[1,2,3,4],"price":null}`})
	if report, err := Run(t.Context(), options(t, shards, names, 0, 1)); err != nil || report.Rows != 3 || report.Quarantined != 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

// A value of another kind in lines of JSON costs its own row, a column of another type in all of a file the load.
func TestLoad_otherKinds(t *testing.T) {
	spec := testSpec(1, 1)
	spec.Attributes = []schemas.Attribute{{Name: "n", Type: schemas.AttributeInt}}
	var lines, texts []string
	for i, n := range []string{"1", "2.5", "3", `"four"`, "5", "true", "7"} {
		lines = append(lines, fmt.Sprintf(`{"id":"%d","vector":[1,2,3,4],"n":%s}`, i, n))
		texts = append(texts, fmt.Sprintf(`{"id":"%d","vector":[1,2,3,4],"n":%q}`, i, n))
	}
	shards := open(t, store.NewMemory(), spec)
	report, err := Run(t.Context(), options(t, shards, write(t, lines), 0, 1))
	if err != nil || report.Rows != 4 || report.Refused[schemas.ReasonSchema] != 2 || report.Refused[schemas.ReasonAttribute] != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	_, bad, _ := state(t, shards)
	var offsets []int64
	for _, q := range bad {
		if q.Row != 0 {
			t.Errorf("row %d at offset %d", q.Row, q.Offset)
		}
		offsets = append(offsets, q.Offset)
	}
	if !slices.Equal(offsets, []int64{2, 4, 6}) {
		t.Errorf("quarantine at %v", offsets)
	}
	shards = open(t, store.NewMemory(), spec)
	if _, err := Run(t.Context(), options(t, shards, write(t, texts), 0, 1)); err == nil || !strings.Contains(err.Error(), "row 0 of the part and those after it: schema: ") {
		t.Errorf("texts: %v", err)
	}
}

// What is refused is in quarantine under the place of its row, and says where that came from; its payload is the row.
func TestLoad_quarantine(t *testing.T) {
	names := write(t, []string{line("a", 1), `{"id":"z","vector":[0,0,0,0]}`, line("b", 1)})
	shards := open(t, store.NewMemory(), testSpec(1, 1))
	report, err := Run(t.Context(), options(t, shards, names, 0, 1))
	if err != nil || report.Rows != 2 || report.Refused["zero_vector"] != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	_, bad, _ := state(t, shards)
	if len(bad) != 1 || bad[0].Partition != 5 || bad[0].Offset != 2 || bad[0].Row != 0 || !strings.Contains(bad[0].Detail, "(row 1 of part 0 of load first, in "+names[0]+")") {
		t.Fatalf("quarantine %+v", bad)
	}
	r, err := ipc.NewReader(bytes.NewReader(bad[0].Payload))
	if err != nil || !r.Next() || r.RecordBatch().NumRows() != 1 {
		t.Errorf("payload: %v", err)
	}
}
