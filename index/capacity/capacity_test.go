package capacity

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func wish(rows int64, ladder ...int) Wish {
	w := Defaults()
	w.Rows, w.Ladder, w.IDBytes, w.Float16 = rows, ladder, 6, true
	return w
}

// What was measured, and printed in README.md and docs/performance.md, is what the formulas say: bytes within 3 %, memory within 40 %,
// times of real embeddings within a factor of two and a half. Synthetic clusters are easier than those, and no target was asked for there.
func TestPlanIsWhatWasMeasured(t *testing.T) {
	corpus, lean := wish(472754, 64, 128, 256), wish(472754, 64, 128, 256)
	lean.ListsPerRow = 1
	words, sample := wish(65000, 8, 16, 32, 64, 128, 256), wish(20001, 8, 16, 32, 64, 128, 256)
	words.IDBytes, words.AttributeBytes, sample.IDBytes, sample.AttributeBytes = 8, 16, 8, 16
	cheap, dear := corpus, corpus
	two := wish(1000000, 32, 64, 128)
	two.Cores = 2 // so that one thread merges
	large, wide := wish(20000000, 32, 64, 128), wish(10000000, 32, 64, 128, 256)
	bare := large
	large.Updates, wide.Updates = 1, 1
	cheap.Recall, dear.Recall = 0.8, 0.98
	for _, c := range []struct {
		what     string
		w        Wish
		of, name string
		without  float64 // of the figure, in the same unit
		measured float64
		within   float64 // factor
	}{
		{"bytes of a vector, corpus", corpus, "index", "bytes a row", 512, 422, 1.03},
		{"the same, a row in one list", lean, "index", "bytes a row", 512, 386, 1.03},
		{"the same, 250,000 x 128", wish(250000, 32, 64, 128), "index", "bytes a row", 256, 250, 1.03},
		{"the same, 1M x 128", wish(1000000, 32, 64, 128), "index", "bytes a row", 256, 240, 1.03},
		{"the same, 4M x 128", wish(4000000, 32, 64, 128), "index", "bytes a row", 256, 235, 1.03},
		{"the same, 20M x 128", wish(20000000, 32, 64, 128), "index", "bytes a row", 256, 237, 1.03},
		{"the same, 10M x 256", wish(10000000, 32, 64, 128, 256), "index", "bytes a row", 512, 406, 1.03},
		{"the same, 1M x 768, of 2,800 lists", wish(1000000, 192, 384, 768), "index", "bytes a row", 1536, 1052, 1.04}, // 12,000 now
		{"lists, corpus", corpus, "index", "lists", 0, 8160, 1.03},
		{"query node, corpus", corpus, "query node", "memory, steady", 0, 247 << 20, 1.4},
		{"query node, WordNet", words, "query node", "memory, steady", 0, 62 << 20, 1.4},
		{"builder without files, 1M x 128", two, "builder", "memory, least", 0, 278 << 20, 1.5},
		{"the same, 20M x 128", large, "builder", "memory, least", 0, 633 << 20, 1.5},
		{"the same, 10M x 256", wide, "builder", "memory, least", 0, 935 << 20, 1.5},
		{"builder's row, 20M x 128 by loads", large, "builder", "cores", 0, 666.0 / 20e6, 3},
		{"the same, 10M x 256", wide, "builder", "cores", 0, 929.0 / 10e6, 3},
		{"query node, 20M x 128, no originals", bare, "query node", "memory, steady", 0, 4616 << 20, 1.4},
		{"search, corpus", corpus, "query node", "core seconds of a search", 0, 238e-6, 1.01},
		{"search at 0.8, corpus", cheap, "query node", "core seconds of a search", 0, 83e-6, 1.01},
		{"search at 0.98, corpus", dear, "query node", "core seconds of a search", 0, 766e-6, 1.01},
		{"search, WordNet", words, "query node", "core seconds of a search", 0, 67e-6, 2.5},
		{"search, synthetic, 250,000 x 128", wish(250000, 32, 64, 128), "query node", "core seconds of a search", 0, 1 / 27497.0, 8},
		{"search, synthetic, 1M x 128", wish(1000000, 32, 64, 128), "query node", "core seconds of a search", 0, 1 / 14559.0, 8},
		{"search, synthetic, 4M x 128", wish(4000000, 32, 64, 128), "query node", "core seconds of a search", 0, 1 / 7400.0, 8},
		{"search, synthetic, 1M x 768", wish(1000000, 192, 384, 768), "query node", "core seconds of a search", 0, 1 / 2935.0, 8},
		{"segment, corpus", corpus, "ingestors", "core seconds of a row", 0, 1 / 78924.0, 1.3},
	} {
		got := Of(c.w).Value(c.of, c.name) - c.without
		t.Logf("%-32s measured %10.4g, plan %10.4g: %+.0f %%", c.what, c.measured, got, 100*(got/c.measured-1))
		if off := math.Max(got/c.measured, c.measured/got); off > c.within {
			t.Errorf("%s: plan says %.4g, measured %.4g: off by a factor of %.2f, allowed: %.2f", c.what, got, c.measured, off, c.within)
		}
	}
}

// What an ingestor takes for a row is what BenchmarkMessageToSegment says, and grows with lists as assigning does alone.
func TestSegmentMicrosWereMeasured(t *testing.T) {
	of := func(d, lists float64) float64 { return segmentMicros(sizes{n: 1 << 20, d: d, lists: lists}) }
	for _, c := range []struct{ d, lists, more, measured, within float64 }{
		{256, 1024, 0, 1e6 / 101849, 1.02},
		{256, 4096, 0, 1e6 / 89870, 1.02},
		{256, 65536, 1024, 13.91 - 4.67, 1.1}, // both lists, assigned alone
		{128, 65536, 1024, 8.33 - 3.07, 1.2},
		{64, 65536, 1024, 5.31 - 2.16, 1.5},
	} {
		got := of(c.d, c.lists)
		if c.more > 0 {
			got -= of(c.d, c.more)
		}
		if off := math.Max(got/c.measured, c.measured/got); off > c.within {
			t.Errorf("%v dimensions, %v lists (from %v): %.2f us, measured %.2f: off by a factor of %.2f, allowed: %.2f", c.d, c.lists, c.more, got, c.measured, off, c.within)
		}
	}
}

// More of what costs never costs less, and limits come with what binds first before the others.
func TestPlanGrows(t *testing.T) {
	w := wish(1_000_000, 64, 128, 256)
	w.Updates = 1000
	base := Of(w)
	for name, more := range map[string]func(*Wish){
		"rows": func(w *Wish) { w.Rows *= 3 }, "dims": func(w *Wish) { w.Ladder = []int{128, 256, 512} }, "updates": func(w *Wish) { w.Updates *= 3 },
		"qps": func(w *Wish) { w.QPS *= 100 }, "recall": func(w *Wish) { w.Recall = 0.98 }, "exact": func(w *Wish) { w.Recall = 1 }, "float32": func(w *Wish) { w.Float16 = false },
		"attributes": func(w *Wish) { w.AttributeBytes = 100 }, "axes": func(w *Wish) { w.Rotate = true }, "latency": func(w *Wish) { w.StoreLatency *= 3 },
	} {
		other := w
		more(&other)
		if err := other.Validate(); err != nil {
			t.Fatal(err)
		}
		p, grew := Of(other), false
		for i, f := range p.Figures {
			before := base.Figures[i].Value
			// A larger index is rewritten less often, and has fewer lists for its rows; a wider one is trained on fewer rows.
			less := name == "rows" && slices.Contains([]string{"bytes a row", "rewrites a day", "stored", "fetched a day", "written"}, f.Name) || name == "dims" && f.Name == "lists"
			if f.Value < before && !less {
				t.Errorf("more %s: %s, %s falls from %v to %v", name, f.Of, f.Name, before, f.Value)
			}
			grew = grew || f.Value > before
		}
		if !grew {
			t.Errorf("more %s takes no more of anything", name)
		}
		for i := 1; i < len(p.Limits); i++ {
			if p.Limits[i-1].Headroom > p.Limits[i].Headroom {
				t.Errorf("more %s: %v comes before %v", name, p.Limits[i-1], p.Limits[i])
			}
		}
	}
}

// One index cannot be everything: the plan says so, and names the limit.
func TestPlanNamesLimit(t *testing.T) {
	for name, c := range map[string]struct {
		more func(*Wish)
		want string
	}{
		"many rows":         {func(w *Wish) { w.Rows = 3_000_000_000; w.Memory = 1 << 50 }, "rows of an index"},
		"little memory":     {func(w *Wish) { w.Rows = 100_000_000 }, "query node memory"},
		"little of both":    {func(w *Wish) { w.Rows = 10_000_000; w.Memory = 300 << 20 }, "builder memory"},
		"many updates":      {func(w *Wish) { w.Updates = 1_000_000; w.Partitions = 1000 }, "builder processors"},
		"too few ingestors": {func(w *Wish) { w.Updates = 200_000; w.Partitions = 1 }, "ingestors"},
	} {
		t.Run(name, func(t *testing.T) {
			w := wish(1_000_000, 64, 128, 256)
			c.more(&w)
			p := Of(w)
			var short []string
			for _, l := range p.Limits {
				if l.Headroom < 1 {
					short = append(short, l.Name)
				}
			}
			if p.Fits() || !strings.Contains(strings.Join(short, ", "), c.want) {
				t.Errorf("it fits: %v, short of %q, want %q among them", p.Fits(), short, c.want)
			}
		})
	}
}

// A plan of shards is that of one of them, with all queries; and the least number that fits is found.
func TestPlanOfShards(t *testing.T) {
	w := Defaults()
	w.Rows, w.Ladder, w.Updates, w.Partitions, w.Shards = 1_000_000_000, []int{64, 128, 256}, 400, 16, 8
	one := w
	one.Rows, one.Updates, one.Partitions, one.Shards = 125_000_000, 50, 2, 1
	ofEach := func(w Wish) []Figure {
		return slices.DeleteFunc(Of(w).Figures, func(f Figure) bool { return f.Of == "request" })
	}
	if got, want := ofEach(w), ofEach(one); !reflect.DeepEqual(got, want) {
		t.Errorf("of each of 8 shards: %+v, want %+v", got, want)
	}
	n := ShardsFor(w)
	for shards, fits := range map[int]bool{n - 1: false, n: true} {
		w.Shards, w.Partitions = shards, max(16, shards)
		if err := w.Validate(); err != nil {
			t.Fatal(err)
		}
		if got := Of(w).Fits(); got != fits {
			t.Errorf("%d shards fit: %v, want %v", shards, got, fits)
		}
	}
	w.Rows = 1 << 60
	if n := ShardsFor(w); n != 0 {
		t.Errorf("%d shards are said to hold %d rows", n, w.Rows)
	}
}

// The p99 of the slowest of many shards is what one million draws of as many say.
func TestTailOfShards(t *testing.T) {
	w := wish(100_000_000, 64, 128, 256)
	w.P50, w.P99 = 10*time.Millisecond, 25*time.Millisecond
	for _, shards := range []int{1, 14, 135} {
		w.Shards, w.Partitions = shards, max(6, shards)
		p := Of(w)
		rng := rand.New(rand.NewPCG(1, uint64(shards)))
		sigma := math.Log(2.5) / 2.3263 // of which 0.99 are below
		draws := make([]float64, 200_000)
		for i := range draws {
			most := math.Inf(-1)
			for range shards {
				most = max(most, rng.NormFloat64())
			}
			draws[i] = 0.010 * math.Exp(sigma*most)
		}
		slices.Sort(draws)
		for name, want := range map[string]float64{"p50 of all": draws[len(draws)/2], "p99 of all": draws[len(draws)*99/100]} {
			if got := p.Value("request", name); got < 0.98*want || got > 1.02*want {
				t.Errorf("%d shards: %s %.4f s, drawn %.4f", shards, name, got, want)
			}
		}
		t.Logf("%d shards: p50 %.4f, p99 %.4f, asked of each %.6f", shards, p.Value("request", "p50 of all"), p.Value("request", "p99 of all"), p.Value("request", "asked of a shard"))
	}
}

// Chains for loads cost looks, at rest and while one runs, and all rows the work of an ingestor.
func TestLoads(t *testing.T) {
	w := wish(10_000_000, 64, 128, 256)
	plain := Of(w)
	w.Loads = 16
	p := Of(w)
	if got := p.Value("store", "LISTs") - plain.Value("store", "LISTs"); math.Abs(got-1.6) > 1e-9 {
		t.Errorf("16 chains at rest cost %v LISTs a second, want 1.6", got)
	}
	if got := p.Value("load", "LISTs meanwhile"); got != 16 {
		t.Errorf("%v LISTs a second while it runs, want 16", got)
	}
	if got, want := p.Value("load", "core time of all rows"), 1e7*p.Value("ingestors", "core seconds of a row"); got != want {
		t.Errorf("it takes %v s of a core, want %v", got, want)
	}
	w.Loads = -1
	if err := w.Validate(); err == nil {
		t.Error("-1 loads are taken")
	}
}

// Money is of what has a price, for all shards, and there is none without.
func TestMoney(t *testing.T) {
	w := wish(10_000_000, 64, 128, 256)
	w.Updates = 100
	has := func(p *Plan, name string) bool {
		return slices.ContainsFunc(p.Figures, func(f Figure) bool { return f.Of == "money a month" && f.Name == name })
	}
	if has(Of(w), "sum") {
		t.Error("there is money without a price")
	}
	w.Prices = Prices{MachineHour: 0.5, MillionWrites: 5}
	one := Of(w)
	if has(one, "stored") || has(one, "GETs") || !has(one, "builders") {
		t.Errorf("figures %+v", one.Figures)
	}
	nodes, requests := one.Value("query node", "nodes"), one.Value("store", "PUTs")+one.Value("store", "LISTs")
	ingestors := 2 * one.Value("ingestors", "processes") / w.Cores
	want := 0.5*(nodes+1+ingestors)*730.5 + 5*requests*730.5*3600/1e6
	if got := one.Value("money a month", "sum"); math.Abs(got-want) > 1e-6*want {
		t.Errorf("sum %v, want %v", got, want)
	}
	w.Rows, w.Updates, w.Shards, w.Partitions = 4*w.Rows, 4*w.Updates, 4, 4*w.Partitions
	if got := Of(w).Value("money a month", "sum"); math.Abs(got-4*want) > 1e-6*want {
		t.Errorf("sum of four shards %v, want %v", got, 4*want)
	}
	w.Prices.GiBMonth, w.P99 = -1, time.Second
	if err := w.Validate(); err == nil || !strings.Contains(err.Error(), "price of a GiB and month: -1") || !strings.Contains(err.Error(), "p99: 1s with a p50 of 0s") {
		t.Errorf("%v", err)
	}
}

func TestWishIsChecked(t *testing.T) {
	w := wish(0, 7)
	w.Recall, w.Busy = 2, 0
	err := w.Validate()
	for _, want := range []string{"rows: 0", "ladder", "recall: 2, allowed: 0.5 to 1", "busy: 0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %q", err, want)
		}
	}
	if err := wish(1, 64).Validate(); err != nil {
		t.Error(err)
	}
}
