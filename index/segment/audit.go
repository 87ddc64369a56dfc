package segment

import (
	"context"
	"fmt"
	"sort"
	"sync/atomic"

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
// Each thread takes a chunk, then the next; what is found does not depend on them.
func AuditCodes(ctx context.Context, spec *schemas.Spec, mdl *model.Model, level avx.Level, threads int, base []*Part, sample int) (Audit, error) {
	a := auditor{base: base, starts: []int{0}}
	total := 0
	for i, p := range base {
		a.starts, a.codes = append(a.starts, a.starts[i]+p.N), append(a.codes, total)
		for l := p.FirstList; l < p.EndList; l++ {
			start, end := p.CodeRange(l)
			total += end - start
		}
	}
	a.step = max(1, total/max(1, sample))
	a.met = make([]uint32, (a.starts[len(base)]+metRows-1)/metRows)
	for range min(max(1, threads), len(base)) {
		d, err := newDeriver(spec, mdl, level)
		if err != nil {
			return Audit{}, fmt.Errorf("audit: %w", err)
		}
		a.threads = append(a.threads, &auditThread{auditor: &a, deriver: d, differ: make([]int, mdl.M())})
	}
	err := Share(ctx, a.threads, len(base), func(ctx context.Context, t *auditThread, part int) error {
		p, codes := base[part], a.codes[part]
		for l := p.FirstList; l < p.EndList; l++ {
			if err := t.list(ctx, p, l, codes); err != nil {
				return fmt.Errorf("audit: part %s: list %d: %w", p.ID, l, err)
			}
			start, end := p.CodeRange(l)
			codes += end - start
		}
		return nil
	})
	if err != nil {
		return Audit{}, err
	}
	// A row's codes are in any of the chunks: what is missing is known when all have been looked at.
	err = Share(ctx, a.threads, len(base), func(_ context.Context, t *auditThread, part int) error {
		t.missing(part)
		return nil
	})
	return a.audit(), err
}

// In which of its lists a row has been met is two bits.
const (
	inFirst  = 1
	inSecond = 2
	metBits  = 2
	metRows  = 32 / metBits // of a word
)

// auditor is what threads have in common. They change nothing of it but bits of met, by atomic operations.
type auditor struct {
	base    []*Part
	starts  []int    // of each part's rows, and their end
	codes   []int    // that the parts before each have
	met     []uint32 // metBits of each row of the base
	step    int      // one code of so many is sampled
	threads []*auditThread
}

type auditThread struct {
	*auditor
	*deriver
	found  Audit
	differ []int // of each sub-quantiser
}

// list looks at the codes of a list, before which there are some.
func (t *auditThread) list(ctx context.Context, p *Part, list, before int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	start, end := p.CodeRange(list)
	t.found.Codes += end - start
	for at := start; at < end; at++ {
		number := int(p.CodeRows[at])
		if rows := t.starts[len(t.base)]; number >= rows {
			return fmt.Errorf("%w: code %d is of row %d of %d", schemas.ErrCorrupt, at, number, rows)
		}
		of, row := t.rowOf(number)
		bit := uint32(0)
		switch int32(list) {
		case of.ListAt(row):
			bit = inFirst
		case of.SpillAt(row):
			bit = inSecond
		}
		shift := number % metRows * metBits
		if met := atomic.OrUint32(&t.met[number/metRows], bit<<shift); bit == 0 || met>>shift&bit != 0 {
			t.found.Strange++
		}
		if before++; before%t.step == 0 && bit != 0 {
			if err := t.check(p, at, of, row, int32(list)); err != nil {
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
func (t *auditThread) check(p *Part, at int, of *Part, row int, list int32) error {
	if err := t.search(t.row(0), of.Stored(row)); err != nil {
		return fmt.Errorf("id %q: %w: %w", of.IDAt(row), err, schemas.ErrCorrupt)
	}
	is, want, nearest := make([]byte, t.codeBytes()), make([]byte, t.codeBytes()), make([]byte, t.codeBytes())
	p.ReadCode(is, at)
	t.mdl.Encode(t.level, t.vectors(1), 1, t.scratch, model.Coding{Lists: []int32{list}, Codes: want})
	t.mdl.EncodeNearest(t.level, t.vectors(1), list, nearest, t.scratch)
	t.found.Sampled++
	for m := range t.differ {
		// Codes of earlier revisions are the nearest ones.
		if shift := 4 * (m % 2); (is[m/2]^want[m/2])>>shift&15 != 0 && (is[m/2]^nearest[m/2])>>shift&15 != 0 {
			t.differ[m]++
		}
	}
	return nil
}

// missing counts the codes that rows of a part lack.
func (t *auditThread) missing(part int) {
	p := t.base[part]
	for row := range p.N {
		number := t.starts[part] + row
		met := t.met[number/metRows] >> (number % metRows * metBits)
		if met&inFirst == 0 {
			t.found.Missing++
		}
		if met&inSecond == 0 && p.SpillAt(row) != coarse.NoSpill {
			t.found.Missing++
		}
	}
}

// audit adds up what threads have found.
func (a *auditor) audit() (all Audit) {
	var differ []int
	for _, t := range a.threads {
		all.Codes += t.found.Codes
		all.Missing += t.found.Missing
		all.Strange += t.found.Strange
		all.Sampled += t.found.Sampled
		differ = append(differ, make([]int, len(t.differ)-len(differ))...)
		for m, n := range t.differ {
			differ[m] += n
		}
	}
	for m, n := range differ {
		if n > all.Differ {
			all.Worst, all.Differ = m, n
		}
	}
	return all
}
