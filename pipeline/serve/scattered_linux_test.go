package serve

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/adastream/adastream/schemas"
)

// Of an index that is larger than memory a query reads the pages of its rows and originals, and not megabytes around each: unless it compares all rows
// of a segment, or looks through the codes of a list.
func TestRowsAreReadByThePage(t *testing.T) {
	p := newPublisher(t)
	spec := p.log.Spec()
	mdl := trainModel(t, spec, 1)
	o, err := p.log.PutModel(t.Context(), mdl)
	if err != nil {
		t.Fatal(err)
	}
	p.m.Model = &schemas.ModelRef{ID: mdl.ID(), Object: o, TrainedRows: mdl.TrainedRows(), NList: mdl.NList()}
	chunk := p.chunks(mdl, 0, 100, 1<<20)[0]
	listed, whole := p.putBy(mdl, 100, 120), p.put(120, 140)
	n := p.node(Options{})
	p.publish()
	p.await(n, p.m.Generation)
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip("no /proc/self/smaps:", err)
	}
	for _, of := range []struct {
		what   string
		object schemas.Object
		want   bool
	}{{"rows of a chunk", chunk.Rows, true}, {"codes", chunk.Codes, false}, {"originals", chunk.Vectors, true}, {"segment with lists", listed, true}, {"segment without lists", whole, false}} {
		_, mapping, found := strings.Cut(string(smaps), of.object.SHA256)
		if !found {
			t.Fatalf("%s: not mapped", of.what)
		}
		flags := regexp.MustCompile(`\nVmFlags:.*`).FindString(mapping)
		if got := strings.Contains(flags, " rr"); got != of.want {
			t.Errorf("%s: read by the page: %v, want %v: %s", of.what, got, of.want, flags)
		}
	}
}
