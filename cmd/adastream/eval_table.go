package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/adastream/adastream/index/eval"
)

// markdown writes all tables.
func (r *evalReport) markdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rows, %d queries, kernels %s.\n", r.Rows, r.Queries, r.Level)
	r.widths(&b)
	r.compared(&b)
	r.speed(&b)
	r.fronts(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func tableHead(b *strings.Builder, title string, columns ...string) {
	fmt.Fprintf(b, "\n## %s\n\n| %s |\n|%s\n", title, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
}

func tableRow(b *strings.Builder, cells ...string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

// quality is what systems are judged by: top-1 if there are labels, else recall.
func (r *evalReport) quality(x *eval.Result) float64 {
	if r.Labels {
		return x.Top1
	}
	return x.Recall
}

func (r *evalReport) qualityName() string {
	if r.Labels {
		return "top-1"
	}
	return "recall@10"
}

// widths shows exact search on each width.
func (r *evalReport) widths(b *strings.Builder) {
	families := []string{eval.MRL, eval.Rigid, eval.Truncated, eval.Projected, eval.RandomDims}
	shown := map[string]map[int]*eval.Result{}
	var dims []int
	for _, x := range r.Results {
		if !slices.Contains(families, x.Family) {
			continue
		}
		if shown[x.Family] == nil {
			shown[x.Family] = map[int]*eval.Result{}
		}
		shown[x.Family][x.System.Scan.Dims] = x
		dims = append(dims, x.System.Scan.Dims)
	}
	slices.Sort(dims)
	dims = slices.Compact(dims)
	families = slices.DeleteFunc(families, func(f string) bool { return shown[f] == nil })
	if len(families) == 0 {
		return
	}
	metrics := []struct {
		name string
		of   func(*eval.Result) float64
	}{
		{"recall@10 of the full width's neighbours", func(x *eval.Result) float64 { return x.Recall }},
		{"top-1", func(x *eval.Result) float64 { return x.Top1 }},
		{"mAP@10", func(x *eval.Result) float64 { return x.MAP }},
		{"precision@10", func(x *eval.Result) float64 { return x.Precision }},
	}
	if !r.Labels {
		metrics = metrics[:1]
	}
	for _, m := range metrics {
		tableHead(b, "Exact search: "+m.name, append([]string{"dims"}, families...)...)
		for _, d := range dims {
			cells := []string{fmt.Sprint(d)}
			for _, f := range families {
				cell := "-"
				if x := shown[f][d]; x != nil {
					cell = fmt.Sprintf("%.1f", 100*m.of(x))
				}
				cells = append(cells, cell)
			}
			tableRow(b, cells...)
		}
	}
}

// compared shows comparisons within limits.
func (r *evalReport) compared(b *strings.Builder) {
	if len(r.Comparisons) == 0 {
		return
	}
	tableHead(b, "Best of "+r.qualityName()+" within a limit, chosen on the other half of the queries",
		"limit", "A", "B", "A", "B", "difference", "only A", "only B", "chance")
	for _, c := range r.Comparisons {
		tableRow(b, fmt.Sprintf("%s <= %g", c.What, c.Limit), c.A, c.B, fmt.Sprintf("%.1f", 100*c.InA), fmt.Sprintf("%.1f", 100*c.InB),
			fmt.Sprintf("%+.1f ± %.1f", 100*(c.InA-c.InB), 100*c.Error), fmt.Sprint(c.OnlyA), fmt.Sprint(c.OnlyB), fmt.Sprintf("%.2g", c.Chance))
	}
}

// shares of the best exact search's quality that the table of speeds asks for.
var shares = []float64{0.9, 0.95, 0.98, 0.99}

// speed shows the fastest system of each family that reaches a quality.
func (r *evalReport) speed(b *strings.Builder) {
	best := 0.0
	for _, x := range r.Results {
		if x.Family == eval.MRL {
			best = max(best, r.quality(x))
		}
	}
	if best == 0 {
		return
	}
	columns := []string{"family"}
	for _, s := range shares {
		columns = append(columns, fmt.Sprintf("%.1f", 100*s*best))
	}
	tableHead(b, "Microseconds of the fastest system that reaches "+r.qualityName(), columns...)
	for _, f := range r.families() {
		cells := []string{f}
		for _, s := range shares {
			cell := "-"
			if x := eval.Fastest(r.Results, f, r.quality, s*best); x != nil {
				cell = fmt.Sprintf("%.1f", x.Micros)
			}
			cells = append(cells, cell)
		}
		tableRow(b, cells...)
	}
}

// families are those that were measured, in order.
func (r *evalReport) families() (names []string) {
	for _, x := range r.Results {
		if !slices.Contains(names, x.Family) {
			names = append(names, x.Family)
		}
	}
	return names
}

// fronts shows, of each family, the systems that no other of it beats in cost and quality at once.
func (r *evalReport) fronts(b *strings.Builder) {
	tableHead(b, "Systems that no other of their family beats in MFLOPs, bytes and "+r.qualityName()+" at once", "family", "system",
		"top-1", "mAP@10", "precision@10", "recall@10", "MFLOPs", "counted", "bytes/vector", "µs")
	for _, f := range r.families() {
		for _, x := range r.front(f, func(x *eval.Result) float64 { return x.MFLOPs }, func(x *eval.Result) float64 { return x.Bytes }) {
			tableRow(b, f, strings.TrimSpace(strings.TrimPrefix(x.Name, f)), fmt.Sprintf("%.1f ± %.1f", 100*x.Top1, 100*x.Top1Error), fmt.Sprintf("%.1f", 100*x.MAP),
				fmt.Sprintf("%.1f", 100*x.Precision), fmt.Sprintf("%.1f", 100*x.Recall), fmt.Sprintf("%.3g", x.MFLOPs), fmt.Sprintf("%.3g", x.Counted),
				fmt.Sprintf("%.0f", x.Bytes), fmt.Sprintf("%.3g", x.Micros))
		}
	}
}

// front returns the systems of a family that are worth a look: each other one is no better, and costs as much or more in
// all of costs. They are in order of the first.
func (r *evalReport) front(family string, costs ...func(*eval.Result) float64) (kept []*eval.Result) {
	var all []*eval.Result
	for _, x := range r.Results {
		if x.Family == family {
			all = append(all, x)
		}
	}
	beaten := func(x, by *eval.Result) bool {
		better := r.quality(by) > r.quality(x)
		for _, cost := range costs {
			if cost(by) > cost(x) {
				return false
			}
			better = better || cost(by) < cost(x)
		}
		return better && r.quality(by) >= r.quality(x)
	}
	for _, x := range all {
		if !slices.ContainsFunc(all, func(y *eval.Result) bool { return beaten(x, y) }) {
			kept = append(kept, x)
		}
	}
	slices.SortStableFunc(kept, func(x, y *eval.Result) int {
		switch a, b := costs[0](x), costs[0](y); {
		case a < b:
			return -1
		case a > b:
			return 1
		}
		return 0
	})
	return kept
}
