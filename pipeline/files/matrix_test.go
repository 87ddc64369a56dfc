package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
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
		"f2.npy": 1, "f4.npy": 1, "f8.npy": 1, "i1.npy": 64, "big.npy": 1, "fortran.npy": 1, "rows.fvecs": 1, "rows.fbin": 1, "rows.i8bin": 64,
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

// npyBytes is a file as numpy writes it.
func npyBytes(descr string, fortran bool, shape []int, values []byte) []byte {
	lengths := ""
	for i, n := range shape {
		if lengths += fmt.Sprintf("%d,", n); i+1 < len(shape) {
			lengths += " "
		}
	}
	if len(shape) > 1 {
		lengths = strings.TrimSuffix(lengths, ",")
	}
	order := map[bool]string{false: "False", true: "True"}[fortran]
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }\n", descr, order, lengths)
	out := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
	return append(append(out, header...), values...)
}

// Any number of numpy is a value, in either order of bytes, and any integer an id.
func TestNpyTypes(t *testing.T) {
	little, big := binary.LittleEndian, binary.BigEndian
	for descr, c := range map[string]struct {
		values []byte
		want   string
	}{
		"|i1": {[]byte{0x80, 5}, "-128 5"},
		"|u1": {[]byte{0x80, 5}, "128 5"},
		"<i2": {little.AppendUint16([]byte{5, 0}, 0x8000), "5 -32768"},
		">u2": {big.AppendUint16([]byte{0, 5}, 0x8000), "5 32768"},
		"<i4": {little.AppendUint32([]byte{5, 0, 0, 0}, 1<<31), "5 -2147483648"},
		">i4": {big.AppendUint32([]byte{0, 0, 0, 5}, 1<<31), "5 -2147483648"},
		"<u4": {little.AppendUint32([]byte{5, 0, 0, 0}, 1<<31), "5 2147483648"},
		"<i8": {little.AppendUint64(little.AppendUint64(nil, 5), 1<<63), "5 -9223372036854775808"},
		">u8": {big.AppendUint64(big.AppendUint64(nil, 5), 1<<63), "5 9223372036854775808"},
		">f2": {[]byte{0x3c, 0x00, 0xc0, 0x00}, "1 -2"},
		">f8": {big.AppendUint64(big.AppendUint64(nil, math.Float64bits(1)), math.Float64bits(-2.5)), "1 -2.5"},
	} {
		write := func(shape []int) string {
			name := filepath.Join(t.TempDir(), "some.npy")
			if err := os.WriteFile(name, npyBytes(descr, false, shape, c.values), 0o600); err != nil {
				t.Fatal(err)
			}
			return name
		}
		got := drain(t, opened(t, write([]int{1, 2}), Options{}))
		values := strings.Fields(strings.TrimPrefix(strings.Join(got, "; "), "id=0, vector="))
		for i, want := range strings.Fields(c.want) {
			w, _ := strconv.ParseFloat(want, 32)
			if g, err := strconv.ParseFloat(values[i], 32); err != nil || float32(g) != float32(w) || len(values) != 2 {
				t.Errorf("%s: %v, want %s", descr, got, c.want)
			}
		}
		if strings.Contains(descr, "f") {
			continue
		}
		matrix := filepath.Join(t.TempDir(), "matrix.npy")
		if err := os.WriteFile(matrix, npyBytes("|u1", false, []int{2, 1}, []byte{1, 2}), 0o600); err != nil {
			t.Fatal(err)
		}
		r := opened(t, matrix, Options{IDs: write([]int{2})})
		got = drain(t, r)
		ids := strings.Fields(c.want)
		if want := []string{"id=" + ids[0] + ", vector=1", "id=" + ids[1] + ", vector=2"}; !slices.Equal(got, want) || r.Numbered() {
			t.Errorf("ids of %s: %q, want %q", descr, got, want)
		}
	}
}

// A matrix that has one column after the other is put together in pieces.
func TestNpyByColumns(t *testing.T) {
	const rows, width = 70_000, 64 // more than a piece
	values := make([]byte, 0, rows*width*4)
	for j := range width {
		for i := range rows {
			values = binary.LittleEndian.AppendUint32(values, uint32(i*width+j))
		}
	}
	r, err := openMatrix(bytes.NewReader(npyBytes("<i4", true, []int{rows, width}, values)), int64(len(npyBytes("<i4", true, []int{rows, width}, nil))+len(values)), &Options{Format: Npy})
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	for {
		batch, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range batch.Column(1).(*array.FixedSizeList).ListValues().(*array.Float32).Float32Values() {
			if got != float32(next) {
				t.Fatalf("value %d is %v", next, got)
			}
			next++
		}
	}
	if next != rows*width {
		t.Errorf("%d values", next)
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
	npy := func(descr string, n, size int) string {
		name := filepath.Join(t.TempDir(), "ids.npy")
		if err := os.WriteFile(name, npyBytes(descr, false, []int{n}, make([]byte, size)), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	halves, fewer, more, cut := npy("<f2", 40, 80), npy("<i4", 39, 4*39), npy("<i4", 41, 4*41), npy("<i8", 40, 8*40-1)
	for want, c := range map[string]struct {
		format Format
		input  []byte
		stream bool
		ids    string
	}{
		"npy file: values in the order of Fortran, of which a stream":          {format: Npy, input: read("fortran.npy"), stream: true},
		"npy file: shape [320], allowed: (rows, values)":                       {format: Npy, input: read("flat.npy")},
		`npy file: values of type "<c8", allowed: floats and integers`:         {format: Npy, input: npyBytes("<c8", false, []int{1, 1}, make([]byte, 8))},
		`npy file: shape (1, x2): "x2", allowed: numbers`:                      {format: Npy, input: bytes.Replace(npyBytes("<f4", false, []int{1, 12}, nil), []byte("(1, 12)"), []byte("(1, x2)"), 1)},
		"ids " + halves + `: values of type "<f2" and shape [40]`:              {format: Npy, input: f4, ids: halves},
		"ids " + fewer + ": there are 39, and more vectors":                    {format: Npy, input: f4, ids: fewer},
		"ids " + more + ": there are 41, and 40 vectors":                       {format: Npy, input: f4, ids: more},
		"ids " + cut + ": the file ends in value 39 of 40":                     {format: Npy, input: f4, ids: cut},
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
