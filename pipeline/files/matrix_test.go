package files

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// matrixRows are the rows of testdata with a vector, as a matrix has them: times, for integers.
func matrixRows(t *testing.T, id func(i int) string, times float32) (rows []string) {
	t.Helper()
	for i := range 40 {
		var values []string
		for j := range 8 {
			v := (float32((i*31+j*7)%64) - 31.5) / 32
			if i == 11 {
				v = 0.5
			}
			if times != 1 {
				v = float32(int8(v * times))
			}
			values = append(values, fmt.Sprint(v))
		}
		rows = append(rows, "id="+id(i)+", vector="+strings.Join(values, " "))
	}
	return rows
}

// What numpy wrote is read as it is, with ids from a file or numbers.
func TestMatrices(t *testing.T) {
	item := func(i int) string { return fmt.Sprint("item-", i) }
	number := func(i int) string { return fmt.Sprint(i + 7) }
	for name, times := range map[string]float32{
		"f2.npy": 1, "f4.npy": 1, "f8.npy": 1, "i1.npy": 64, "rows.fvecs": 1, "rows.fbin": 1, "rows.i8bin": 64,
	} {
		o := Options{Encoder: "e", IDs: "testdata/ids.txt"}
		r, got := rowsOf(t, name, o)
		if want := matrixRows(t, item, times); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if r.Rows() != 40 || r.Encoder() != "e" || r.Numbered() {
			t.Errorf("%s: %d rows of %s, numbered %v", name, r.Rows(), r.Encoder(), r.Numbered())
		}
		o = Options{FirstID: 7}
		r, got = rowsOf(t, name, o)
		if want := matrixRows(t, number, times); !slices.Equal(got, want) || !r.Numbered() {
			t.Errorf("%s with numbers:\n got %s\nwant %s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for _, name := range []string{"rows.bvecs", "rows.u8bin"} { // -63 is 193, as a byte without sign
		if _, got := rowsOf(t, name, Options{}); len(got) != 40 || got[0] != "id=0, vector=193 207 221 235 249 7 21 35" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A matrix is refused with what it has and what is allowed, and one that ends early with the offset.
func TestMatrixFaults(t *testing.T) {
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	f4, fvecs := read("f4.npy"), read("rows.fvecs")
	other := bytes.Clone(fvecs)
	other[2*36] = 7
	huge := append(bytes.Repeat([]byte{0xff}, 4), 1, 0, 0, 0)
	short := filepath.Join(t.TempDir(), "ids.txt")
	if err := os.WriteFile(short, []byte("a\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	latin := short + ".latin1"
	if err := os.WriteFile(latin, []byte("a\nm\xfcller\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := short + ".long"
	if err := os.WriteFile(long, bytes.Repeat([]byte("a\n"), 41), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]struct {
		format Format
		input  []byte
		stream bool
		ids    string
	}{
		"npy file: values in the order of Fortran":                             {format: Npy, input: read("fortran.npy")},
		"npy file: shape (320,), allowed: (rows, values)":                      {format: Npy, input: read("flat.npy")},
		`npy file: values of type ">f4", allowed: float16`:                     {format: Npy, input: read("big.npy")},
		"npy file: it does not begin as":                                       {format: Npy, input: fvecs},
		"npy file: the file ends in its header, before offset 128":             {format: Npy, input: f4[:100]},
		"npy file: 40 rows of 8 values end at offset 1408, the file at 1407":   {format: Npy, input: f4[:1407]},
		"the file ends in row 39 of 40, which begins at offset 1376":           {format: Npy, input: f4[:1407], stream: true},
		"fvecs file: 39 rows of 8 values end at offset 1404, the file at 1439": {format: Fvecs, input: fvecs[:1439]},
		"fvecs file: a file of this format cannot be a stream":                 {format: Fvecs, input: fvecs, stream: true},
		"row 2, at offset 72, says that it has 7 values, the first row has 8":  {format: Fvecs, input: other},
		"fbin file: 4294967295 rows of 1 values end at offset 17179869188":     {format: Fbin, input: huge},
		"the file ends in row 0 of 4294967295, which begins at offset 8":       {format: Fbin, input: huge, stream: true},
		"fbin file: the file ends before offset 8":                             {format: Fbin, input: huge[:7]},
		"fbin file: vectors of 1179403647 values, allowed: 1 to 65536":         {format: Fbin, input: []byte("\x01\x00\x00\x00\x7fELF")},
		"ids " + short + ": there are 2 lines, and more vectors":               {format: Npy, input: f4, ids: short},
		"ids " + latin + `, line 2: "m\xfcller", allowed: UTF-8`:               {format: Npy, input: f4, ids: latin},
		"ids " + long + ": there are more lines than the 40 vectors":           {format: Npy, input: f4, ids: long},
		"open " + short + ".missing: no such file":                             {format: Npy, input: f4, ids: short + ".missing"},
	} {
		size := int64(len(c.input))
		if c.stream {
			size = -1
		}
		r, err := openMatrix(bytes.NewReader(c.input), size, &Options{Format: c.format, IDs: c.ids})
		for err == nil {
			_, err = r.Next()
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := Open("testdata/list.parquet", Options{IDs: short}); err == nil || !strings.Contains(err.Error(), "has its own") {
		t.Errorf("ids for a file that has ids: %v", err)
	}
}
