package fanout

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// groups answers a request for the k groups whose best hits are best. Each of them is among the k best of the shard that has its best
// hit. Its other hits may be in shards where it is not: those are asked for these groups again.
func (r *Router) groups(q *http.Request, body *searchBody, bodies [][]byte, k int) (any, error) {
	size := 1
	if body.GroupSize != nil {
		size = *body.GroupSize
	}
	for {
		parts, err := r.askSearch(q, func(shard int) *request { return searchFor(pathOf(q), bodies[shard]) })
		if err != nil {
			return nil, err
		}
		for i, p := range parts {
			if p.Groups == nil {
				return nil, fmt.Errorf("answer of shard %d: it has no groups", i)
			}
		}
		more := make([]*request, len(parts))
		if size > 1 {
			of := r.mergeGroups(parts, k, 1, false)
			for i, p := range parts {
				if more[i], err = moreOf(p, of, bodies[i], k); err != nil {
					return nil, err
				}
			}
		}
		others, err := r.askSearch(q, func(shard int) *request { return more[shard] })
		if err != nil {
			return nil, err
		}
		if add(parts, others) {
			all := &answer{Groups: r.mergeGroups(parts, k, size, true), About: mergeAbout(aboutOf(parts))}
			return all.json()
		}
	}
}

// moreOf asks a shard for the groups that its answer p lacks, nil if it has none of them.
func moreOf(p answer, groups []group, sent []byte, k int) (*request, error) {
	if len(p.Groups) < k {
		return nil, nil // it has said all that it has
	}
	values := []json.RawMessage{}
	for _, g := range groups {
		if !slices.ContainsFunc(p.Groups, func(has group) bool { return has.value == g.value }) {
			values = append(values, json.RawMessage(g.value))
		}
	}
	if len(values) == 0 {
		return nil, nil
	}
	raw, err := with(sent, map[string]any{"group_values": values, "k": len(values)})
	if err != nil {
		return nil, err
	}
	more := searchFor("search", raw)
	more.first = p.from
	return more, nil
}

// add adds to the answers of shards what they were asked for once more. It fails where that is of another generation.
func add(parts, others []answer) bool {
	for i, o := range others {
		if o.from == nil {
			continue
		}
		p := &parts[i]
		if o.Groups == nil || o.Snapshot.Generation != p.Snapshot.Generation || o.Snapshot.Epoch != p.Snapshot.Epoch {
			return false
		}
		p.Groups = append(p.Groups, o.Groups...)
		p.Degraded = cmp.Or(p.Degraded, o.Degraded)
		if o.ExpectedRecall == nil {
			p.ExpectedRecall, p.Interval = nil, nil
		}
		addWork(&p.Usage, &o.Usage)
		p.Usage.Microseconds += o.Usage.Microseconds
	}
	return true
}

// mergeGroups makes the k best groups, each of so many hits at most, and counts ids that are there twice if that is wanted.
func (r *Router) mergeGroups(parts []answer, k, size int, count bool) []group {
	type member struct {
		hit
		value string
	}
	var all []member
	for _, p := range parts {
		for _, g := range p.Groups {
			for _, h := range g.hits {
				all = append(all, member{h, g.value})
			}
		}
	}
	slices.SortFunc(all, func(a, b member) int { return a.compare(b.hit) })
	merged, seen, at := []group{}, map[string]bool{}, map[string]int{}
	for _, m := range all {
		if seen[m.id] {
			if count {
				r.metrics.doubled.Inc()
			}
			continue
		}
		seen[m.id] = true
		i, there := at[m.value]
		switch {
		case there && len(merged[i].hits) < size:
			merged[i].hits = append(merged[i].hits, m.hit)
		case !there && len(merged) < k:
			at[m.value] = len(merged)
			merged = append(merged, group{m.value, []hit{m.hit}})
		}
	}
	return merged
}
