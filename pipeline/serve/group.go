package serve

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/adastream/adastream/index/filter"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

// grouping is what a request says of groups.
type grouping struct {
	GroupBy     *string          `json:"group_by"`     // an attribute: k is then how many of its values, each with its best hits
	GroupSize   *int             `json:"group_size"`   // hits of each at most; default 1
	GroupValues *json.RawMessage `json:"group_values"` // an array of values that can be groups; all when absent
}

// group is the hits that have one value of an attribute.
type group struct {
	value any          // nil is null, which is a value like others
	hits  []search.Hit // the best first
}

// groupOf checks what a request says of groups, and returns the attribute and how many hits a group may have.
func (n *Node) groupOf(o *searchOptions, spec *schemas.Spec, q *queries, k int) (at, size int, err error) {
	size = 1
	if o.GroupSize != nil {
		size = *o.GroupSize
	}
	if at, err = o.attribute(spec); err != nil {
		return 0, 0, err
	}
	switch {
	case q.many:
		return 0, 0, invalid("group_by: given with "+q.field, "one query: vector or like")
	case size < 1 || size > n.o.MaxK/k: // a product could overflow
		return 0, 0, invalid(fmt.Sprintf("group_size: %d, with k = %d", size, k), fmt.Sprintf("1 to %d", n.o.MaxK/k))
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

// only is the filter of the values that can be groups.
func (g *grouping) only(spec *schemas.Spec) (*filter.Filter, error) {
	at, err := g.attribute(spec)
	if err != nil {
		return nil, err
	}
	name := spec.Attributes[at].Name
	raw, err := json.Marshal(map[string]any{name: map[string]any{"$in": g.GroupValues}})
	if err != nil {
		return nil, err
	}
	f, err := filter.Parse(spec, raw)
	var bad *filter.Error
	if errors.As(err, &bad) {
		bad.Field = strings.Replace(bad.Field, "filter."+name+".$in", "group_values", 1)
	}
	return f, err
}

func groups(t schemas.AttributeType) bool {
	return t == schemas.AttributeString || t == schemas.AttributeInt || t == schemas.AttributeBool
}

// grouper finds the k groups whose best hits are best.
type grouper struct {
	n      *Node
	on     *served
	q      *queries
	filter *filter.Filter // of the request, nil if it has none
	plan   search.Plan
	at     int // attribute
	k      int // groups
	size   int // hits of a group

	groups []*group
	usage  search.Usage
}

// run searches until there are k groups, each time without the values whose groups are full, and then among the values whose
// groups are not. No rows can hide a group: a search returns as many hits as fill one group more, or all that there are.
func (g *grouper) run(ctx context.Context) error {
	for plan := g.plan; ; {
		hits, all, err := g.search(ctx, plan, g.k*g.size)
		if err != nil {
			return err
		}
		g.take(hits, g.k)
		if all {
			break
		}
		if len(g.groups) == g.k {
			if err := g.fill(ctx); err != nil {
				return err
			}
			break
		}
		if plan.Among, err = g.among(ctx, true); err != nil {
			return err
		}
	}
	for _, group := range g.groups {
		slices.SortFunc(group.hits, g.compare)
	}
	slices.SortFunc(g.groups, func(a, b *group) int { return g.compare(a.hits[0], b.hits[0]) })
	return nil
}

// fill looks for more hits of the groups that have too few.
func (g *grouper) fill(ctx context.Context) error {
	plan := g.plan
	for {
		short := 0
		for _, group := range g.groups {
			if len(group.hits) < g.size {
				short++
			}
		}
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
	hits = results[0]
	rows := g.on.Live()
	if plan.Among != nil {
		rows = plan.Among.Count()
	}
	// A plan alone may find fewer than there are; among selected rows it does not.
	all = int64(len(hits)) >= rows || plan.Among != nil && len(hits) < wanted
	if g.q.like != nil {
		hits = without(g.on.Snapshot, hits, *g.q.like)
	}
	return hits, all, nil
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

// answerGroups is answer for a request that wants groups.
func (n *Node) answerGroups(ctx context.Context, on *served, q *queries, o *searchOptions, a *searchAnswer, plan search.Plan, f *filter.Filter, k int) (search.Usage, error) {
	at, size, err := n.groupOf(o, on.Spec(), q, k)
	if err != nil {
		return search.Usage{}, err
	}
	g := &grouper{n: n, on: on, q: q, filter: f, plan: plan, at: at, k: k, size: size}
	started := time.Now()
	if err := g.run(ctx); err != nil {
		return search.Usage{}, err
	}
	a.about.Usage = newUsage(plan, g.usage, on.Spec().Dim(), time.Since(started))
	for _, group := range g.groups {
		if o.MinScore != nil {
			group.hits = atLeast(group.hits, *o.MinScore)
		}
		if len(group.hits) > 0 {
			a.groups = append(a.groups, *group)
		}
	}
	return g.usage, nil
}
