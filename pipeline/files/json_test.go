package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/adastream/adastream/internal/mutate"
)

// Lines of JSON are rows: without timestamps, which JSON has not, they are those of the other formats.
func TestJSON(t *testing.T) {
	_, want := rowsOf(t, "rows.arrow", Options{})
	for i := range want {
		fields := slices.DeleteFunc(strings.Split(want[i], ", "), func(f string) bool { return strings.HasPrefix(f, "seen=") })
		want[i] = strings.Join(fields, ", ")
	}
	r, got := rowsOf(t, "rows.jsonl", Options{Encoder: "e/1"})
	if !slices.Equal(got, want) {
		t.Errorf("rows:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if r.Encoder() != "e/1" {
		t.Errorf("encoder %q", r.Encoder())
	}
}

// Values keep their types and their place, whatever other lines have; what no message can have is told of once.
func TestJSONValues(t *testing.T) {
	var ignored []string
	o := Options{ID: "key", Encoder: "e", Ignored: func(column, _ string) { ignored = append(ignored, column) }}
	r, err := openJSON(strings.NewReader(`
		{"key": 18446744073709551615, "vector": [1, -2.5e-1], "n": 1, "tags": ["x"]}

		{"key": "ü", "vector": [], "n": 2.5, "id": 7, "tags": {}}
		{"vector": null, "b": true, "op": "delete", "version": -9}`), &o)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"b=null, id=18446744073709551615, n=1, op=null, vector=1 -0.25, version=null",
		"b=null, id=ü, n=2.5, op=null, vector=, version=null",
		"b=true, id=null, n=null, op=delete, vector=null, version=-9",
	}
	if got := drain(t, r); !slices.Equal(got, want) {
		t.Errorf("rows:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	slices.Sort(ignored)
	if !slices.Equal(ignored, []string{"id", "tags"}) {
		t.Errorf("ignored %v", ignored)
	}
}

// What is wrong with a line is said with its number, the field, the value and what is allowed.
func TestJSONFaults(t *testing.T) {
	for want, lines := range map[string]string{
		`line 2: jsontext: unexpected EOF within "/vector" after offset 20`:               "{\"id\":1,\"vector\":[1]}\n{\"id\":1,\"vector\":[1,",
		`element 1: not an object, allowed: an object`:                                    "[1]",
		`line 1: not an object, allowed: an object`:                                       "1",
		`line 2: not an object`:                                                           "{\"id\":1,\"vector\":[1]}\nnull",
		`line 1: field "id": 1.5, allowed: a text, an integer of 64 bits`:                 `{"id":1.5}`,
		`line 1: field "id": -0, allowed: a text, an integer`:                             `{"id":-0}`,
		`line 1: field "id": true, allowed`:                                               `{"id":true}`,
		`line 1: field "vector": "x", allowed: a list of numbers`:                         `{"vector":"x"}`,
		`line 1: field "vector": value 1 is null, allowed: a number that a float32 holds`: `{"vector":[1,null]}`,
		`line 1: field "vector": value 0 is 1e39, allowed: a number that a float32 holds`: `{"vector":[1e39]}`,
		`line 1: field "vector": value 0 is [..., allowed: a number`:                      `{"vector":[[1]]}`,
		`line 1: field "version": 1.5, allowed: an integer of 64 bits`:                    `{"version":1.5}`,
		`line 1: field "op": 1, allowed: "upsert", "delete"`:                              `{"op":1}`,
		`line 1: field "price": 1e999, allowed: a number that a float64 holds`:            `{"price":1e999}`,
		`column "id" is missing, there are: key, vector`:                                  `{"key":1,"vector":[1]}`,
		`column "vector" is missing, there are: embedding, id`:                            `{"id":1,"embedding":[1]}`,
		`line 2: jsontext: duplicate object member name "id"`:                             "{\"id\":1,\"vector\":[1]}\n{\"id\":2,\"vector\":[1],\"id\":3}",
		`line 1: jsontext: duplicate object member name "x" within "/more"`:               `{"id":1,"vector":[1],"more":{"x":1,"x":2}}`,
		`line 1: jsontext: invalid UTF-8`:                                                 "{\"id\":\"\xff\",\"vector\":[1]}",
		`line 1: jsontext: invalid surrogate pair`:                                        `{"id":"\ud800","vector":[1]}`,
		`line 1: more after the object, allowed: an object`:                               `{"id":1,"vector":[1]} {"id":2,"vector":[1]}`,
		`line 1: longer than 16777216 bytes`:                                              `{"id":"` + strings.Repeat("x", maxLine) + `"}`,
		`there are no lines`:                                                              "\n\n",
		`there are no lines, or elements`:                                                 "\xef\xbb\xbf[]\n",
		`element 2: field "id": true, allowed`:                                            `[{"id":1,"vector":[1]},{"id":true}]`,
		`after element 1: jsontext: duplicate object member`:                              `[{"id":1,"vector":[1]},{"id":1,"id":2}]`,
		`after element 1: jsontext: unexpected EOF`:                                       `[{"id":1,"vector":[1]}`,
		`after element 1: jsontext: invalid character '{' after array element`:            `[{"id":1,"vector":[1]} {"id":2,"vector":[1]}]`,
		`after element 1: more after the array`:                                           `[{"id":1,"vector":[1]}]{"id":2,"vector":[1]}`,
		`element 2: longer than 16777216 bytes`:                                           `[{"id":1,"vector":[1]},` + strings.Repeat(" ", maxLine) + `{"id":2}]`,
		`element 1: longer than 16777216 bytes`:                                           `[{"id":"` + strings.Repeat("x", maxLine) + `"}]`,
		`line 3: field "id": true, allowed`:                                               "\xef\xbb\xbf\n\n{\"id\":true}",
	} {
		o := Options{Ignored: func(string, string) {}}
		if _, err := openJSON(strings.NewReader(lines), &o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", lines, err, want)
		}
	}
}

// The row of a value of another kind is a batch of its own, so that who refuses it refuses no other.
func TestJSONKinds(t *testing.T) {
	for name, form := range map[string][3]string{"lines": {"", "\n", "\n"}, "array": {"[", ",\n", "]"}} {
		var rows []string
		for i, n := range []string{"1", "2", `"three"`, "null", "4", "5.5", "true", "7", "null", "9"} {
			rows = append(rows, fmt.Sprintf(`{"id":%d,"vector":[%d],"n":%s}`, i, i, n))
		}
		r, err := openJSON(strings.NewReader(form[0]+strings.Join(rows, form[1])+form[2]), &Options{Encoder: "e"})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for {
			batch, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%d %s %s %s", batch.NumRows(), batch.Schema().Field(2).Type, batch.Column(2), batch.Column(1)))
		}
		want := []string{"2 int64 [1 2] [[0] [1]]", `1 utf8 ["three"] [[2]]`, "3 float64 [(null) 4 5.5] [[3] [4] [5]]", "1 bool [true] [[6]]", "3 int64 [7 (null) 9] [[7] [8] [9]]"}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Lines and arrays, compressed or not, with or without a byte order mark, are the same rows; what is cut is not taken for whole.
func TestJSONForms(t *testing.T) {
	lines, err := os.ReadFile("testdata/rows.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	want := drain(t, opened(t, "testdata/rows.jsonl", Options{Encoder: "e"}))
	objects := bytes.Split(bytes.TrimSpace(lines), []byte("\n"))
	array := slices.Concat([]byte("\xef\xbb\xbf \r\n["), bytes.Join(objects, []byte(" ,\n\t")), []byte("\n]\n"))
	for name, plain := range map[string][]byte{"rows.jsonl": append([]byte("\xef\xbb\xbf"), lines...), "rows.json": array, "rows.JSON": lines, "rows.ndjson": array} {
		for ext, compress := range map[string]func([]byte) []byte{"": bytes.Clone, ".gz": gzipped, ".zst": zstded} {
			path := filepath.Join(t.TempDir(), name+ext)
			body := compress(plain)
			if err := os.WriteFile(path, body, 0o600); err != nil {
				t.Fatal(err)
			}
			if got := drain(t, opened(t, path, Options{Encoder: "e"})); !slices.Equal(got, want) {
				t.Errorf("%s: %d rows, want %d", name+ext, len(got), len(want))
			}
			if ext == "" {
				continue
			}
			for _, cut := range []int{3, 20, len(body) / 2, len(body) - 1} {
				if err := os.WriteFile(path, body[:cut], 0o600); err != nil {
					t.Fatal(err)
				}
				r, err := Open(path, Options{Encoder: "e"})
				for err == nil {
					_, err = r.Next()
				}
				if err == io.EOF { // itself, not that which an error wraps
					t.Errorf("%s, cut at %d of %d: is read to its end", name+ext, cut, len(body))
				}
			}
		}
	}
	if f := FormatOf("rows.parquet.gz"); f != "" {
		t.Errorf("a Parquet file in gzip is %s", f)
	}
}

// What a small file is when it is not compressed any more is read as it comes: a line of 128 MiB costs no more than the
// longest that is allowed, and a window of zstd that is larger than ours is refused.
func TestJSONBombs(t *testing.T) {
	huge := bytes.Repeat([]byte("0"), 128<<20)
	bombs := map[string][]byte{"gzip": gzipped(huge), "zstd": zstded(huge)}
	bombs["array"] = gzipped(append([]byte(`["`), huge...))
	bombs["window"] = append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8}, bombs["zstd"][6:]...) // 2 GiB
	huge = nil
	for name, bomb := range bombs {
		before := mutate.Allocated()
		_, err := openJSON(bytes.NewReader(bomb), &Options{})
		if err == nil || !strings.Contains(err.Error(), "longer than") && name != "window" {
			t.Errorf("%s: %v", name, err)
		}
		if got := mutate.Allocated() - before; got > 112<<20 {
			t.Errorf("%s: %d bytes allocated for %d", name, got, len(bomb))
		}
	}
}

func opened(t *testing.T, name string, o Options) *Reader {
	t.Helper()
	r, err := Open(name, o)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

// Lines beyond a batch have the columns and types of their own batch, and none is lost at its edge.
func TestJSONBatches(t *testing.T) {
	var lines strings.Builder
	const n = 2*batchRows + 3
	for i := range n {
		fmt.Fprintf(&lines, "{\"id\":%d,\"vector\":[%d],\"n\":%d%s}\n", i, i, i, strings.Repeat(".5", i/batchRows/2))
	}
	o := Options{}
	o = o.withDefaults("")
	r, err := openJSON(strings.NewReader(lines.String()), &o)
	if err != nil {
		t.Fatal(err)
	}
	rows := drain(t, r)
	if len(rows) != n || rows[batchRows] != fmt.Sprintf("id=%d, n=%d, vector=%d", batchRows, batchRows, batchRows) || !strings.Contains(rows[n-1], fmt.Sprintf("n=%d.5,", n-1)) {
		t.Errorf("%d rows, the last: %s", len(rows), rows[len(rows)-1])
	}
}
