package serve

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
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
	chunk := p.chunk(mdl, 0, 100)
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

// chunk puts a chunk of rows by a model into the next generation.
func (p *publisher) chunk(mdl *model.Model, from, to int) (c schemas.Chunk) {
	p.t.Helper()
	o := p.putBy(mdl, from, to)
	p.m.Segments = p.m.Segments[:len(p.m.Segments)-1]
	body, err := p.bucket.Get(p.t.Context(), o.Key)
	if err != nil {
		p.t.Fatal(err)
	}
	part, err := segment.OpenSegment(p.log.Spec(), o.SHA256, body)
	if err != nil {
		p.t.Fatal(err)
	}
	err = segment.Merge(p.t.Context(), p.log.Spec(), mdl, avx.Generic, []segment.Input{{Part: part}}, segment.MergeOptions{ChunkBytes: 1 << 20}, func(b segment.ChunkBodies) (err error) {
		c, err = p.log.PutChunk(p.t.Context(), b)
		p.m.Chunks = append(p.m.Chunks, c)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}
