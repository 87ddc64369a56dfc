package coarse

import (
	"context"
	"math"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/index/kmeans"
)

// Lists are not learnt anew when most of them still are where their rows are: those that rows have left are dropped, those
// that have become too long are split, and the rows around find their nearest again (what SPFresh calls LIRE, Xu et al.,
// SOSP 2023, here for all lists at a time). It takes a fraction of the rounds, and a smaller sample does.
const (
	dropShare   = 4   // a list of fewer than 1/4 of the rows that it should have is dropped
	mostLists   = 1.2 // times the lists wanted: beyond, the shortest are dropped too
	renewRounds = 3
)

// renew begins with the lists of another quantiser.
func (t *training) renew(ctx context.Context) error {
	t.prefixes, t.groups = t.o.From.prefixes(), t.o.From.groups
	if err := t.assign(ctx, half); err != nil {
		return err
	}
	for r := range renewRounds {
		if err := t.reshape(ctx); err != nil {
			return err
		}
		if err := t.regroup(ctx); err != nil {
			return err
		}
		if err := t.assign(ctx, half); err != nil {
			return err
		}
		if err := t.move(ctx); err != nil {
			return err
		}
		t.o.Progress(r+1, renewRounds)
	}
	return t.regroup(ctx)
}

// reshape drops and splits lists by how many rows they have.
func (t *training) reshape(ctx context.Context) error {
	d := t.o.Dims
	order, starts := SortByList(t.lists, len(t.prefixes)/d)
	made := make([][]float32, len(starts)-1)
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(t.o.Threads)
	should := float64(t.n) / float64(min(t.o.NList, t.n)) // rows of a list
	for list := range made {
		of := order[starts[list]:starts[list+1]]
		into := int(math.Round(float64(len(of)) / should))
		switch {
		case dropShare*float64(len(of)) < should:
		case into < 2:
			made[list] = t.prefixes[list*d:][:d]
		default:
			g.Go(func() (err error) {
				made[list], err = t.split(inner, list, of, into)
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	t.dropShortest(made, starts)
	kept := slices.Concat(made...)
	if len(kept) == 0 { // rows so few and lists so many that all are short
		kept = t.prefixes[:d]
	}
	t.prefixes = kept
	return nil
}

// split makes several lists of the rows of one. Equal rows stay together: there may be fewer lists than wanted, or one.
func (t *training) split(ctx context.Context, list int, of []int32, into int) ([]float32, error) {
	d := t.o.Dims
	rows := make([]float32, 0, len(of)*d)
	for _, i := range of {
		rows = append(rows, t.x[int(i)*t.dim:][:d]...)
	}
	o := t.kmeans(into, memberIterations, uint64(list))
	o.Threads, o.Progress = 1, nil
	return kmeans.Train(ctx, rows, len(of), d, d, o)
}

// dropShortest leaves about as many lists as are wanted, where whole lists are left of more.
func (t *training) dropShortest(made [][]float32, starts []int32) {
	d, lists := t.o.Dims, 0
	var whole []int
	for list, m := range made {
		lists += len(m) / d
		if len(m) == d {
			whole = append(whole, list)
		}
	}
	if float64(lists) <= mostLists*float64(t.o.NList) {
		return
	}
	slices.SortStableFunc(whole, func(a, b int) int { return int(starts[a+1]-starts[a]) - int(starts[b+1]-starts[b]) })
	for _, list := range whole[:min(len(whole), lists-t.o.NList)] {
		made[list] = nil
	}
}

// regroup puts lists in groups of neighbours.
func (t *training) regroup(ctx context.Context) error {
	d := t.o.Dims
	nlist := len(t.prefixes) / d
	if nlist <= flatLists {
		t.groups = []int32{0, int32(nlist)}
		return nil
	}
	centres, err := kmeans.Train(ctx, t.prefixes, nlist, d, d, t.kmeans(groupsOf(nlist), centreIterations, 1))
	if err != nil {
		return err
	}
	ngroups := len(centres) / d
	of := make([]int32, nlist)
	newAssigner(t.o.Level, t.directions(), centres, d, []int32{0, int32(ngroups)}).assign(t.o.Level, t.prefixes, nlist, d, 1, of, &Scratch{})
	order, starts := SortByList(of, ngroups)
	sorted := make([]float32, 0, len(t.prefixes))
	for _, list := range order {
		sorted = append(sorted, t.prefixes[int(list)*d:][:d]...)
	}
	t.prefixes = sorted
	t.groups = slices.Compact(starts) // groups without lists are none
	return nil
}
