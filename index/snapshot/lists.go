package snapshot

import (
	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
)

// Kind is what a [Run] is of.
type Kind int32

const (
	Codes   Kind = iota // codes of a chunk, as segment.Part.CodeRows has them
	Rows                // rows of a segment that have the list as their first
	Spilled             // places in segment.Part.Spilled of a segment, of rows that have the list as their second
)

// Run is what a part has in one list: [Start, End) of a kind.
type Run struct {
	Part, Start, End int32
	Kind             Kind
}

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

// eachRun calls f for whatever p has in a list. It fails if that is in no list of the model, or rows are not sorted by list.
func eachRun(p *segment.Part, nlist int, f func(list int32, r Run)) error {
	if most := max(p.EndList, p.EndSpill()); most > nlist {
		return corrupt("part %s: lists up to %d of %d", p.ID, most-1, nlist)
	}
	for row := 0; row < p.N; {
		list := p.ListAt(row)
		start, end := p.ListRange(int(list))
		if start != row || end <= row || end > p.N {
			return corrupt("part %s: rows [%d, %d) of list %d are not sorted by list", p.ID, start, end, list)
		}
		if p.Blocks == nil {
			f(list, Run{Start: int32(start), End: int32(end), Kind: Rows})
		}
		row = end
	}
	if p.Blocks != nil {
		for list := p.FirstList; list < p.EndList; list++ {
			if start, end := p.CodeRange(list); start < end {
				f(int32(list), Run{Start: int32(start), End: int32(end), Kind: Codes})
			}
		}
	}
	for start := 0; start < len(p.Spilled); {
		list, end := p.SpillAt(int(p.Spilled[start])), start+1
		for end < len(p.Spilled) && p.SpillAt(int(p.Spilled[end])) == list {
			end++
		}
		f(list, Run{Start: int32(start), End: int32(end), Kind: Spilled})
		start = end
	}
	return nil
}
