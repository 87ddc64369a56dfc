package eval

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/adastream/adastream/index/opq"
)

// Reduction is how a view comes from a column.
type Reduction string

// The ways to make a vector shorter.
const (
	Prefix Reduction = ""       // its first dimensions
	PCA    Reduction = "pca"    // its coordinates along the rows' first principal axes
	Random Reduction = "random" // dimensions drawn at random, the same for all rows
)

// View is what a step looks at: Dims dimensions made of a column, at unit length.
type View struct {
	Column string    `json:"column"`
	Reduce Reduction `json:"reduce,omitempty"`
	Dims   int       `json:"dims"`
}

func (v View) String() string {
	if v.Reduce == Prefix {
		return fmt.Sprintf("%s[:%d]", v.Column, v.Dims)
	}
	return fmt.Sprintf("%s %s %d", v.Column, v.Reduce, v.Dims)
}

// Coarse chooses lists.
type Coarse struct {
	View
	NList  int `json:"nlist"`
	NProbe int `json:"nprobe"`
	// Trained is the width that lists are made on, 0 = Dims. A wider one is AdANNS-D: queries see the first Dims dimensions
	// of centroids that were trained on the whole.
	Trained int `json:"trained,omitempty"`
}

// Scan scores the rows that coarse leaves.
type Scan struct {
	View
	Bytes int `json:"bytes,omitempty"` // of the code of a row: 2 sub-quantisers of 4 bits each; 0 = float32
	// Stored is the width of the floats in memory, 0 = Dims. Wider is AdANNS-D: one copy for all widths.
	Stored int `json:"stored,omitempty"`
	// Bound is how many dimensions of all rows are scored at first, 0 = all. The others are scored of rows that may still be among the
	// best, so the answer is the same.
	Bound int `json:"bound,omitempty"`
}

// Stage scores the best Keep rows of the step before once more.
type Stage struct {
	Dims int `json:"dims"`
	Keep int `json:"keep"`
}

// System is a way to search, see the package comment.
type System struct {
	Family string  `json:"family"` // what the papers call it; systems of a family are points of one curve
	Coarse *Coarse `json:"coarse,omitempty"`
	Scan   Scan    `json:"scan"`
	Rerank []Stage `json:"rerank,omitempty"` // on prefixes of the column of Scan
}

// Name tells systems of all families apart.
func (s *System) Name() string { return s.Family + " " + s.structure() + s.probes() }

// structure is the name without what may change from query to query of one index.
func (s *System) structure() string {
	var b strings.Builder
	if c := s.Coarse; c != nil {
		fmt.Fprintf(&b, "lists %d of %s", c.NList, c.View)
		if c.Trained > c.Dims {
			fmt.Fprintf(&b, " trained at %d", c.Trained)
		}
		b.WriteString(", ")
	}
	fmt.Fprintf(&b, "scan %s", s.Scan.View)
	if s.Scan.Stored > s.Scan.Dims {
		fmt.Fprintf(&b, " of %d", s.Scan.Stored)
	}
	if s.Scan.Bytes > 0 {
		fmt.Fprintf(&b, " in %d bytes", s.Scan.Bytes)
	}
	if s.Scan.Bound > 0 {
		fmt.Fprintf(&b, " bounded at %d", s.Scan.Bound)
	}
	for i, r := range s.Rerank {
		if i == 0 {
			b.WriteString(", rerank")
		}
		fmt.Fprintf(&b, " %d at %d", r.Keep, r.Dims)
	}
	return b.String()
}

func (s *System) probes() string {
	if s.Coarse == nil {
		return ""
	}
	return fmt.Sprintf(", probe %d", s.Coarse.NProbe)
}

// Validate reports every fault of the system on data.
func (s *System) Validate(d *Data) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	view := func(name string, v View) {
		switch width := d.width(v.Column); {
		case v.Column != d.Vector && !slices.Contains(d.Rigid, v.Column):
			fault("%s: column %q, allowed: %q, %q", name, v.Column, d.Vector, d.Rigid)
		case v.Dims < 1 || v.Dims > width:
			fault("%s: %d dims of column %q, allowed: 1 to %d", name, v.Dims, v.Column, width)
		case v.Reduce != Prefix && v.Reduce != PCA && v.Reduce != Random:
			fault("%s: reduction %q, allowed: none, %s, %s", name, v.Reduce, PCA, Random)
		}
	}
	view("scan", s.Scan.View)
	if m := 2 * s.Scan.Bytes; m < 0 || m > min(s.Scan.Dims, opq.MaxSubs) {
		fault("scan: %d bytes, two sub-quantisers each, allowed: 0 (floats) to half of %d dims", s.Scan.Bytes, s.Scan.Dims)
	}
	if w := s.Scan.Stored; w != 0 && (w < s.Scan.Dims || w > d.width(s.Scan.Column) || s.Scan.Bytes > 0 || s.Scan.Reduce != Prefix) {
		fault("scan: stored width %d, allowed: of a prefix as floats, %d to %d", w, s.Scan.Dims, d.width(s.Scan.Column))
	}
	if w := s.Scan.Bound; w < 0 || w >= s.Scan.Dims || w > 0 && (s.Scan.Bytes > 0 || s.Scan.Stored > s.Scan.Dims) {
		fault("scan: bounded at %d dims, allowed: of floats as wide as they are stored, 0 (not bounded) to %d", w, s.Scan.Dims-1)
	}
	if c := s.Coarse; c != nil {
		view("coarse", c.View)
		if c.NList < 1 || c.NProbe < 1 || c.NProbe > c.NList {
			fault("coarse: %d of %d lists, allowed: at least 1, and no more than there are", c.NProbe, c.NList)
		}
		if w := c.Trained; w != 0 && (w < c.Dims || w > d.width(c.Column) || c.Reduce != Prefix) {
			fault("coarse: trained on %d dims, allowed: of a prefix, %d to %d", w, c.Dims, d.width(c.Column))
		}
	}
	for i, r := range s.Rerank {
		if r.Dims < 1 || r.Dims > d.width(s.Scan.Column) {
			fault("rerank: %d dims of column %q, allowed: 1 to %d", r.Dims, s.Scan.Column, d.width(s.Scan.Column))
		}
		if r.Keep < 1 || i > 0 && r.Keep > s.Rerank[i-1].Keep {
			fault("rerank: keep %d, allowed: at least 1, and no more than the step before", r.Keep)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("system %q: %w", s.Name(), err)
	}
	return nil
}

// Cost is the multiply-adds of a query over n rows, by the model of the package comment. Completed is how many of them a
// bounded scan scores whole, which nothing tells before; 0 for any other. Width tells how wide a column is.
func (s *System) Cost(n int, completed float64, width func(column string) int) float64 {
	return s.cost(work{float64(n) * s.share(), completed}, width)
}

// share is how much of the rows balanced lists leave to scan.
func (s *System) share() float64 {
	if s.Coarse == nil {
		return 1
	}
	return float64(s.Coarse.NProbe) / float64(s.Coarse.NList)
}

// work is what a query does: rows that are scanned, and those of a bounded scan that are scored whole.
type work struct{ scanned, completed float64 }

// cost is that of a query that does so much.
func (s *System) cost(w work, width func(column string) int) float64 {
	sum := 0.0
	projected := map[View]bool{}
	project := func(v View) {
		if v.Reduce == PCA && !projected[v] {
			projected[v] = true
			sum += float64(width(v.Column) * v.Dims)
		}
	}
	if c := s.Coarse; c != nil {
		sum += float64(c.Dims * c.NList)
		project(c.View)
	}
	project(s.Scan.View)
	d := float64(s.Scan.Dims)
	switch {
	case s.Scan.Bytes > 0:
		sum += d*d + opq.Codewords*d + w.scanned*float64(2*s.Scan.Bytes)
	case s.Scan.Bound > 0:
		sum += w.scanned*float64(s.Scan.Bound) + w.completed*(d-float64(s.Scan.Bound))
	default:
		sum += w.scanned * d
	}
	for _, r := range s.Rerank {
		sum += float64(r.Keep * r.Dims)
	}
	return sum
}
