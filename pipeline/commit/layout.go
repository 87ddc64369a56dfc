package commit

import "slices"

// leaf is consecutive parts of one kind that are a page, or are to become one: then it has none yet.
type leaf[T comparable] struct {
	page  *page
	parts []T
}

// leastOf is how many parts a page has at least where it has at most so many: fewer stay in line.
func leastOf(most int) int { return max(1, most/4) }

// layOut divides a list into leaves of at most so many parts, and a rest that stays in line. Leaves of before stay as they are if the
// list has their parts one after the other, but for one that follows on what is too little for a leaf: both together are divided
// anew. What is new at the end gathers in line first, and then in the last leaf: a part that is added is written into a page at
// most four times before it comes to rest.
func layOut[T comparable](list []T, before []leaf[T], most int) (leaves []leaf[T], rest []T) {
	least := leastOf(most)
	var joined []run
	for _, r := range runsOf(list, before) {
		if n := len(joined); n > 0 && joined[n-1].page == nil && (r.page == nil || joined[n-1].len() < least) {
			joined[n-1].end = r.end
		} else {
			joined = append(joined, r)
		}
	}
	if last := len(joined) - 1; last >= 0 && joined[last].page == nil {
		switch n := joined[last].len(); {
		case n < least:
			rest, joined = list[joined[last].start:], joined[:last]
		case last > 0 && joined[last-1].len()+n <= most:
			joined[last-1].page, joined[last-1].end = nil, joined[last].end
			joined = joined[:last]
		}
	}
	for _, r := range joined {
		if r.page != nil {
			leaves = append(leaves, leaf[T]{r.page, list[r.start:r.end]})
			continue
		}
		pieces := (r.len() + most - 1) / most
		for i := range pieces {
			leaves = append(leaves, leaf[T]{parts: list[r.start+r.len()*i/pieces : r.start+r.len()*(i+1)/pieces]})
		}
	}
	return leaves, rest
}

// run is the places [start, end) of a list, which a page has just so, or none.
type run struct {
	page       *page
	start, end int
}

func (r run) len() int { return r.end - r.start }

// runsOf divides a list into the leaves that are in it as they are, and what is between them.
func runsOf[T comparable](list []T, leaves []leaf[T]) (runs []run) {
	begin := make(map[T]leaf[T], len(leaves))
	for _, l := range leaves {
		begin[l.parts[0]] = l
	}
	start := 0 // of what is in no leaf
	for at := 0; at < len(list); {
		l, ok := begin[list[at]]
		if !ok || !begins(list[at:], l.parts) {
			at++
			continue
		}
		if start < at {
			runs = append(runs, run{nil, start, at})
		}
		runs = append(runs, run{l.page, at, at + len(l.parts)})
		at += len(l.parts)
		start = at
	}
	if start < len(list) {
		runs = append(runs, run{nil, start, len(list)})
	}
	return runs
}

func begins[T comparable](list, with []T) bool {
	return len(list) >= len(with) && slices.Equal(list[:len(with)], with)
}
