package fanout

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/adastream/adastream/client"
)

// response is an answer of status 200 that is written already.
type response struct {
	contentType string
	body        []byte
}

// answer is that of a search, of one shard or of all. It has one of the first three, the others are nil.
type answer struct {
	Hits    []hit
	Results []result
	Groups  []group
	client.About

	from *target
}

// result is what one of many queries found: one of both, the other is nil.
type result struct {
	hits   []hit
	groups []group
}

// hit is passed on as it is. What merging compares is read of it when it is compared: most of an answer is hits, and most of those are not
// among the best of all.
type hit struct {
	id    string
	score float64
	raw   string
	at    place // instead of raw, in Arrow
}

// place is where a hit is among the answers of shards in Arrow.
type place struct{ part, row int }

func (h *hit) read() error {
	id, score := gjson.Get(h.raw, "id"), gjson.Get(h.raw, "score")
	if id.Type != gjson.String || score.Type != gjson.Number {
		return fmt.Errorf("%.100s is no hit", h.raw)
	}
	h.id, h.score = id.Str, score.Num
	return nil
}

type group struct {
	value string // in JSON
	hits  []hit
}

// compare orders hits as answers do.
func (h hit) compare(o hit) int {
	if c := cmp.Compare(o.score, h.score); c != 0 {
		return c
	}
	return cmp.Compare(h.id, o.id)
}

var errShape = errors.New("it is no answer to a search")

// readAnswer reads what a node answered to a search.
func readAnswer(body []byte) (a answer, err error) {
	about, err := readObject(body, func(name string, value gjson.Result) (known bool, err error) {
		switch name {
		case "hits":
			a.Hits, err = readHits(value)
		case "results":
			a.Results = []result{}
			err = eachOf(value, func(of gjson.Result) (err error) {
				var f result
				if groups := of.Get("groups"); groups.Exists() {
					f.groups, err = readGroupsOf(groups)
				} else {
					f.hits, err = readHits(of.Get("hits"))
				}
				a.Results = append(a.Results, f)
				return err
			})
		case "groups":
			a.Groups, err = readGroupsOf(value)
		default:
			return false, nil
		}
		return true, err
	})
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(about, &a.About)
}

// readObject hands the fields of an object of JSON to take, and returns an object of those that it does not know.
func readObject(body []byte, take func(name string, value gjson.Result) (known bool, err error)) (rest []byte, err error) {
	if !gjson.ValidBytes(body) {
		return nil, errShape
	}
	object := gjson.ParseBytes(body)
	if !object.IsObject() {
		return nil, errShape
	}
	rest = []byte{'{'}
	object.ForEach(func(name, value gjson.Result) bool {
		var known bool
		if known, err = take(name.Str, value); !known {
			if len(rest) > 1 {
				rest = append(rest, ',')
			}
			rest = append(append(append(rest, name.Raw...), ':'), value.Raw...)
		}
		return err == nil
	})
	return append(rest, '}'), err
}

func eachOf(list gjson.Result, take func(gjson.Result) error) (err error) {
	if !list.IsArray() {
		return errShape
	}
	list.ForEach(func(_, value gjson.Result) bool {
		err = take(value)
		return err == nil
	})
	return err
}

func readHits(list gjson.Result) ([]hit, error) {
	hits := []hit{}
	err := eachOf(list, func(value gjson.Result) error {
		hits = append(hits, hit{raw: value.Raw})
		return nil
	})
	return hits, err
}

func readGroupsOf(list gjson.Result) ([]group, error) {
	groups := []group{}
	err := eachOf(list, func(of gjson.Result) error {
		hits, err := readHits(of.Get("hits"))
		groups = append(groups, group{of.Get("value").Raw, hits})
		for i := range hits {
			err = errors.Join(err, hits[i].read())
		}
		return err
	})
	return groups, err
}

// json writes an answer.
func (a *answer) json() (*response, error) {
	about, err := json.Marshal(a.About)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteByte('{')
	if a.Results != nil {
		b.WriteString(`"results":`)
		list(&b, a.Results, func(f result) {
			b.WriteByte('{')
			f.write(&b)
			b.WriteByte('}')
		})
	} else {
		result{a.Hits, a.Groups}.write(&b)
	}
	b.WriteByte(',')
	b.Write(about[1:]) // goes on with the same object
	b.WriteByte('\n')
	return &response{jsonType, b.Bytes()}, nil
}

func (f result) write(b *bytes.Buffer) {
	if f.groups == nil {
		writeHits(b, `"hits":`, f.hits)
		return
	}
	b.WriteString(`"groups":`)
	list(b, f.groups, func(g group) {
		b.WriteString(`{"value":`)
		b.WriteString(g.value)
		writeHits(b, `,"hits":`, g.hits)
		b.WriteByte('}')
	})
}

func writeHits(b *bytes.Buffer, name string, hits []hit) {
	b.WriteString(name)
	list(b, hits, func(h hit) { b.WriteString(h.raw) })
}

func list[T any](b *bytes.Buffer, of []T, write func(T)) {
	b.WriteByte('[')
	for i, v := range of {
		if i > 0 {
			b.WriteByte(',')
		}
		write(v)
	}
	b.WriteByte(']')
}
