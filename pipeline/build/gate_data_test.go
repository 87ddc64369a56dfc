package build

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/schemas"
)

// gateDataFile names an Arrow file with columns id and vector for TestGateOnData, which else takes clustered rows.
const gateDataFile = "ADASTREAM_GATE_DATA"

func gateData(t *testing.T) (spec *schemas.Spec, ids []string, vectors []float32) {
	t.Helper()
	spec = testSpec()
	spec.Defaults.TargetRecall = 0.95
	name := os.Getenv(gateDataFile)
	if name == "" {
		w := newWorld(t, 41)
		for i := range 12_000 {
			ids, vectors = append(ids, fmt.Sprint("id-", i)), append(vectors, w.vector()...)
		}
		return spec, ids, vectors
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := files.Arrow(file)
	if err != nil {
		t.Fatal(err)
	}
	for {
		batch, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		at := func(name string) arrow.Array { return batch.Column(batch.Schema().FieldIndices(name)[0]) }
		for i := range int(batch.NumRows()) {
			switch c := at(schemas.ColumnID).(type) {
			case *array.String:
				ids = append(ids, strings.Clone(c.Value(i)))
			case *array.Int64:
				ids = append(ids, strconv.FormatInt(c.Value(i), 10))
			}
		}
		switch c := at(schemas.ColumnVector).(*array.FixedSizeList).ListValues().(type) {
		case *array.Float32:
			vectors = append(vectors, c.Float32Values()...)
		case *array.Float16:
			for _, x := range c.Values() {
				vectors = append(vectors, x.Float32())
			}
		}
	}
	dim := len(vectors) / len(ids)
	spec.Ladder = []int{dim / 4, dim / 2, dim}
	return spec, ids, vectors
}

// load commits rows to partition 0, a millisecond apart.
func (w *world) load(ids []string, vectors []float32) {
	w.t.Helper()
	dim := len(vectors) / len(ids)
	for start := 0; start < len(ids); start += 50_000 {
		end := min(start+50_000, len(ids))
		rows := segment.NewRows(w.log.Spec())
		for i := start; i < end; i++ {
			rows.IDs, rows.Orders = append(rows.IDs, ids[i]), append(rows.Orders, segment.Order{Timestamp: 1 + int64(i), Offset: int64(i)})
			rows.Attributes[0].AppendNull()
		}
		rows.AppendFloats(w.level, vectors[start*dim:end*dim])
		body, err := segment.Write(w.log.Spec(), nil, w.level, rows)
		if err != nil {
			w.t.Fatal(err)
		}
		o, err := w.log.PutSegment(w.t.Context(), 0, int64(start), body)
		if err != nil {
			w.t.Fatal(err)
		}
		c := &schemas.Commit{Format: schemas.CommitFormat, Start: int64(start), End: int64(end), Rows: end - start, Segment: &o,
			Watermark: int64(end), Produced: int64(end), Writer: fmt.Sprint("w-", start), Created: time.Now().UTC()}
		if err := w.log.Append(w.t.Context(), c); err != nil {
			w.t.Fatal(err)
		}
	}
}

// On data, not on dice: the gate's verdict over samples of as many held-out rows as it takes, drawn from all of them, for plans of known
// recall as the default one. It passes what reaches the objective and refuses what misses it by some points.
func TestGateOnData(t *testing.T) {
	t.Parallel()
	spec, ids, vectors := gateData(t)
	w := newWorldOf(t, 42, spec)
	w.load(ids, vectors)
	b := w.idle(256)
	started := time.Now()
	j := w.rewritten(b, nil)
	t.Logf("%d rows, %d lists; the rewrite took %v, its verdict %+v", len(ids), j.mdl.NList(), time.Since(started).Round(time.Millisecond), j.quality)
	snap := w.snapshot(b.manifest)
	w.logCost(b, snap)
	all := w.allHeldOut(b, snap)
	rng := rand.New(rand.NewPCG(6, 6))
	queries := recall.Queries(len(ids), spec.Dim())
	t.Logf("recall of all %d held-out rows, and how often %d of them make the gate refuse it at %.2f: at all, for all rows, for a slice", all.N, queries, spec.Defaults.TargetRecall)
	seen := 0.0
	for _, p := range j.plans {
		if p.Recall < 0.7 || p.Recall < seen+0.004 {
			continue
		}
		seen = p.Recall
		found, err := recall.Each(t.Context(), w.level, 2, snap, all, gateK, search.Plan{NProbe: p.NProbe, ScanDims: p.ScanDims, Refine: p.Refine})
		if err != nil {
			t.Fatal(err)
		}
		var whole recall.Tally
		for _, f := range found {
			whole.Add(f)
		}
		trials := 40
		if os.Getenv(gateDataFile) != "" {
			trials = 200
		}
		refused, overall, slice := 0, 0, 0
		for range trials {
			s, some := drawn(rng, spec.Dim(), queries, all, found)
			var tally recall.Tally
			for _, f := range some {
				tally.Add(f)
			}
			q := verdict(evidence{plans: pointOf(tally), objective: spec.Defaults.TargetRecall, queries: s.N, slices: slicesOf(snap, s, some)})
			for flag, is := range map[*int]bool{&refused: !q.Promoted, &overall: strings.Contains(q.Reason, "(at most") && q.High < spec.Defaults.TargetRecall, &slice: strings.Contains(q.Reason, "around")} {
				if is {
					*flag++
				}
			}
		}
		share := func(n int) float64 { return float64(n) / float64(trials) }
		t.Logf("%.4f: %.3f %.3f %.3f", whole.Mean(), share(refused), share(overall), share(slice))
		if r := whole.Mean(); r > 0.955 && share(refused) > 0.02 || r < 0.91 && share(refused) < 0.95 {
			t.Errorf("recall %.4f is refused %.3f of the time", r, share(refused))
		}
	}
}

// logCost tells what each step of the gate takes.
func (w *world) logCost(b *Builder, snap *snapshot.Snapshot) {
	w.t.Helper()
	step := func(name string, do func() error) {
		started := time.Now()
		if err := do(); err != nil {
			w.t.Fatal(err)
		}
		w.t.Logf("%s took %v", name, time.Since(started).Round(100*time.Microsecond))
	}
	var held, recent recall.Sample
	step("queries and their neighbours", func() (err error) { held, recent, err = b.queries(w.t.Context(), snap); return err })
	var plans []schemas.PlanPoint
	step("table", func() (err error) {
		plans, err = recall.Table(w.t.Context(), w.level, 2, snap, held, gateK)
		return err
	})
	m := evidence{plans: plans, objective: w.log.Spec().Defaults.TargetRecall}
	step("default plan, slices", func() error { return b.measureDefault(w.t.Context(), snap, held, recent, &m) })
	step("codes", func() error {
		_, err := segment.AuditCodes(w.t.Context(), w.log.Spec(), b.model, w.level, 2, snap.Parts(), gateCodes)
		return err
	})
}

// allHeldOut is every held-out row, with its neighbours.
func (w *world) allHeldOut(b *Builder, snap *snapshot.Snapshot) recall.Sample {
	w.t.Helper()
	s, err := recall.Draw(w.t.Context(), b.o.Level, b.o.Threads, snap, 1<<30, gateK)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// drawn is a sample of the gate's size out of a larger one, each query as likely as any other each time.
func drawn(rng *rand.Rand, dim, n int, all recall.Sample, found []recall.Found) (s recall.Sample, some []recall.Found) {
	for range n {
		q := rng.IntN(all.N)
		s.Queries = append(s.Queries, all.Queries[q*dim:(q+1)*dim]...)
		s.Self, s.Truth, some = append(s.Self, all.Self[q]), append(s.Truth, all.Truth[q]), append(some, found[q])
	}
	s.N = len(some)
	return s, some
}
