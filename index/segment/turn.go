package segment

import (
	"fmt"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/schemas"
)

// Turn returns a part whose int8 rows and norms are by the axes of a model, nil for none: the part itself if they are that
// already. Else they are derived from the originals, which it must have, and kept in memory; the rest is shared with the part,
// and lives as long. A query is compared with rows of its own axes only.
func Turn(spec *schemas.Spec, mdl *model.Model, level avx.Level, p *Part) (*Part, error) {
	if p.Axes == mdl.Axes() {
		return p, nil
	}
	d, err := newDeriver(spec, mdl, level)
	if err != nil {
		return nil, fmt.Errorf("turn part %s: %w", p.ID, err)
	}
	if !p.HasVectors() || p.dim != spec.Dim() || p.vectorT != spec.Vectors {
		return nil, fmt.Errorf("turn part %s: not a part of this index with vectors", p.ID)
	}
	rows := make([]int32, p.N)
	for i := range rows {
		rows[i] = int32(i)
	}
	c := newCompared(spec, p.N)
	if err := d.compareAnew(&c, rows, p.Stored); err != nil {
		return nil, fmt.Errorf("turn part %s: %w", p.ID, err)
	}
	turned := *p
	turned.Axes, turned.Int8, turned.Scales, turned.Norms = mdl.Axes(), c.int8s, c.scales, c.norms
	return &turned, nil
}
