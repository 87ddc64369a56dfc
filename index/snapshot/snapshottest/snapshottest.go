// Package snapshottest makes small generations for tests, through the writers that production uses.
package snapshottest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/pca"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

// Spec is a valid spec of a metric and a ladder.
func Spec(metric schemas.Metric, ladder ...int) *schemas.Spec {
	s := schemas.Spec{Name: "test", Metric: metric, Ladder: ladder, Encoder: "test", Topic: schemas.Topic{Name: "test", Partitions: 1}}.WithDefaults()
	return &s
}

// Data is rows with distinct ids, which are in no particular order.
type Data struct {
	Spec    *schemas.Spec
	IDs     []string
	Vectors []float32 // [len(IDs)][D], as given

	Attributes []arrow.Array // of the spec, in its order
}

// Clustered makes n rows around n/100 centres, as unlike one another as those of real text: the variance of dimension i
// falls like 1/sqrt(i+1), and lengths are not 1. The same seed makes the same rows.
func Clustered(spec *schemas.Spec, n int, seed uint64) *Data {
	r, dim := rand.New(rand.NewPCG(seed, 1)), spec.Dim()
	normal := func(scale float64) []float32 {
		v := make([]float32, dim)
		for i := range v {
			v[i] = float32(scale * r.NormFloat64() / math.Pow(float64(i+1), 0.25))
		}
		return v
	}
	centres := make([][]float32, max(1, n/100))
	for i := range centres {
		centres[i] = normal(1)
	}
	d := &Data{Spec: spec, IDs: make([]string, n), Vectors: make([]float32, 0, n*dim)}
	for i := range n {
		d.IDs[i] = fmt.Sprintf("%x-%d", uint32(i)*2654435761, i)
		length := float32(0.5 + r.Float64())
		for j, x := range normal(0.8) {
			d.Vectors = append(d.Vectors, length*(x+centres[i%len(centres)][j]))
		}
	}
	return d
}

// Turning returns a function that turns vectors [n][dim] by a random orthogonal matrix: the same neighbours, and prefixes
// without meaning.
func Turning(dim int, seed uint64) func(vectors []float32) []float32 {
	q := pca.Random(rand.New(rand.NewPCG(seed, 5)), dim)
	return func(vectors []float32) []float32 {
		turned := make([]float32, 0, len(vectors))
		for v := range slices.Chunk(vectors, dim) {
			for i := range dim {
				sum := 0.0
				for d, x := range v {
					sum += q.At(i, d) * float64(x)
				}
				turned = append(turned, float32(sum))
			}
		}
		return turned
	}
}

// N is the number of rows.
func (d *Data) N() int { return len(d.IDs) }

// Vector is a row as given.
func (d *Data) Vector(i int) []float32 {
	dim := d.Spec.Dim()
	return d.Vectors[i*dim : (i+1)*dim]
}

// Train makes a model from all rows.
func (d *Data) Train(tb testing.TB, level avx.Level, nlist int) *model.Model {
	tb.Helper()
	searched := slices.Clone(d.Vectors)
	if d.Spec.Metric == schemas.Cosine {
		for i, dim := 0, d.Spec.Dim(); i < len(searched); i += dim {
			mrl.Normalize(level, searched[i:i+dim], searched[i:i+dim])
		}
	}
	mdl, err := model.Train(context.Background(), d.Spec, searched, d.N(), int64(d.N()),
		model.Options{NList: nlist, CoarseDims: d.Spec.Dim(), Seed: 1, Level: level})
	if err != nil {
		tb.Fatal(err)
	}
	return mdl
}

// Kind is how a group of rows is stored.
type Kind int

const (
	Chunks   Kind = iota // merged with all other such groups and cut into several chunks
	Segment              // one segment of the generation's model
	Unlisted             // one segment without a model
)

// Group is the rows [Start, End) of the data, stored alike.
type Group struct {
	Kind       Kind
	Start, End int
}

// Build stores the groups, deletes the rows that dead holds for, and opens the generation. A nil model makes all groups
// unlisted.
func Build(tb testing.TB, d *Data, mdl *model.Model, level avx.Level, groups []Group, dead func(i int) bool) *snapshot.Snapshot {
	tb.Helper()
	g := Write(tb, d, mdl, level, groups, dead)
	s, err := snapshot.Open(d.Spec, g.Manifest, mdl, g.Parts, g.Dead, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// BuildBare is [Build] of a generation whose chunks were opened without their originals, as a query node may do.
func BuildBare(tb testing.TB, d *Data, mdl *model.Model, level avx.Level, groups []Group, dead func(i int) bool) *snapshot.Snapshot {
	tb.Helper()
	g := write(tb, d, mdl, level, groups, dead, true)
	s, err := snapshot.Open(d.Spec, g.Manifest, mdl, g.Parts, g.Dead, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// Generation is what [snapshot.Open] takes.
type Generation struct {
	Manifest *schemas.Manifest
	Parts    []*segment.Part
	Dead     map[string]*roaring.Bitmap
}

// Write stores the groups as [Build] does.
func Write(tb testing.TB, d *Data, mdl *model.Model, level avx.Level, groups []Group, dead func(i int) bool) *Generation {
	tb.Helper()
	return write(tb, d, mdl, level, groups, dead, false)
}

func write(tb testing.TB, d *Data, mdl *model.Model, level avx.Level, groups []Group, dead func(i int) bool, bare bool) *Generation {
	tb.Helper()
	g := &Generation{Manifest: &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 7, Builder: "test", Checkpoint: map[string]int64{"0": 0}}}
	if mdl != nil {
		g.Manifest.Model = &schemas.ModelRef{ID: mdl.ID(), TrainedRows: mdl.TrainedRows(), NList: mdl.NList()}
	}
	var base []segment.Input
	groups = slices.Clone(groups)
	slices.SortStableFunc(groups, func(a, b Group) int { // chunks come first in a manifest
		return cmp.Compare(min(a.Kind, Segment), min(b.Kind, Segment))
	})
	for _, group := range groups {
		writer := mdl
		if group.Kind == Unlisted {
			writer = nil
		}
		body, err := segment.Write(d.Spec, writer, level, d.rows(tb, group))
		if err != nil {
			tb.Fatal(err)
		}
		id := hash(body)
		part, err := segment.OpenSegment(d.Spec, id, body)
		if err != nil {
			tb.Fatal(err)
		}
		if part, err = segment.Turn(d.Spec, mdl, level, part); err != nil {
			tb.Fatal(err)
		}
		if group.Kind == Chunks && mdl != nil {
			base = append(base, segment.Input{Part: part})
			continue
		}
		g.Manifest.Segments = append(g.Manifest.Segments, schemas.Segment{ID: id, NumRows: part.N, Model: part.Model})
		g.Parts = append(g.Parts, part)
	}
	if len(base) > 0 {
		g.merge(tb, d, mdl, level, base, bare)
	}
	g.bury(d, dead)
	return g
}

func (d *Data) rows(tb testing.TB, g Group) *segment.Rows {
	tb.Helper()
	rows := segment.NewRows(d.Spec)
	for i := g.Start; i < g.End; i++ {
		rows.IDs = append(rows.IDs, d.IDs[i])
		rows.Orders = append(rows.Orders, segment.Order{Timestamp: int64(i), Offset: int64(i)})
		rows.AppendFloats(avx.Generic, d.Vector(i))
		for j, c := range rows.Attributes {
			if err := c.AppendFrom(d.Attributes[j], i); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return rows
}

// merge makes about four chunks of segments, before all other parts.
func (g *Generation) merge(tb testing.TB, d *Data, mdl *model.Model, level avx.Level, base []segment.Input, bare bool) {
	tb.Helper()
	var chunks []*segment.Part
	rows := 0
	for _, input := range base {
		rows += input.Part.N
	}
	target := int64(rows) * int64(6*d.Spec.Dim()) / 4
	err := segment.Merge(context.Background(), d.Spec, mdl, level, base, segment.MergeOptions{ChunkBytes: target}, func(b segment.ChunkBodies) error {
		c := schemas.Chunk{ID: hash(b.Rows), FirstList: b.FirstList, EndList: b.EndList, NumRows: b.NumRows}
		if bare {
			b.Vectors = nil
		}
		chunk, err := segment.OpenChunk(d.Spec, c, b.Rows, b.Codes, b.Vectors)
		g.Manifest.Chunks = append(g.Manifest.Chunks, c)
		chunks = append(chunks, chunk)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	g.Parts = append(chunks, g.Parts...)
}

func (g *Generation) bury(d *Data, dead func(i int) bool) {
	buried := map[string]bool{}
	for i, id := range d.IDs {
		buried[id] = dead != nil && dead(i)
	}
	g.Dead = map[string]*roaring.Bitmap{}
	for _, p := range g.Parts {
		rows := roaring.New()
		for row := range p.N {
			if buried[p.IDAt(row)] {
				rows.AddInt(row)
			}
		}
		if !rows.IsEmpty() {
			g.Dead[p.ID] = rows
		}
		g.Manifest.DeadRows += int64(rows.GetCardinality())
		g.Manifest.LiveRows += int64(p.N) - int64(rows.GetCardinality())
	}
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
