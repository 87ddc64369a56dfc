package schemas

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestArrowSchemas pins the columns of the stored files, their order, types and metadata.
func TestArrowSchemas(t *testing.T) {
	s := validSpec()
	wide := validSpec()
	wide.Vectors, wide.Attributes = Float32, nil
	var got strings.Builder
	for _, file := range []struct {
		name   string
		schema *arrow.Schema
	}{
		{"segment without a model", s.SegmentSchema("", 0, "")},
		{"segment of a model", s.SegmentSchema("m1", 64, "")},
		{"segment of a model that rotates", s.SegmentSchema("m1", 64, "a1")},
		{"segment of an odd number of sub-quantisers, float32, no attributes", wide.SegmentSchema("m1", 7, "")},
		{"rows", s.RowsSchema("")},
		{"rows that are rotated", s.RowsSchema("a1")},
		{"codes", CodesSchema("m1", 64, 100, 5000)},
		{"codes of an odd number of sub-quantisers, of the first chunk", CodesSchema("m1", 7, 0, 5000)},
		{"vectors", s.VectorsSchema()},
		{"tombstones", TombstonesSchema()},
		{"dead", DeadSchema()},
		{"quarantine", QuarantineSchema()},
	} {
		fmt.Fprintf(&got, "# %s\n%s\n\n", file.name, file.schema)
	}
	const golden = "testdata/arrow.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("schemas are\n%s\nwant\n%s", got.String(), want)
	}
}
