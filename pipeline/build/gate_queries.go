package build

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/exact"
	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

const (
	recentAge   = time.Hour // before the newest record
	leastSlice  = 30        // queries of which a recall is told at all
	shownSlices = 3
)

// queries draws the queries of the gate, with their exact neighbours: held-out rows, spread evenly over the outputs, and
// rows of the last hour before the newest, if there are leastSlice of them. Those may have trained the model: of so
// short a time too few are held out. One pass over the rows finds the neighbours of all.
func (b *Builder) queries(ctx context.Context, snap *snapshot.Snapshot) (held, recent recall.Sample, err error) {
	newest := int64(0)
	for _, p := range snap.Parts() {
		for row := range p.N {
			newest = max(newest, p.OrderAt(row).Timestamp)
		}
	}
	since := newest - recentAge.Milliseconds()
	heldRows := spread(snap, func(p *segment.Part, row int) bool { return recall.HeldOut(p.IDAt(row)) })
	recentRows := spread(snap, func(p *segment.Part, row int) bool { return p.OrderAt(row).Timestamp > since })
	if len(recentRows) < leastSlice {
		recentRows = nil
	}
	all := slices.Concat(heldRows, recentRows)
	dim, n := snap.Spec().Dim(), len(heldRows)
	vectors := make([]float32, len(all)*dim)
	for i, self := range all {
		snap.Parts()[self.Part].Vector(b.o.Level, self.Row, vectors[i*dim:(i+1)*dim])
	}
	truth, err := exact.TopK(ctx, b.o.Level, b.o.Threads, snap, vectors, len(all), gateK, func(q, part, row int) bool {
		return all[q].Part == part && all[q].Row == row
	})
	if err != nil {
		return held, recent, err
	}
	held = recall.Sample{Queries: vectors[:n*dim], N: n, Self: all[:n], Truth: truth[:n]}
	recent = recall.Sample{Queries: vectors[n*dim:], N: len(all) - n, Self: all[n:], Truth: truth[n:]}
	return held, recent, nil
}

// spread takes gateQueries of the rows that are good, evenly. It goes over them twice instead of listing all.
func spread(snap *snapshot.Snapshot, good func(p *segment.Part, row int) bool) []search.Hit {
	each := func(visit func(part, row int)) {
		for i, p := range snap.Parts() {
			for row := range p.N {
				if good(p, row) {
					visit(i, row)
				}
			}
		}
	}
	total := 0
	each(func(int, int) { total++ })
	n, at := min(total, gateQueries), 0
	rows := make([]search.Hit, 0, n)
	each(func(part, row int) {
		if len(rows) < n && at == len(rows)*total/n {
			rows = append(rows, search.Hit{Part: part, Row: row})
		}
		at++
	})
	return rows
}

// slice is queries that are rows of neighbouring lists.
type slice struct {
	tally  recall.Tally
	lists  int
	around string // id of the row that is nearest to the mean of the queries
}

// region is a slice that grows.
type region struct {
	lists   int
	members []int // queries
	sum     []float32
}

// slicesOf divides the queries by the list that their own row lies in, and joins what is too small to tell anything with
// what is nearest, until each slice has leastSlice queries. The worst come first. One slice is none: it says what the
// whole says.
func slicesOf(snap *snapshot.Snapshot, s recall.Sample, found []recall.Found) []slice {
	vectors, regions := searched(snap.Spec(), s), regionsOf(snap, s)
	dim := snap.Spec().Dim()
	for _, r := range regions {
		r.sum = make([]float32, dim)
		for _, q := range r.members {
			add(r.sum, vectors[q*dim:][:dim])
		}
	}
	for len(regions) > 1 {
		least := 0
		for i, r := range regions {
			if len(r.members) < len(regions[least].members) {
				least = i
			}
		}
		small := regions[least]
		if len(small.members) >= leastSlice {
			break
		}
		regions = slices.Delete(regions, least, least+1)
		into := nearest(regions, small)
		into.lists += small.lists
		into.members = append(into.members, small.members...)
		add(into.sum, small.sum)
	}
	if len(regions) < 2 {
		return nil
	}
	all := make([]slice, len(regions))
	for i, r := range regions {
		all[i].lists = r.lists
		best := float32(0)
		for n, q := range r.members {
			all[i].tally.Add(found[q])
			if score := dot(r.sum, vectors[q*dim:][:dim]); n == 0 || score > best {
				best, all[i].around = score, snap.Parts()[s.Self[q].Part].IDAt(s.Self[q].Row)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b slice) int { return cmp.Compare(a.tally.Mean(), b.tally.Mean()) })
	return all
}

// regionsOf is one region for each list that has queries with neighbours, in the order of lists.
func regionsOf(snap *snapshot.Snapshot, s recall.Sample) []*region {
	of := map[int32]*region{}
	var regions []*region
	for q, self := range s.Self {
		if len(s.Truth[q]) == 0 {
			continue
		}
		list := snap.Parts()[self.Part].ListAt(self.Row)
		if of[list] == nil {
			of[list] = &region{lists: 1}
			regions = append(regions, of[list])
		}
		of[list].members = append(of[list].members, q)
	}
	return regions
}

// searched returns the queries as they are compared.
func searched(spec *schemas.Spec, s recall.Sample) []float32 {
	if spec.Metric != schemas.Cosine {
		return s.Queries
	}
	dim := spec.Dim()
	vectors := slices.Clone(s.Queries)
	for q := range s.N {
		v := vectors[q*dim : (q+1)*dim]
		mrl.Normalize(avx.Generic, v, v)
	}
	return vectors
}

// nearest returns the region whose mean is nearest to that of r.
func nearest(regions []*region, r *region) (best *region) {
	least := 0.0
	for _, other := range regions {
		distance := 0.0
		for i, x := range other.sum {
			d := float64(x)/float64(len(other.members)) - float64(r.sum[i])/float64(len(r.members))
			distance += d * d
		}
		if best == nil || distance < least {
			best, least = other, distance
		}
	}
	return best
}

func add(dst, v []float32) {
	for i, x := range v {
		dst[i] += x
	}
}

func dot(a, b []float32) (sum float32) {
	for i, x := range a {
		sum += x * b[i]
	}
	return sum
}
