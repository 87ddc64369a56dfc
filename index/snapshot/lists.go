package snapshot

import (
	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
)

// Run is the rows [Start, End) of one part, all of one list.
type Run struct {
	Part, Start, End int32
	Block            int32 // first block of their codes, NoBlock in a segment
}

// NoBlock says that the codes of a run are not in blocks: its rows are scored on int8 alone.
const NoBlock = -1

// lists holds the runs of every list, one list after the other: those of list l are flat[first[l]:first[l+1]].
type lists struct {
	first    []int32
	flat     []Run
	unlisted []int
}

func (l *lists) runs(list int32) []Run { return l.flat[l.first[list]:l.first[list+1]] }

func newLists(mdl *model.Model, parts []*segment.Part) (lists, error) {
	var l lists
	if mdl == nil {
		for i := range parts {
			l.unlisted = append(l.unlisted, i)
		}
		return l, nil
	}
	nlist := mdl.NList()
	l.first = make([]int32, nlist+1)
	for i, p := range parts {
		if p.Model != mdl.ID() {
			l.unlisted = append(l.unlisted, i)
			continue
		}
		if err := eachRun(p, nlist, func(list int32, _ Run) { l.first[list+1]++ }); err != nil {
			return lists{}, err
		}
	}
	for i := range nlist {
		l.first[i+1] += l.first[i]
	}
	l.flat = make([]Run, l.first[nlist])
	next := append([]int32(nil), l.first[:nlist]...)
	for i, p := range parts {
		if p.Model != mdl.ID() {
			continue
		}
		if err := eachRun(p, nlist, func(list int32, r Run) {
			r.Part = int32(i)
			l.flat[next[list]] = r
			next[list]++
		}); err != nil {
			return lists{}, err
		}
	}
	return l, nil
}

// eachRun calls f for each list that has rows in p, in row order. It fails unless the ranges of the lists tile the rows.
func eachRun(p *segment.Part, nlist int, f func(list int32, r Run)) error {
	for row := 0; row < p.N; {
		list := p.ListAt(row)
		if list < 0 || int(list) >= nlist {
			return corrupt("part %s: row %d is in list %d of %d", p.ID, row, list, nlist)
		}
		start, end := p.ListRange(int(list))
		if start != row || end <= row || end > p.N {
			return corrupt("part %s: rows [%d, %d) of list %d are not sorted by list", p.ID, start, end, list)
		}
		r := Run{Start: int32(start), End: int32(end), Block: NoBlock}
		if p.Blocks != nil {
			block, blockEnd := p.BlockRange(int(list))
			if rows := end - start; blockEnd-block != (rows+avx.BlockRows-1)/avx.BlockRows || blockEnd*avx.BlockBytes(p.M) > len(p.Blocks) {
				return corrupt("part %s: blocks [%d, %d) for %d rows of list %d", p.ID, block, blockEnd, rows, list)
			}
			r.Block = int32(block)
		}
		f(list, r)
		row = end
	}
	return nil
}
