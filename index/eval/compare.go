package eval

import (
	"cmp"
	"math"
	"slices"
)

// Comparison sets the best that one family reaches within a limit beside what another reaches within the same.
//
// Who is best is chosen on one half of the queries and judged on the other, and the other way round: of many systems that
// are equally good the luckiest would win if it were judged on the queries that it was chosen by.
type Comparison struct {
	What  string  `json:"what"`  // is limited: mflops, microseconds, bytes_per_vector
	Limit float64 `json:"limit"` // the most of it
	Of    string  `json:"of"`    // quality compared
	A     string  `json:"a"`     // families
	B     string  `json:"b"`
	InA   float64 `json:"in_a"` // the quality of each
	InB   float64 `json:"in_b"`
	Error float64 `json:"error"` // standard error of the difference, which is of pairs: both answered the same queries
	// McNemar's test, for top-1: queries that only one of them gets right, and how likely so uneven a split is by chance.
	OnlyA  int     `json:"only_a,omitempty"`
	OnlyB  int     `json:"only_b,omitempty"`
	Chance float64 `json:"chance,omitempty"`
}

// measure is a quantity that limits systems.
type measure struct {
	name   string
	of     func(*Result) float64
	limits []float64
	pairs  [][2]string
}

// measures are the comparisons of the papers and those that their readers should ask for.
func measures() []measure {
	ivf := [][2]string{
		{AdannsIVF, RigidIVF}, {AdannsIVF, MRIVF}, {AdannsIVF, MGIVF}, {AdannsD, MRIVF}, {AdannsD, RigidIVF},
		{AdannsIVF, TruncatedIVF}, {AdannsIVF, ProjectedIVF}, {MRIVF, RigidIVF},
	}
	return []measure{
		{"mflops", func(r *Result) float64 { return r.MFLOPs }, []float64{0.02, 0.05, 0.1, 0.2, 0.5}, ivf},
		{"microseconds", func(r *Result) float64 { return r.Micros }, []float64{2.5, 5, 10, 20, 40}, ivf},
		{"code bytes", func(r *Result) float64 {
			if r.System == nil {
				return math.Inf(1)
			}
			return float64(r.System.Scan.Bytes)
		}, []float64{8, 16, 32, 64}, [][2]string{
			{AdannsOPQ, RigidOPQ}, {AdannsOPQ, AnyOPQ}, {AdannsOPQ, MROPQ}, {AdannsOPQ, ProjectedOPQ}, {AdannsOPQ, TruncatedOPQ},
			{AdannsBoth, RigidBoth}, {AdannsBoth, AnyBoth},
		}},
	}
}

// Compare makes all comparisons that there are results for: of top-1 with labels, else of recall@10.
func Compare(results []*Result, labels bool) (all []Comparison) {
	all = []Comparison{} // in JSON none are [], not null
	of, name := func(g Grade) float64 { return float64(g.Recall) }, "recall10"
	if labels {
		of, name = func(g Grade) float64 {
			if g.First {
				return 1
			}
			return 0
		}, "top1"
	}
	for _, m := range measures() {
		for _, limit := range m.limits {
			for _, pair := range m.pairs {
				a := within(results, pair[0], m.of, limit, of)
				b := within(results, pair[1], m.of, limit, of)
				if a == nil || b == nil {
					continue
				}
				c := Comparison{What: m.name, Limit: limit, Of: name, A: pair[0], B: pair[1]}
				c.judge(a, b)
				all = append(all, c)
			}
		}
	}
	return all
}

// within returns, for each query, the quality of the best system of a family within the limit, which was chosen on the
// queries of the other half. It is nil if there is none.
func within(results []*Result, family string, limited func(*Result) float64, limit float64, of func(Grade) float64) []float64 {
	var some []*Result
	for _, r := range results {
		if r.Family == family && limited(r) <= limit && len(r.Queries) > 0 {
			some = append(some, r)
		}
	}
	if len(some) == 0 {
		return nil
	}
	values := make([]float64, len(some[0].Queries))
	for half := range 2 {
		chosen := slices.MaxFunc(some, func(a, b *Result) int {
			return cmp.Compare(sumHalf(a, 1-half, of), sumHalf(b, 1-half, of))
		})
		for q := half; q < len(values); q += 2 {
			values[q] = of(chosen.Queries[q])
		}
	}
	return values
}

func sumHalf(r *Result, half int, of func(Grade) float64) (sum float64) {
	for q := half; q < len(r.Queries); q += 2 {
		sum += of(r.Queries[q])
	}
	return sum
}

// judge compares the qualities of the same queries.
func (c *Comparison) judge(a, b []float64) {
	n := float64(len(a))
	var squares float64
	for q := range a {
		c.InA += a[q] / n
		c.InB += b[q] / n
		squares += (a[q] - b[q]) * (a[q] - b[q])
		switch {
		case c.Of != "top1":
		case a[q] > b[q]:
			c.OnlyA++
		case a[q] < b[q]:
			c.OnlyB++
		}
	}
	difference := c.InA - c.InB
	c.Error = math.Sqrt(max(0, squares/n-difference*difference) / n)
	if c.Of == "top1" {
		c.Chance = mcnemar(c.OnlyA, c.OnlyB)
	}
}

// mcnemar is the two-sided probability that fair coins fall at least as unevenly: the exact binomial test.
func mcnemar(a, b int) float64 {
	n, least := a+b, min(a, b)
	sum := 0.0
	for i := range least + 1 {
		lgN, _ := math.Lgamma(float64(n + 1))
		lgI, _ := math.Lgamma(float64(i + 1))
		lgR, _ := math.Lgamma(float64(n - i + 1))
		sum += math.Exp(lgN - lgI - lgR - float64(n)*math.Ln2)
	}
	return min(1, 2*sum)
}

// Fastest returns, of the results of a family that reach a quality, the one that takes the least time; nil if none does.
func Fastest(results []*Result, family string, quality func(*Result) float64, least float64) *Result {
	var found *Result
	for _, r := range results {
		if r.Family == family && quality(r) >= least && (found == nil || r.Micros < found.Micros) {
			found = r
		}
	}
	return found
}
