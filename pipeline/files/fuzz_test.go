package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/adastream/adastream/internal/mutate"
	"github.com/adastream/adastream/schemas/arrowguard"
)

func FuzzArrow(f *testing.F)   { mutate.Fuzz(f, readingArrow) }
func FuzzParquet(f *testing.F) { mutate.Fuzz(f, readingParquet) }
func FuzzJSON(f *testing.F)    { mutate.Fuzz(f, readingJSON) }
func FuzzNpy(f *testing.F)     { mutate.Fuzz(f, readingMatrix(Npy, "*.npy")) }
func FuzzVecs(f *testing.F)    { mutate.Fuzz(f, readingMatrix(Fvecs, "*.?vecs")) }
func FuzzBin(f *testing.F)     { mutate.Fuzz(f, readingMatrix(Fbin, "*.*bin")) }

func TestMutations(t *testing.T) {
	mutate.Run(t, map[string]mutate.Target{
		"FuzzArrow":   readingArrow,
		"FuzzParquet": readingParquet,
		"FuzzJSON":    readingJSON,
		"FuzzNpy":     readingMatrix(Npy, "*.npy"),
		"FuzzVecs":    readingMatrix(Fvecs, "*.?vecs"),
		"FuzzBin":     readingMatrix(Fbin, "*.*bin"),
	})
}

// seedFiles are the files of testdata that match a pattern.
func seedFiles(t testing.TB, pattern string) (seeds [][]byte) {
	names, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	for _, name := range slices.Sorted(slices.Values(names)) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, b)
	}
	return seeds
}

// budget is what reading a file may allocate beyond its rows, in all.
const budget = 64 << 20

// exhaust reads all that r has: rows that can be read to the last value, or an error.
func exhaust(t testing.TB, r *Reader, before uint64) {
	for range 100 { // batches: a file of a few thousand bytes that has more claims them
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error that says nothing")
			}
			return
		}
		for i := range int(min(b.NumRows(), 50)) {
			_ = text(b, i)
		}
		if got := mutate.Allocated() - before; got > budget {
			t.Fatalf("%d bytes allocated, allowed: %d", got, budget)
		}
	}
}

// readingArrow: no file and no stream panics or takes memory that it only claims to need.
func readingArrow(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	seeds := seedFiles(t, "*.arrow")
	for _, file := range slices.Clone(seeds) {
		seeds = append(seeds, streamOf(t, file))
	}
	return seeds, func(t testing.TB, input []byte) {
		before := mutate.Allocated()
		o := Options{Ignored: func(string, string) {}}
		r, err := Arrow(bytes.NewReader(input))
		if got := mutate.Allocated() - before; got > budget {
			t.Fatalf("%d bytes allocated to open, allowed: %d", got, budget)
		}
		if err != nil {
			return
		}
		if m, err := mapped(r, &o); err == nil {
			exhaust(t, m, before)
		}
	}
}

// streamOf is the stream that a good file has between its head and its footer.
func streamOf(t testing.TB, file []byte) []byte {
	t.Helper()
	end := len(file) - 10
	stream := file[8 : end-int(binary.LittleEndian.Uint32(file[end:]))]
	if err := arrowguard.Check(stream, arrowguard.Limits{Table: true}); err != nil {
		t.Fatal(err)
	}
	return stream
}

// readingParquet: no file panics or takes memory that it only claims to need.
func readingParquet(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	return seedFiles(t, "*.parquet"), func(t testing.TB, input []byte) {
		before := mutate.Allocated()
		o := Options{Ignored: func(string, string) {}}
		r, err := openParquet(bytes.NewReader(input), int64(len(input)), 1<<20, &o)
		if got := mutate.Allocated() - before; got > budget {
			t.Fatalf("%d bytes allocated to open, allowed: %d", got, budget)
		}
		if err != nil {
			return
		}
		if m, err := mapped(r, &o); err == nil {
			exhaust(t, m, before)
		}
	}
}

// readingJSON: lines, or the elements of an array, are rows or a fault, and cost what they are long.
func readingJSON(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
	seeds := seedFiles(t, "*.jsonl")
	for _, lines := range slices.Clone(seeds) {
		array := slices.Concat([]byte("["), bytes.ReplaceAll(bytes.TrimSpace(lines), []byte("\n"), []byte(",")), []byte("]"))
		seeds = append(seeds, array, gzipped(lines), zstded(array))
	}
	return seeds, func(t testing.TB, input []byte) {
		before := mutate.Allocated()
		o := Options{Ignored: func(string, string) {}}
		if r, err := openJSON(bytes.NewReader(input), &o); err == nil {
			exhaust(t, r, before)
		}
	}
}

// readingMatrix: a header is no more than a claim, of a file whose size is known and of a stream.
func readingMatrix(format Format, pattern string) mutate.Target {
	return func(t testing.TB) ([][]byte, func(testing.TB, []byte)) {
		return seedFiles(t, pattern), func(t testing.TB, input []byte) {
			before := mutate.Allocated()
			for _, size := range []int64{int64(len(input)), -1} {
				o := Options{Format: format}
				if r, err := openMatrix(bytes.NewReader(input), size, &o); err == nil {
					exhaust(t, r, before)
				}
			}
		}
	}
}
