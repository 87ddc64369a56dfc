package eval

import (
	"errors"
	"fmt"
	"slices"

	"github.com/adastream/adastream/index/mrl"
)

// Column is a matrix, row-major.
type Column struct {
	Dim    int
	Values []float32
}

// Row is a row of the matrix.
func (c Column) Row(i int) []float32 { return c.Values[i*c.Dim:][:c.Dim] }

// Table is rows with their vectors under one or more encoders.
type Table struct {
	N       int
	Labels  []int32 // class of each row; nil if there are none
	Columns map[string]Column
}

// Data is what systems are measured on. It is not changed.
type Data struct {
	Rows, Queries Table
	Vector        string     // column of the Matryoshka encoder
	Rigid         []string   // columns of independent encoders, ascending in width; may be empty
	Ladder        mrl.Ladder // widths that are compared
}

// Validate reports every fault.
func (d *Data) Validate() error {
	var faults []error
	for _, t := range []struct {
		name string
		*Table
	}{{"rows", &d.Rows}, {"queries", &d.Queries}} {
		if t.N < 1 {
			faults = append(faults, fmt.Errorf("%s: %d, allowed: at least 1", t.name, t.N))
		}
		if t.Labels != nil && len(t.Labels) != t.N {
			faults = append(faults, fmt.Errorf("%s: %d labels of %d", t.name, len(t.Labels), t.N))
		}
		for _, name := range append([]string{d.Vector}, d.Rigid...) {
			c, ok := t.Columns[name]
			if !ok || c.Dim < 1 || len(c.Values) != t.N*c.Dim || c.Dim != d.Rows.Columns[name].Dim {
				faults = append(faults, fmt.Errorf("%s: column %q: %d values of width %d, allowed: one vector for each row, as wide in rows and queries",
					t.name, name, len(c.Values), c.Dim))
			}
		}
	}
	if (d.Rows.Labels == nil) != (d.Queries.Labels == nil) {
		faults = append(faults, errors.New("labels: only one of rows and queries has them, allowed: both or none"))
	}
	if !slices.IsSortedFunc(d.Rigid, func(a, b string) int { return d.width(a) - d.width(b) }) {
		faults = append(faults, fmt.Errorf("rigid: %v, allowed: ascending in width", d.Rigid))
	}
	if len(d.Ladder) == 0 || d.Ladder[0] < 1 || !slices.IsSorted(d.Ladder) || len(slices.Compact(slices.Clone(d.Ladder))) != len(d.Ladder) ||
		d.Ladder.Dim() != d.width(d.Vector) {
		faults = append(faults, fmt.Errorf("ladder: %s, allowed: ascending widths up to that of column %q, %d", d.Ladder, d.Vector, d.width(d.Vector)))
	}
	return errors.Join(faults...)
}

func (d *Data) width(column string) int { return d.Rows.Columns[column].Dim }

// reference is the column whose neighbours at full width count as the true ones for systems on a column: the column itself
// if it is the Matryoshka encoder's, else the widest of the independent ones.
func (d *Data) reference(column string) string {
	if column == d.Vector || len(d.Rigid) == 0 {
		return d.Vector
	}
	return d.Rigid[len(d.Rigid)-1]
}
