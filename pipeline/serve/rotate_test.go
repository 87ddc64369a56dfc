package serve

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/schemas"
)

// trainModel makes a model, of axes of its own if the index has them.
func trainModel(t testing.TB, spec *schemas.Spec, seed int) (mdl *model.Model) {
	t.Helper()
	const n = 200
	sample := make([]float32, 0, n*testDim)
	for i := range n {
		v := unit(seed*1000 + i)
		mrl.Normalize(avx.Generic, v, v)
		sample = append(sample, v...)
	}
	mdl, err := model.Train(t.Context(), spec, sample, n, n, model.Options{NList: 4, CoarseDims: testDim})
	if err != nil {
		t.Fatal(err)
	}
	return mdl
}

// Segments of other axes than the generation's model, or of none, are compared by its axes, whatever order they come in: no
// query is compared with rows that were rotated otherwise. Vectors are shown as they were given, but for their length.
func TestSegmentsOfOtherAxes(t *testing.T) {
	p := newPublisherOf(t, schemas.PrefixRotate)
	a, b := trainModel(t, p.log.Spec(), 1), trainModel(t, p.log.Spec(), 2)
	if a.Axes() == b.Axes() {
		t.Fatal("the models have the same axes")
	}
	n := p.node(Options{Originals: OriginalsNone})
	shows := func(rows int) {
		t.Helper()
		p.await(n, p.m.Generation)
		for _, how := range []string{`"exact":true`, `"plan":{"nprobe":4,"refine":1000}`} {
			if p.m.Model == nil && how != `"exact":true` {
				continue
			}
			for i := range rows {
				w := call(n.API(), http.MethodPost, "/v1/search", fmt.Sprintf(`{"vector":%s,"k":2,%s}`, vectorJSON(unit(i)), how))
				var got answerJSON
				if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
					t.Fatalf("%s: %d %s", how, w.Code, w.Body)
				}
				if h := got.Hits[0]; h.ID != fmt.Sprintf("id-%d", i) || math.Abs(float64(h.Score)-1) > 0.01 {
					t.Fatalf("generation %d, %s: nearest to row %d is %s of score %v", p.m.Generation, how, i, h.ID, h.Score)
				}
			}
		}
		for i := range rows {
			w := call(n.API(), http.MethodGet, fmt.Sprintf("/v1/vectors/id-%d", i), "")
			var got struct{ Vector []float32 }
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			want := unit(i)
			mrl.Normalize(avx.Generic, want, want)
			for d, x := range got.Vector {
				if math.Abs(float64(x-want[d])) > 0.02 {
					t.Fatalf("generation %d: row %d is shown as %v, was %v", p.m.Generation, i, got.Vector, want)
				}
			}
		}
	}
	under := func(mdl *model.Model) {
		t.Helper()
		o, err := p.log.PutModel(t.Context(), mdl)
		if err != nil {
			t.Fatal(err)
		}
		p.m.Model = &schemas.ModelRef{ID: mdl.ID(), Object: o, NList: mdl.NList(), TrainedRows: mdl.TrainedRows(), Repair: "full"}
		p.publish()
	}
	p.add(0, 20)
	shows(20)
	under(a) // rows without axes
	shows(20)
	p.putBy(a, 20, 40)
	p.publish()
	shows(40)
	under(b) // rows without axes, and of others
	p.putBy(b, 40, 60)
	p.putBy(a, 60, 70) // a late one
	p.publish()
	shows(70)
	p.m.Model = nil // as after a rollback, with rows of axes
	p.publish()
	shows(70)
}
