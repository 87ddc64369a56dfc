package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/index/filter"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

// grouping is what a request says of groups.
type grouping struct {
	GroupBy     *string          `json:"group_by"`     // an attribute: k is then how many of its values, each with its best hits
	GroupSize   *int             `json:"group_size"`   // hits of each at most; default 1
	GroupValues *json.RawMessage `json:"group_values"` // an array of values that can be groups, or of such arrays, of each query; all when absent
}

// group is the hits that have one value of an attribute.
type group struct {
	value any          // nil is null, which is a value like others
	hits  []search.Hit // the best first
}

// groupOf checks what a request says of groups, and returns the attribute and how many hits a group may have.
func (n *Node) groupOf(o *searchOptions, spec *schemas.Spec, k, count int) (at, size int, err error) {
	size = 1
	most := min(n.o.MaxK, maxHits/count) / k // a product could overflow
	if o.GroupSize != nil {
		size = *o.GroupSize
	}
	if at, err = o.attribute(spec); err != nil {
		return 0, 0, err
	}
	switch {
	case (size < 1 || size > most) && count == 1:
		return 0, 0, invalid(fmt.Sprintf("group_size: %d, with k = %d", size, k), fmt.Sprintf("1 to %d", most))
	case size < 1 || size > most:
		return 0, 0, invalid(fmt.Sprintf("group_size: %d, with k = %d for %d queries", size, k, count), fmt.Sprintf("1 to %d", most))
	case o.IncludeVector && k*size*count > n.o.MaxK:
		return 0, 0, invalid(fmt.Sprintf("include_vector: true, with k = %d and group_size = %d for %d queries", k, size, count),
			fmt.Sprintf("at most %d vectors in one answer", n.o.MaxK))
	}
	return at, size, nil
}

// attribute is that of the groups.
func (g *grouping) attribute(spec *schemas.Spec) (at int, err error) {
	at = spec.AttributeAt(*g.GroupBy)
	switch {
	case at < 0:
		return 0, invalid(fmt.Sprintf("group_by: %.*q is not an attribute of the index", schemas.MaxNameBytes, *g.GroupBy), spec.AttributeNames())
	case !groups(spec.Attributes[at].Type):
		return 0, invalid(fmt.Sprintf("group_by: %s is of type %s", *g.GroupBy, spec.Attributes[at].Type), "an attribute of type utf8, int64 or bool")
	}
	return at, nil
}

// each reports whether each query has its own values that can be groups.
func (g *grouping) each() bool {
	if g.GroupValues == nil {
		return false
	}
	a := arrayReader{rest: *g.GroupValues}
	if !a.open() {
		return false
	}
	return a.open()
}

// filters are those of the values of each query, nil of one that has no groups: for it there are none, or no array. F is of all of them.
func (g *grouping) filters(spec *schemas.Spec, f *filter.Filter, count int) ([]*filter.Filter, error) {
	var lists []json.RawMessage
	if err := json.Unmarshal(*g.GroupValues, &lists); err != nil {
		return nil, malformed("group_values: "+err.Error(), "JSON")
	}
	if len(lists) > count {
		return nil, invalid(fmt.Sprintf("group_values: %d arrays", len(lists)), fmt.Sprintf("at most %d, one for each query", count))
	}
	filters := make([]*filter.Filter, count)
	for i, values := range lists {
		field := fmt.Sprintf("group_values[%d]", i)
		a := arrayReader{rest: values}
		if !a.open() {
			return nil, invalid(field+": "+excerpt(values), "an array of values, like the first one")
		}
		if !a.next() {
			continue
		}
		only, err := g.only(spec, field, values)
		if err != nil {
			return nil, err
		}
		if filters[i] = only; f != nil {
			filters[i] = filter.Both(f, only)
		}
	}
	return filters, nil
}

// only is the filter of the values that can be groups, which a field has.
func (g *grouping) only(spec *schemas.Spec, field string, values json.RawMessage) (*filter.Filter, error) {
	at, err := g.attribute(spec)
	if err != nil {
		return nil, err
	}
	name := spec.Attributes[at].Name
	raw, err := json.Marshal(map[string]any{name: map[string]any{"$in": values}})
	if err != nil {
		return nil, err
	}
	f, err := filter.Parse(spec, raw)
	var bad *filter.Error
	if errors.As(err, &bad) {
		bad.Field = strings.Replace(bad.Field, "filter."+name+".$in", field, 1)
	}
	return f, err
}

func groups(t schemas.AttributeType) bool {
	return t == schemas.AttributeString || t == schemas.AttributeInt || t == schemas.AttributeBool
}

// grouper finds the k groups whose best hits are best, of one query.
type grouper struct {
	n      *Node
	on     *served
	q      *queries       // that one
	filter *filter.Filter // of the request and of the values that can be groups, nil if there is none
	plan   search.Plan
	at     int // attribute
	k      int // groups
	size   int // hits of a group

	groups []*group
	usage  search.Usage
}

// wanted is how many hits the first search is to have.
func (g *grouper) wanted() int { return g.k * g.size }

// run searches until there are k groups, each time without the values whose groups are full, and then among the values whose
// groups are not. No rows can hide a group: a search returns as many hits as fill one group more, or all that there are. What a first
// search found is taken already.
func (g *grouper) run(ctx context.Context) error {
	for plan := g.plan; len(g.groups) < g.k; {
		var err error
		if plan.Among, err = g.among(ctx, true); err != nil {
			return err
		}
		hits, all, err := g.search(ctx, plan, g.wanted())
		if err != nil {
			return err
		}
		if g.take(hits, g.k); all {
			return nil
		}
	}
	return g.fill(ctx)
}

// short is how many groups have too few hits.
func (g *grouper) short() (n int) {
	for _, group := range g.groups {
		if len(group.hits) < g.size {
			n++
		}
	}
	return n
}

// sort puts hits and groups into the order of answers.
func (g *grouper) sort() {
	for _, group := range g.groups {
		slices.SortFunc(group.hits, g.compare)
	}
	slices.SortFunc(g.groups, func(a, b *group) int { return g.compare(a.hits[0], b.hits[0]) })
}

// fill looks for more hits of the groups that have too few.
func (g *grouper) fill(ctx context.Context) error {
	plan := g.plan
	for {
		short := g.short()
		if short == 0 {
			return nil
		}
		var err error
		if plan.Among, err = g.among(ctx, false); err != nil {
			return err
		}
		hits, all, err := g.search(ctx, plan, short*g.size)
		if err != nil {
			return err
		}
		g.take(hits, len(g.groups))
		if all {
			return nil
		}
	}
}

// search returns hits, without the row that the query is like, and whether there are no more.
func (g *grouper) search(ctx context.Context, plan search.Plan, wanted int) (hits []search.Hit, all bool, err error) {
	if g.q.like != nil {
		wanted++
	}
	results, u, err := g.n.run(ctx, g.on.Snapshot, g.q, wanted, plan)
	if err != nil {
		return nil, false, err
	}
	g.usage.Add(u)
	hits, all = g.found(results[0], plan, wanted)
	return hits, all, nil
}

// found is what a search says that was to have so many hits.
func (g *grouper) found(hits []search.Hit, plan search.Plan, wanted int) (others []search.Hit, all bool) {
	rows := g.on.Live()
	if plan.Among != nil {
		rows = plan.Among.Count()
	}
	// A plan alone may find fewer than there are; among selected rows it does not.
	all = int64(len(hits)) >= rows || plan.Among != nil && len(hits) < wanted
	if g.q.like != nil {
		hits = without(g.on.Snapshot, hits, *g.q.like)
	}
	return hits, all
}

// take puts hits into their groups, at most so many of those.
func (g *grouper) take(hits []search.Hit, most int) {
	for _, h := range hits {
		value := g.on.Parts()[h.Part].Value(g.at, h.Row)
		i := slices.IndexFunc(g.groups, func(have *group) bool { return have.value == value })
		if i < 0 {
			if len(g.groups) == most {
				continue
			}
			i, g.groups = len(g.groups), append(g.groups, &group{value: value})
		}
		in := g.groups[i]
		if len(in.hits) < g.size && !slices.ContainsFunc(in.hits, func(have search.Hit) bool { return have.Part == h.Part && have.Row == h.Row }) {
			in.hits = append(in.hits, h)
		}
	}
}

// among is the rows whose groups are not full: of values that were not seen too, or of those that were alone.
func (g *grouper) among(ctx context.Context, others bool) (*filter.Selection, error) {
	var some []any
	for _, group := range g.groups {
		if (len(group.hits) == g.size) == others {
			some = append(some, group.value)
		}
	}
	return filter.Select(ctx, g.on.Snapshot, filter.Holding(g.on.Spec(), g.filter, g.at, some, others))
}

// compare orders hits as answers do.
func (g *grouper) compare(a, b search.Hit) int {
	return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(idOf(g.on.Snapshot, a), idOf(g.on.Snapshot, b)))
}

func idOf(snap *snapshot.Snapshot, h search.Hit) string { return snap.Parts()[h.Part].IDAt(h.Row) }

// answerGroups is answer for a request that wants groups, of so many queries.
func (n *Node) answerGroups(ctx context.Context, on *served, q *queries, o *searchOptions, a *searchAnswer, plan search.Plan, f *filter.Filter, k, count int) (u search.Usage, err error) {
	at, size, err := n.groupOf(o, on.Spec(), k, count)
	if err != nil {
		return u, err
	}
	groupers, dim := make([]*grouper, count), on.Spec().Dim()
	for i := range groupers {
		one := &queries{field: q.field, vectors: q.vectors[i*dim : (i+1)*dim], kind: q.kind, like: q.like}
		if q.many {
			one.field = fmt.Sprintf("%s[%d]", q.field, i)
		}
		groupers[i] = &grouper{n: n, on: on, q: one, filter: f, plan: plan, at: at, k: k, size: size}
	}
	started := time.Now()
	if o.each() {
		u, err = n.groupEach(ctx, o, groupers)
	} else {
		u, err = n.groupAll(ctx, q, groupers)
	}
	if err != nil {
		return u, err
	}
	a.groupedBy, a.groups = at, make([][]group, count)
	for i, g := range groupers {
		u.Add(g.usage)
		g.sort()
		for _, group := range g.groups {
			if o.MinScore != nil {
				group.hits = atLeast(group.hits, *o.MinScore)
			}
			if len(group.hits) > 0 {
				a.groups[i] = append(a.groups[i], *group)
			}
		}
	}
	a.about.Usage = newUsage(plan, u, dim, time.Since(started))
	return u, nil
}

// groupAll searches for all queries together, and goes on with those whose groups are not all found by that.
func (n *Node) groupAll(ctx context.Context, q *queries, groupers []*grouper) (search.Usage, error) {
	plan, wanted := groupers[0].plan, groupers[0].wanted()
	if q.like != nil {
		wanted++
	}
	results, u, err := n.run(ctx, groupers[0].on.Snapshot, q, wanted, plan)
	if err != nil {
		return u, err
	}
	var unfinished []*grouper
	for i, g := range groupers {
		hits, all := g.found(results[i], plan, wanted)
		if g.take(hits, g.k); !all && (len(g.groups) < g.k || g.short() > 0) {
			unfinished = append(unfinished, g)
		}
	}
	return u, n.groupMore(ctx, unfinished)
}

// groupEach searches for each query among its own values.
func (n *Node) groupEach(ctx context.Context, o *searchOptions, groupers []*grouper) (u search.Usage, err error) {
	filters, err := o.filters(groupers[0].on.Spec(), groupers[0].filter, len(groupers))
	if err != nil {
		return u, err
	}
	var wanting []*grouper
	for i, g := range groupers {
		if g.filter = filters[i]; g.filter != nil {
			wanting = append(wanting, g)
		}
	}
	return u, n.groupMore(ctx, wanting)
}

// groupMore works on slots that are free at this moment too: each of some queries is searched by itself, and its rows are selected first.
func (n *Node) groupMore(ctx context.Context, some []*grouper) error {
	if len(some) == 0 {
		return nil
	}
	more := n.admitMore(min(runtime.GOMAXPROCS(0), len(some)) - 1)
	defer n.leave(more)
	working, ctx := errgroup.WithContext(ctx)
	working.SetLimit(1 + more)
	for _, g := range some {
		working.Go(func() error { return g.run(ctx) })
	}
	return working.Wait()
}
