package build

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
)

// rewritten runs the rewrite that is due and lets spoil have its outputs before they are measured.
func (w *world) rewritten(b *Builder, spoil func(outputs []*heldPart)) *job {
	w.t.Helper()
	b.startJobs(w.t.Context())
	if len(b.jobs) == 0 {
		w.t.Fatal("no rewrite is due")
	}
	j := <-b.done
	if spoil != nil {
		spoil(j.outputs)
		if err := b.measure(w.t.Context(), j); err != nil {
			w.t.Fatal(err)
		}
	}
	w.land(b, j)
	return j
}

func (w *world) foldMore(b *Builder, rows int) {
	w.t.Helper()
	for p := range testPartitions {
		w.ingest(p, rows/testPartitions, 6000, b.model)
	}
	if _, err := b.fold(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// shuffled makes codes name other codewords in one sub-quantiser, as if its codebook had been shuffled.
func shuffled(outputs []*heldPart) {
	for _, p := range outputs {
		p.Blocks = slices.Clone(p.Blocks)
		for b := 0; b < len(p.Blocks); b += avx.BlockBytes(p.M) {
			for i := range 16 {
				p.Blocks[b+16*2+i] = ^p.Blocks[b+16*2+i]
			}
		}
	}
}

// dropped loses the codes of one list of twenty, but for one.
func dropped(outputs []*heldPart) {
	for _, p := range outputs {
		p.CodeRows = slices.Clone(p.CodeRows)
		for l := p.FirstList; l < p.EndList; l++ {
			if start, end := p.CodeRange(l); l%20 == 7 {
				for at := start; at < end; at++ {
					p.CodeRows[at] = p.CodeRows[start]
				}
			}
		}
	}
}

// What is spoilt is published and not served, and log, metric and manifest say why, in the build that spoilt it; the old
// generation goes on being served, with what is folded meanwhile held back too. The next clean build is served.
func TestSabotage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil   func([]*heldPart)
		want    string
		repairs []model.Repair
	}{
		"a codebook is shuffled": {shuffled, "codes are not what the model makes of their rows in sub-quantiser 2", []model.Repair{model.Codes}},
		"lists are dropped":      {dropped, "codes of rows in their lists are missing", []model.Repair{model.Lists}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 31)
			for i := range 18 {
				w.ingest(i%testPartitions, 200, 6000, nil)
			}
			log := &lines{}
			b := w.idle(256)
			b.o.RewriteRows, b.o.Logger = 500, log.logger()
			if j := w.rewritten(b, nil); j.repair != model.Everything || !j.quality.Promoted {
				t.Fatalf("the first build: made anew %v, %+v", j.repair, j.quality)
			}
			good := w.served()
			if good.Generation != b.manifest.Generation || testutil.ToFloat64(b.metrics.held) != 0 {
				t.Fatalf("generation %d is served after a clean build of %d", good.Generation, b.manifest.Generation)
			}
			w.foldMore(b, 1500)
			w.rewritten(b, c.spoil)
			stored, err := w.log.Manifest(t.Context(), b.manifest.Generation)
			if err != nil {
				t.Fatal(err)
			}
			if q := stored.Quality; q.Promoted || !strings.Contains(q.Reason, c.want) || q.Measured != stored.Generation {
				t.Errorf("the manifest says %+v, want %q", q, c.want)
			}
			if log.with("level=ERROR", "holds the generation back", c.want) != 1 || testutil.ToFloat64(b.metrics.held) != 1 {
				t.Errorf("held_back is %v, the log:\n%s", testutil.ToFloat64(b.metrics.held), strings.Join(log.text, ""))
			}
			w.foldMore(b, 60)
			if err := b.publish(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := b.promote(t.Context()); err != nil {
				t.Fatal(err)
			}
			if now := w.served(); now.Sequence != good.Sequence || testutil.ToFloat64(b.metrics.held) != 1 {
				t.Errorf("generation %d is served, held_back is %v", now.Generation, testutil.ToFloat64(b.metrics.held))
			}
			w.foldMore(b, 3000)
			var repairs []model.Repair // codes mend codes; rows that were lost have to be put in lists again
			for b.poor() && len(repairs) < 3 {
				repairs = append(repairs, w.rewritten(b, nil).repair)
			}
			if !slices.Equal(repairs, c.repairs) || b.poor() {
				t.Errorf("the next builds: made anew %v, want %v; %+v", repairs, c.repairs, b.quality)
			}
			if now := w.served(); now.Generation != b.manifest.Generation || testutil.ToFloat64(b.metrics.held) != 0 {
				t.Errorf("generation %d is served after a clean build of %d", now.Generation, b.manifest.Generation)
			}
		})
	}
}
