package fanout

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/pipeline/serve"
)

// grouping is a request for groups.
type grouping struct {
	k, size int
	first   func(shard int) *request                        // as shards are asked
	again   func(shard int, values lists) (*request, error) // for the groups of some values
}

// lists are the values that can be groups of each query, in JSON. Queries after the last one have none.
type lists [][]json.RawMessage

// MarshalJSON implements json.Marshaler.
func (l lists) MarshalJSON() ([]byte, error) {
	all := make([][]json.RawMessage, len(l))
	for n, values := range l {
		all[n] = append([]json.RawMessage{}, values...) // none is [], not null
	}
	return json.Marshal(all)
}

// longest is how many groups a query can have.
func (l lists) longest() (n int) {
	for _, values := range l {
		n = max(n, len(values))
	}
	return n
}

// grouped is what a shard answers to it.
type grouped struct {
	of   [][]group // of each query; in Arrow the last ones may be left out that have none
	many bool
	client.About
	from  *target
	arrow *arrowPart // nil in JSON
}

// groups answers a request for the k groups of each query whose best hits are best. Each of them is among the k best of the shard that has
// its best hit. Its other hits may be in shards where it is not: those are asked for these groups again.
func (r *Router) groups(q *http.Request, g grouping) (any, error) {
	for {
		parts, err := r.askGroups(q, g.first)
		if err != nil {
			return nil, err
		}
		queries := 0
		for i, p := range parts {
			if queries = max(queries, len(p.of)); p.arrow == nil && (len(p.of) != len(parts[0].of) || p.many != parts[0].many) {
				return nil, fmt.Errorf("answer of shard %d: it is of another shape than that of shard 0", i)
			}
		}
		all, same := parts, true
		if g.size > 1 {
			if all, same, err = r.complete(q, g, parts, queries); err != nil {
				return nil, err
			}
		}
		if same {
			return r.writeGroups(g, parts, all, queries)
		}
	}
}

// complete adds to the answers of shards the rest of groups that others have named. It is not the same if that is of another generation. All
// are the answers that hits are of.
func (r *Router) complete(q *http.Request, g grouping, parts []*grouped, queries int) (all []*grouped, same bool, err error) {
	lacking := make([]lists, len(parts))
	for n := range queries {
		of := r.mergeGroups(parts, n, g.k, 1, false)
		for i, p := range parts {
			if values := p.lacks(n, of, g.k); len(values) > 0 {
				lacking[i] = append(lacking[i], make(lists, n-len(lacking[i]))...)
				lacking[i] = append(lacking[i], values)
			}
		}
	}
	all = parts
	for {
		more, asked := make([]*request, len(parts)), false
		for i, p := range parts {
			var values lists
			if values, lacking[i] = lacking[i].split(); values == nil {
				continue
			}
			if more[i], err = g.again(i, values); err != nil {
				return nil, false, err
			}
			more[i].first, asked = p.from, true
		}
		if !asked {
			return all, true, nil
		}
		others, err := r.askGroups(q, func(shard int) *request { return more[shard] })
		if err != nil || !add(parts, others, len(all)) {
			return nil, false, err
		}
		all = append(slices.Clone(all), others...)
	}
}

// lacks are the values of groups that a shard may have hits of and did not name for query n.
func (p *grouped) lacks(n int, groups []group, k int) (values []json.RawMessage) {
	if n >= len(p.of) || len(p.of[n]) < k {
		return nil // it has said all that it has
	}
	for _, g := range groups {
		if !slices.ContainsFunc(p.of[n], func(has group) bool { return has.value == g.value }) {
			values = append(values, json.RawMessage(g.value))
		}
	}
	return values
}

// maxValues bounds the bytes of values in one request: they may stand in its URL, of which servers take 1 MiB, and become three times as
// many there.
const maxValues = 256 << 10

// split is as many values as one request takes, and what remains; nil if there are none.
func (l lists) split() (some, rest lists) {
	bytes := 0
	for n, values := range l {
		for i, v := range values {
			if bytes += len(v); bytes > maxValues && bytes > len(v) {
				rest = append(make(lists, n), l[n:]...)
				rest[n] = values[i:]
				return append(slices.Clone(l[:n]), values[:i]), rest
			}
		}
	}
	return l, nil
}

// add adds to the answers of shards what they were asked for once more, which are answers from number at on. It fails where that is of
// another generation.
func add(parts, others []*grouped, at int) bool {
	for i, o := range others {
		if o == nil {
			continue
		}
		p := parts[i]
		if len(o.of) > len(p.of) || o.Snapshot.Generation != p.Snapshot.Generation || o.Snapshot.Epoch != p.Snapshot.Epoch {
			return false
		}
		for n, groups := range o.of {
			for _, g := range groups {
				for j := range g.hits {
					g.hits[j].at.part = at + i
				}
			}
			p.of[n] = append(p.of[n], groups...)
		}
		p.Degraded = cmp.Or(p.Degraded, o.Degraded)
		if o.ExpectedRecall == nil {
			p.ExpectedRecall, p.Interval = nil, nil
		}
		addWork(&p.Usage, &o.Usage)
		p.Usage.Microseconds += o.Usage.Microseconds
	}
	return true
}

// askGroups asks shards, but for those of which q is nil.
func (r *Router) askGroups(q *http.Request, of func(shard int) *request) ([]*grouped, error) {
	replies, err := r.askAll(q.Context(), q.Header, inFormOf(q, of))
	if err != nil {
		return nil, err
	}
	parts := make([]*grouped, len(replies))
	for i, a := range replies {
		if a.from == nil {
			continue
		}
		if serve.WantsArrow(q) {
			parts[i], err = readArrowGroups(a.body, i)
		} else {
			parts[i], err = readGroups(a.body, i)
		}
		if err != nil {
			return nil, err
		}
		parts[i].from = a.from
	}
	return parts, nil
}

func readGroups(body []byte, shard int) (*grouped, error) {
	a, err := readAnswer(body)
	if err != nil {
		return nil, fmt.Errorf("answer of shard %d: %w", shard, err)
	}
	p := &grouped{many: a.Results != nil, About: a.About}
	if !p.many {
		p.of = [][]group{a.Groups}
	}
	for _, of := range a.Results {
		p.of = append(p.of, of.groups)
	}
	if slices.ContainsFunc(p.of, func(groups []group) bool { return groups == nil }) {
		return nil, fmt.Errorf("answer of shard %d: it has no groups", shard)
	}
	return p, nil
}

// columnGroup is the column of the value of a group, which comes before attributes.
const columnGroup = "group"

// readArrowGroups reads the groups of an answer in Arrow, whose rows are in the order of queries, then of groups.
func readArrowGroups(raw []byte, shard int) (*grouped, error) {
	part, err := readArrow(raw, shard)
	if err != nil {
		return nil, err
	}
	p := &grouped{About: part.About, arrow: part}
	at := len(names)
	if part.batch.NumCols() <= int64(at) || part.batch.ColumnName(at) != columnGroup {
		return nil, fmt.Errorf("answer of shard %d: it has no groups", shard)
	}
	for i := range part.query.Len() {
		row := part.row(i)
		n := int(row.query)
		value, err := valueOf(part.batch.Column(at), i)
		if err != nil || n >= maxQueries {
			return nil, errors.Join(fmt.Errorf("answer of shard %d: a group of query %d", shard, n), err)
		}
		for len(p.of) <= n {
			p.of = append(p.of, nil)
		}
		last := len(p.of[n]) - 1
		if last < 0 || p.of[n][last].value != value {
			p.of[n] = append(p.of[n], group{value: value})
			last++
		}
		p.of[n][last].hits = append(p.of[n][last].hits, row.hit)
	}
	return p, nil
}

// maxQueries is how many queries nodes take.
const maxQueries = 1000

// valueOf is a value of the attributes that there are groups by, in JSON.
func valueOf(column arrow.Array, i int) (string, error) {
	switch column.DataType().ID() {
	case arrow.STRING, arrow.INT64, arrow.BOOL:
		text, err := json.Marshal(column.GetOneForMarshal(i))
		return string(text), err
	}
	return "", fmt.Errorf("of type %s", column.DataType())
}

// mergeGroups makes the k best groups of query n, each of so many hits at most, and counts ids that are there twice if that is wanted.
func (r *Router) mergeGroups(parts []*grouped, n, k, size int, count bool) []group {
	type member struct {
		hit
		value string
	}
	var all []member
	for _, p := range parts {
		if n >= len(p.of) {
			continue
		}
		for _, g := range p.of[n] {
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

// writeGroups writes the merged answer of shards, whose hits are of all answers.
func (r *Router) writeGroups(g grouping, parts, all []*grouped, queries int) (*response, error) {
	abouts := make([]client.About, len(parts))
	for i, p := range parts {
		abouts[i] = p.About
	}
	merged := answer{About: mergeAbout(abouts)}
	if parts[0].arrow == nil && !parts[0].many {
		merged.Groups = r.mergeGroups(parts, 0, g.k, g.size, true)
		return merged.json()
	}
	merged.Results = make([]result, queries)
	for n := range merged.Results {
		merged.Results[n].groups = r.mergeGroups(parts, n, g.k, g.size, true)
	}
	if parts[0].arrow == nil {
		return merged.json()
	}
	var rows []arrowRow
	for n, of := range merged.Results {
		for _, g := range of.groups {
			for _, h := range g.hits {
				rows = append(rows, arrowRow{uint32(n), h})
			}
		}
	}
	answers := make([]*arrowPart, len(all))
	for i, p := range all {
		if p != nil {
			answers[i] = p.arrow
		}
	}
	if err := sameColumns(answers); err != nil {
		return nil, err
	}
	return writeArrow(answers, rows, merged.About)
}

// groupsOf is a request in JSON for groups, of which each shard gets a body.
func groupsOf(q *http.Request, body *searchBody, bodies [][]byte, k int) grouping {
	g := grouping{k: k, size: 1}
	if body.GroupSize != nil {
		g.size = *body.GroupSize
	}
	path := pathOf(q)
	g.first = func(shard int) *request { return searchFor(path, bodies[shard]) }
	g.again = func(shard int, values lists) (*request, error) {
		raw, err := with(bodies[shard], map[string]any{"group_values": values, "k": values.longest()})
		if err != nil {
			return nil, err
		}
		return searchFor("search", raw), nil
	}
	return g
}

// arrowGroupsOf is a request in Arrow for groups, of which each shard gets a path.
func arrowGroupsOf(raw []byte, size int, paths []string, k int) grouping {
	g := grouping{k: k, size: size}
	g.first = func(shard int) *request { return searchFor(paths[shard], raw) }
	g.again = func(shard int, values lists) (*request, error) {
		path, query, _ := strings.Cut(paths[shard], "?")
		options, err := url.ParseQuery(query)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(values)
		if err != nil {
			return nil, err
		}
		options.Set("group_values", string(text))
		options.Set("k", strconv.Itoa(values.longest()))
		return searchFor(path+"?"+options.Encode(), raw), nil
	}
	return g
}
