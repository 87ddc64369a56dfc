package segment

import (
	"context"
	"fmt"
	"sort"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/coarse"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/schemas"
)

// Audit is what is wrong with the codes of a base, as far as its model can tell.
type Audit struct {
	Codes   int // that there are
	Missing int // of a row in one of its lists: queries do not find it there
	Strange int // of a row in a list that is none of its own, or there twice

	Sampled int // codes that were made anew from their rows
	Worst   int // sub-quantiser of which most of those differ
	Differ  int // how many of the sampled codes differ in it
}

// auditShare is the share of codes that may differ in a sub-quantiser: kernels of other machines, which made them, may
// decide otherwise between two codewords that are as near as makes no difference.
const auditShare = 0.05

// Err is nil if the codes are good.
func (a Audit) Err() error {
	switch {
	case a.Missing > 0 || a.Strange > 0:
		return fmt.Errorf("%d codes of rows in their lists are missing, and %d are where they do not belong, beside %d", a.Missing, a.Strange, a.Codes)
	case float64(a.Differ) > auditShare*float64(a.Sampled):
		return fmt.Errorf("%d of %d codes are not what the model makes of their rows in sub-quantiser %d", a.Differ, a.Sampled, a.Worst)
	}
	return nil
}

// AuditCodes looks at all codes of a base, whose chunks are given in order and have vectors, for whether they are there, and
// at an even sample of about so many of them for whether they are what the model makes of their rows. It holds two bits for each row.
func AuditCodes(ctx context.Context, spec *schemas.Spec, mdl *model.Model, level avx.Level, base []*Part, sample int) (Audit, error) {
	d, err := newDeriver(spec, mdl, level)
	if err != nil {
		return Audit{}, fmt.Errorf("audit: %w", err)
	}
	a := auditor{deriver: d, base: base, starts: []int{0}, differ: make([]int, mdl.M())}
	total := 0
	for i, p := range base {
		a.starts = append(a.starts, a.starts[i]+p.N)
		for l := p.FirstList; l < p.EndList; l++ {
			start, end := p.CodeRange(l)
			total += end - start
		}
	}
	a.step = max(1, total/max(1, sample))
	a.met = make([]uint8, (a.starts[len(base)]+metRows-1)/metRows)
	for _, p := range base {
		for l := p.FirstList; l < p.EndList; l++ {
			if err := a.list(ctx, p, l); err != nil {
				return Audit{}, fmt.Errorf("audit: part %s: list %d: %w", p.ID, l, err)
			}
		}
	}
	return a.audit(), nil
}

// In which of its lists a row has been met is two bits.
const (
	inFirst  = 1
	inSecond = 2
	metBits  = 2
	metRows  = 8 / metBits // of a byte
)

type auditor struct {
	*deriver
	base   []*Part
	starts []int   // of each part's rows, and their end
	met    []uint8 // metBits of each row of the base
	step   int     // one code of so many is sampled
	found  Audit
	differ []int // of each sub-quantiser
}

func (a *auditor) list(ctx context.Context, p *Part, list int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	start, end := p.CodeRange(list)
	for at := start; at < end; at++ {
		number := int(p.CodeRows[at])
		if rows := a.starts[len(a.base)]; number >= rows {
			return fmt.Errorf("%w: code %d is of row %d of %d", schemas.ErrCorrupt, at, number, rows)
		}
		of, row := a.rowOf(number)
		bit := uint8(0)
		switch int32(list) {
		case of.ListAt(row):
			bit = inFirst
		case of.SpillAt(row):
			bit = inSecond
		}
		met, shift := &a.met[number/metRows], number%metRows*metBits
		if bit == 0 || *met>>shift&bit != 0 {
			a.found.Strange++
		}
		*met |= bit << shift
		if a.found.Codes++; a.found.Codes%a.step == 0 && bit != 0 {
			if err := a.check(p, at, of, row, int32(list)); err != nil {
				return err
			}
		}
	}
	return nil
}

// rowOf finds a row of the base by its number.
func (a *auditor) rowOf(number int) (p *Part, row int) {
	i := sort.SearchInts(a.starts, number+1) - 1
	return a.base[i], number - a.starts[i]
}

// check makes the code of a row anew, and counts where it differs.
func (a *auditor) check(p *Part, at int, of *Part, row int, list int32) error {
	if err := a.search(a.row(0), of.Stored(row)); err != nil {
		return fmt.Errorf("id %q: %w: %w", of.IDAt(row), err, schemas.ErrCorrupt)
	}
	is, want := make([]byte, a.codeBytes()), make([]byte, a.codeBytes())
	p.ReadCode(is, at)
	a.mdl.Encode(a.level, a.vectors(1), 1, []int32{list}, want, a.scratch)
	a.found.Sampled++
	for m := range a.differ {
		if shift := 4 * (m % 2); (is[m/2]^want[m/2])>>shift&15 != 0 {
			a.differ[m]++
		}
	}
	return nil
}

func (a *auditor) audit() Audit {
	for i, p := range a.base {
		for row := range p.N {
			number := a.starts[i] + row
			met := a.met[number/metRows] >> (number % metRows * metBits)
			if met&inFirst == 0 {
				a.found.Missing++
			}
			if met&inSecond == 0 && p.SpillAt(row) != coarse.NoSpill {
				a.found.Missing++
			}
		}
	}
	for m, n := range a.differ {
		if n > a.found.Differ {
			a.found.Worst, a.found.Differ = m, n
		}
	}
	return a.found
}
