package recall

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/index/snapshot/snapshottest"
	"github.com/adastream/adastream/schemas"
)

// planned is a snapshot with made-up plans: of the full width and of 16 dimensions.
func planned(t *testing.T) *snapshot.Snapshot {
	t.Helper()
	_, snap := build(t, rows, true)
	snap.Manifest().Plans = []schemas.PlanPoint{
		{NProbe: 1, ScanDims: 32, Refine: 50, Recall: 0.6, Low: 0.55, Lists: 1, Bytes: 1000, Micros: 10},
		{NProbe: 4, ScanDims: 32, Refine: 50, Recall: 0.9, Low: 0.85, Lists: 4, Bytes: 4000, Micros: 20},
		{NProbe: 16, Margin: 0.1, ScanDims: 32, Refine: 100, Recall: 0.97, Low: 0.95, Lists: 8.5, Bytes: 9000, Micros: 40},
		{NProbe: 1, ScanDims: 16, Refine: 50, Dims: 16, Recall: 0.46, Low: 0.4, Lists: 1, Bytes: 500, Micros: 8},
		{NProbe: 2, ScanDims: 16, Refine: 50, Dims: 16, Recall: 0.5, Low: 0.45, Lists: 2, Bytes: 900, Micros: 9},
	}
	return snap
}

func at(x float64) *float64 { return &x }

func TestWish_Choose(t *testing.T) {
	snap := planned(t)
	plans := snap.Manifest().Plans
	const exactly = -1
	for _, tt := range []struct {
		name  string
		w     Wish
		pace  float64
		want  int // index into plans
		short string
	}{
		{"nothing", Wish{}, 1, 2, ""}, // the index promises 0.95
		{"target", Wish{TargetRecall: at(0.8)}, 1, 1, ""},
		{"targetByTheMean", Wish{TargetRecall: at(0.96)}, 1, 2, ""},
		{"targetTooHigh", Wish{TargetRecall: at(0.99)}, 1, exactly, ""},
		{"leastEffort", Wish{Effort: at(0)}, 1, 0, ""},
		{"someEffort", Wish{Effort: at(0.4)}, 1, 1, ""},
		{"allEffort", Wish{Effort: at(1)}, 1, 2, ""},
		{"micros", Wish{Budget: &Budget{Microseconds: at(39)}}, 1, 1, ""},
		{"microsHere", Wish{Budget: &Budget{Microseconds: at(39)}}, 2, 0, ""},
		{"microsFaster", Wish{Budget: &Budget{Microseconds: at(39)}}, 0.9, 2, ""},
		{"tooFewMicros", Wish{Budget: &Budget{Microseconds: at(9)}}, 1, 0, ShortBudget},
		{"lists", Wish{Budget: &Budget{Lists: at(8.5)}}, 1, 2, ""},
		{"fewLists", Wish{Budget: &Budget{Lists: at(8)}}, 1, 1, ""},
		{"bytes", Wish{Budget: &Budget{Bytes: at(4000)}}, 1, 1, ""},
		{"tooFewBytes", Wish{Budget: &Budget{Bytes: at(999)}}, 1, 0, ShortBudget},
		{"dims", Wish{Dims: 16}, 1, 4, ShortDims},
		{"dimsTarget", Wish{Dims: 16, TargetRecall: at(0.45)}, 1, 4, ""},
		{"dimsTargetTooHigh", Wish{Dims: 16, TargetRecall: at(0.9)}, 1, 4, ShortDims},
		{"dimsBudget", Wish{Dims: 16, Budget: &Budget{Lists: at(1)}}, 1, 3, ""},
		{"dimsThatAreAll", Wish{Dims: dim, Effort: at(0)}, 1, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := tt.w.Choose(snap, tt.pace)
			want := Choice{Plan: search.Plan{Exact: true}}
			if tt.want != exactly {
				want = Choice{Plan: planOf(plans[tt.want]), Expected: &plans[tt.want]}
			}
			if err != nil || c.Plan != want.Plan || c.Short != tt.short || (c.Expected == nil) != (want.Expected == nil) || c.Expected != nil && *c.Expected != *want.Expected {
				t.Errorf("got %+v (%v), %v, want %+v", c, c.Expected, err, want)
			}
		})
	}
	for _, tt := range []struct {
		name string
		w    Wish
		want Choice
	}{
		{"plan", Wish{Plan: &search.Plan{NProbe: 3, Refine: 9}}, Choice{Plan: search.Plan{NProbe: 3, ScanDims: dim, Refine: 9}}},
		{"planDims", Wish{Plan: &search.Plan{NProbe: 3, Refine: 9}, Dims: 8}, Choice{Plan: search.Plan{NProbe: 3, ScanDims: 8, Refine: 9, Dims: 8}}},
		{"exact", Wish{Exact: true}, Choice{Plan: search.Plan{Exact: true}}},
		{"exactDims", Wish{Exact: true, Dims: 8}, Choice{Plan: search.Plan{Exact: true, Dims: 8}}},
		{"unmeasured", Wish{Effort: at(0), Dims: 8}, Choice{Plan: search.Plan{Exact: true, Dims: 8}}},
		{"unmeasuredBudget", Wish{Budget: &Budget{Lists: at(1)}, Dims: 8}, Choice{Plan: search.Plan{Exact: true, Dims: 8}, Short: ShortBudget}},
	} {
		if c, err := tt.w.Choose(snap, 1); err != nil || c != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v", tt.name, c, err, tt.want)
		}
	}
}

// Plans that originals decide are the last to be taken, and where originals are not kept the answer says what it is worth.
func TestWish_originals(t *testing.T) {
	for _, bare := range []bool{false, true} {
		d := snapshottest.Clustered(snapshottest.Spec(schemas.Cosine, 8, 16, dim), rows, 1)
		build := snapshottest.Build
		if bare {
			build = snapshottest.BuildBare
		}
		snap := build(t, d, d.Train(t, level(t), nlist), level(t), []snapshottest.Group{{Kind: snapshottest.Chunks, End: rows}}, nil)
		plans := []schemas.PlanPoint{
			{NProbe: 1, ScanDims: 32, Refine: 50, Recall: 0.6, Low: 0.55, Lists: 1, Bytes: 1000, Micros: 10},
			{NProbe: 4, ScanDims: 32, Refine: 50, Recall: 0.8, Low: 0.75, Lists: 4, Bytes: 4000, Micros: 30},
			{NProbe: 2, ScanDims: 32, Refine: 50, Originals: true, Recall: 0.975, Low: 0.96, Lists: 2, Bytes: 5000, Micros: 40},
			{NProbe: 8, ScanDims: 32, Refine: 100, Originals: true, Recall: 0.998, Low: 0.995, Lists: 8, Bytes: 9000, Micros: 60},
		}
		snap.Manifest().Plans = plans
		for _, tt := range []struct {
			name  string
			w     Wish
			want  [3]int // with originals, without, and where they can be brought
			short string // without
		}{
			{"nothing", Wish{}, [3]int{2, 1, 2}, ShortInt8},             // the index promises 0.95
			{"tight", Wish{TargetRecall: at(0.8)}, [3]int{2, 1, 1}, ""}, // which int8 rows reach on average only
			{"low", Wish{TargetRecall: at(0.27)}, [3]int{0, 0, 0}, ""},
			{"high", Wish{TargetRecall: at(0.99)}, [3]int{3, -1, 3}, ShortInt8},
			{"effort", Wish{Effort: at(1)}, [3]int{3, 1, 1}, ""},
			{"budget", Wish{Budget: &Budget{Microseconds: at(50)}}, [3]int{2, 1, 1}, ""},
			{"exact", Wish{Exact: true}, [3]int{-1, -1, -1}, ShortInt8},
			{"plan", Wish{Plan: &search.Plan{NProbe: 1, Refine: 1, Originals: true}}, [3]int{-2, -2, -2}, ShortInt8},
		} {
			for _, remote := range []bool{false, true} {
				tt.w.Remote = remote
				c, err := tt.w.Choose(snap, 1)
				want, short := tt.want[0], ""
				switch {
				case bare && remote:
					want = tt.want[2]
				case bare:
					want, short = tt.want[1], tt.short
				}
				is := -2
				if c.Plan.Exact {
					is = -1
				} else if c.Expected != nil {
					is = slices.Index(plans, *c.Expected)
				}
				if err != nil || is != want || c.Short != short {
					t.Errorf("%s, bare %v, remote %v: plan %d, short %q, %v, want %d, %q", tt.name, bare, remote, is, c.Short, err, want, short)
				}
			}
		}
	}
}

func TestWish_mistakes(t *testing.T) {
	snap := planned(t)
	for _, tt := range []struct {
		w     Wish
		field string
	}{
		{Wish{TargetRecall: at(0)}, "target_recall"},
		{Wish{TargetRecall: at(1.01)}, "target_recall"},
		{Wish{TargetRecall: at(math.NaN())}, "target_recall"},
		{Wish{Effort: at(-0.1)}, "effort"},
		{Wish{Effort: at(1.1)}, "effort"},
		{Wish{Effort: at(math.NaN())}, "effort"},
		{Wish{Budget: &Budget{}}, "budget"},
		{Wish{Budget: &Budget{Lists: at(1), Bytes: at(1)}}, "budget"},
		{Wish{Budget: &Budget{Lists: at(-1)}}, "budget.lists"},
		{Wish{Budget: &Budget{Microseconds: at(math.Inf(1))}}, "budget.microseconds"},
		{Wish{Budget: &Budget{Bytes: at(math.NaN())}}, "budget.bytes"},
		{Wish{Dims: 9}, "dims"},
		{Wish{Dims: -8, Exact: true}, "dims"},
		{Wish{Effort: at(1), Budget: &Budget{Lists: at(1)}}, "budget and effort"},
		{Wish{TargetRecall: at(1), Exact: true}, "target_recall and exact"},
		{Wish{TargetRecall: at(1), Effort: at(1), Plan: &search.Plan{}}, "target_recall and effort and plan"},
		{Wish{Plan: &search.Plan{NProbe: 0, Refine: 1}}, "plan.nprobe"},
		{Wish{Plan: &search.Plan{NProbe: 1, ScanDims: 32, Refine: 1}, Dims: 16}, "plan.scan_dims"},
		{Wish{Plan: &search.Plan{NProbe: 1, Margin: -1, Refine: 1}}, "plan.margin"},
	} {
		var bad *search.QueryError
		if _, err := tt.w.Choose(snap, 1); !errors.As(err, &bad) || bad.Field != tt.field {
			t.Errorf("%+v: %v, want a mistake in %s", tt.w, err, tt.field)
		}
	}
}

func TestWish_Degrade(t *testing.T) {
	snap := planned(t)
	plans := snap.Manifest().Plans
	for _, tt := range []struct {
		name  string
		w     Wish
		floor float64
		want  int // index into plans, -1 as it was
	}{
		{"default", Wish{}, 0.8, 1},
		{"exactBecauseOfTheTarget", Wish{TargetRecall: at(1)}, 0.8, 1},
		{"cheapAsItIs", Wish{Effort: at(0)}, 0.8, -1},
		{"nothingReachesTheFloor", Wish{}, 0.99, -1},
		{"asGoodAsTheFloor", Wish{TargetRecall: at(0.8)}, 0.8, -1},
		{"exact", Wish{Exact: true}, 0.8, -1},
		{"plan", Wish{Plan: &search.Plan{NProbe: 60, Refine: 100}}, 0.8, -1},
		{"dims", Wish{Dims: 16}, 0.02, 3},
	} {
		before, err := tt.w.Choose(snap, 1)
		if err != nil {
			t.Fatal(err)
		}
		c, degraded := tt.w.Degrade(before, snap, tt.floor)
		if tt.want < 0 && (degraded || c != before) || tt.want >= 0 && (!degraded || c.Plan != planOf(plans[tt.want])) {
			t.Errorf("%s: got %+v, %v", tt.name, c, degraded)
		}
	}
}

// More effort and more budget find no less, on data and plans as they are.
func TestWish_isMonotone(t *testing.T) {
	_, snap := build(t, rows, true)
	s := sample(t, snap)
	var err error
	if snap.Manifest().Plans, err = Table(context.Background(), level(t), 2, snap, s, k); err != nil {
		t.Fatal(err)
	}
	for name, wish := range map[string]func(x float64) Wish{
		"effort": func(x float64) Wish { return Wish{Effort: at(x)} },
		"target": func(x float64) Wish { return Wish{TargetRecall: at(0.5 + x/2)} },
		"lists":  func(x float64) Wish { return Wish{Budget: &Budget{Lists: at(1 + x*nlist)}} },
		"bytes":  func(x float64) Wish { return Wish{Budget: &Budget{Bytes: at(1000 + x*1e5)}} },
		"micros": func(x float64) Wish { return Wish{Budget: &Budget{Microseconds: at(1 + 100*x)}} },
		"dims8":  func(x float64) Wish { return Wish{Effort: at(x), Dims: 8} },
		"dims16": func(x float64) Wish { return Wish{Effort: at(x), Dims: 16} },
	} {
		before := 0.0
		for x := 0.0; x <= 1; x += 0.125 {
			c, err := wish(x).Choose(snap, 1)
			if err != nil {
				t.Fatal(err)
			}
			r, err := Measure(context.Background(), level(t), snap, s, k, c.Plan)
			if err != nil {
				t.Fatal(err)
			}
			if c.Expected != nil && r.Recall != c.Expected.Recall {
				t.Errorf("%s %v: recall %v, expected %v", name, x, r.Recall, c.Expected.Recall)
			}
			if r.Recall < before {
				t.Errorf("%s %v: recall %v, with less %v", name, x, r.Recall, before)
			}
			before = r.Recall
		}
	}
}
