package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/adastream/adastream/schemas"
)

// Limits of a filter.
const (
	MaxDepth      = 8      // objects within one another
	MaxConditions = 64     // comparisons
	MaxValues     = 10_000 // of all comparisons together
)

// Error says what is wrong with a filter, or with the rest of a query: the mistake of who asked.
type Error struct {
	Field   string // as it is called in the query API: filter.price.$gt
	Value   string // what it was
	Allowed string // what it may be
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s, allowed: %s", e.Field, e.Value, e.Allowed)
}

// Filter is a condition on the attributes of an index. It is immutable.
type Filter struct {
	root node
	text string // the JSON, without space
}

// String is the filter as compact JSON. Filters of one spec with the same text select the same rows.
func (f *Filter) String() string { return f.text }

// Parse reads a filter for the rows of an index. Whatever is wrong with it is an [*Error].
//
//	$eq $ne            a value of the attribute's type, or null
//	$in $nin           an array of them
//	$gt $gte $lt $lte  a number, a time, or a text, compared by its bytes
//	$prefix            a text
//	$exists            true or false: whether there is a value
//	$not               what must not hold: operators within a name, a filter outside
//	$and $or           an array of filters
//
// A time is written as in RFC 3339 and compared in milliseconds, rounded down, as it is stored. An integer must be one, without a fraction.
func Parse(spec *schemas.Spec, raw []byte) (*Filter, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	p := parser{spec: spec, d: d}
	token, err := p.token("filter")
	if err != nil {
		return nil, err
	}
	root, err := p.filter("filter", token, 1)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, &Error{"filter", "bytes after the object", "one JSON object"}
	}
	var text bytes.Buffer
	if err := json.Compact(&text, raw); err != nil {
		return nil, &Error{"filter", err.Error(), "one JSON object"}
	}
	return &Filter{root, text.String()}, nil
}

// parser reads a filter token by token, so that a name that is given twice does not silently count once.
type parser struct {
	spec               *schemas.Spec
	d                  *json.Decoder
	conditions, values int
}

func (p *parser) token(field string) (json.Token, error) {
	t, err := p.d.Token()
	if err != nil {
		return nil, &Error{field, "no JSON: " + err.Error(), "a JSON object"}
	}
	return t, nil
}

// object calls member with each name of an object that begins with token, the decoder standing before the value.
func (p *parser) object(field string, token json.Token, depth int, member func(field, name string) error) error {
	if token != json.Delim('{') {
		return &Error{field, show(token), "a JSON object"}
	}
	if depth > MaxDepth {
		return &Error{field, fmt.Sprintf("%d objects deep", depth), fmt.Sprintf("at most %d", MaxDepth)}
	}
	var names []string
	for {
		t, err := p.token(field)
		if err != nil || t == json.Delim('}') {
			return err
		}
		name := t.(string) // the decoder allows nothing else
		below := field + "." + clip(name)
		if slices.Contains(names, name) {
			return &Error{below, "given twice", "once; combine conditions with $and"}
		}
		names = append(names, name)
		if err := member(below, name); err != nil {
			return err
		}
	}
}

// filter reads the object that begins with token.
func (p *parser) filter(field string, token json.Token, depth int) (node, error) {
	var all and
	err := p.object(field, token, depth, func(field, name string) error {
		n, err := p.member(field, name, depth)
		all = append(all, n)
		return err
	})
	return all.simple(), err
}

func (p *parser) member(field, name string, depth int) (node, error) {
	token, err := p.token(field)
	if err != nil {
		return nil, err
	}
	switch {
	case name == "$and" || name == "$or":
		some, err := p.filters(field, token, depth)
		if name == "$and" {
			return and(some), err
		}
		return or(some), err
	case name == "$not":
		n, err := p.filter(field, token, depth+1)
		return not{n}, err
	case strings.HasPrefix(name, "$"):
		return nil, &Error{field, "no such operator of filters", "$and, $or, $not, or an attribute with its conditions"}
	}
	at := p.spec.AttributeAt(name)
	if at < 0 {
		return nil, &Error{field, "not an attribute of the index", p.spec.AttributeNames()}
	}
	return p.attribute(field, at, token, depth)
}

func (p *parser) filters(field string, token json.Token, depth int) (some []node, err error) {
	err = p.array(field, token, "an array of filters", func(field string, token json.Token) error {
		n, err := p.filter(field, token, depth+1)
		some = append(some, n)
		return err
	})
	if err == nil && len(some) == 0 {
		err = &Error{field, "empty", "one filter or more"}
	}
	return some, err
}

// array calls element with the first token of each element of an array that begins with token.
func (p *parser) array(field string, token json.Token, allowed string, element func(field string, token json.Token) error) error {
	if token != json.Delim('[') {
		return &Error{field, show(token), allowed}
	}
	for i := 0; ; i++ {
		below := fmt.Sprintf("%s[%d]", field, i)
		t, err := p.token(below)
		if err != nil || t == json.Delim(']') {
			return err
		}
		if err := element(below, t); err != nil {
			return err
		}
	}
}

// attribute reads what stands behind the name of attribute at: a value, or operators, all of which must hold.
func (p *parser) attribute(field string, at int, token json.Token, depth int) (node, error) {
	if token != json.Delim('{') {
		return p.compare(field, at, "$eq", token)
	}
	var all and
	err := p.object(field, token, depth+1, func(field, name string) error {
		token, err := p.token(field)
		if err != nil {
			return err
		}
		var n node
		if name == "$not" {
			if token != json.Delim('{') {
				return &Error{field, show(token), "operators that must not hold, such as {\"$gt\": 1}"}
			}
			n, err = p.attribute(field, at, token, depth+1)
			n = not{n}
		} else {
			n, err = p.compare(field, at, name, token)
		}
		all = append(all, n)
		return err
	})
	if err == nil && len(all) == 0 {
		err = &Error{field, "{}", "a value or operators"}
	}
	return all.simple(), err
}

// compare reads the operand of an operator of attribute at, which begins with token.
func (p *parser) compare(field string, at int, operator string, token json.Token) (node, error) {
	if p.conditions++; p.conditions > MaxConditions {
		return nil, &Error{field, fmt.Sprintf("comparison %d", p.conditions), fmt.Sprintf("at most %d in a filter", MaxConditions)}
	}
	a := p.spec.Attributes[at]
	switch operator {
	case "$eq", "$ne", "$in", "$nin":
		values, null, err := p.operands(field, a.Type, token, operator == "$in" || operator == "$nin")
		if err != nil {
			return nil, err
		}
		var n node = anyOf{at, values, null}
		if operator == "$ne" || operator == "$nin" {
			n = not{n}
		}
		return n, nil
	case "$exists":
		b, ok := token.(bool)
		if !ok {
			return nil, &Error{field, show(token), "true or false"}
		}
		if b {
			return not{anyOf{at, values{}, true}}, nil
		}
		return anyOf{at, values{}, true}, nil
	case "$gt", "$gte", "$lt", "$lte":
		if a.Type == schemas.AttributeBool {
			return nil, &Error{field, "an order of true and false", "$eq, $ne, $in, $nin and $exists for attributes of type bool"}
		}
		if err := p.count(field); err != nil {
			return nil, err
		}
		v := values{typ: a.Type}
		if err := v.add(field, token); err != nil {
			return nil, err
		}
		return ordered(at, operator, v), nil
	case "$prefix":
		if a.Type != schemas.AttributeString {
			return nil, &Error{field, "a prefix of type " + string(a.Type), "$prefix for attributes of type utf8"}
		}
		text, ok := token.(string)
		if !ok {
			return nil, &Error{field, show(token), "a text"}
		}
		return prefix{at, text}, nil
	}
	return nil, &Error{field, "no such operator", "$eq, $ne, $in, $nin, $gt, $gte, $lt, $lte, $prefix, $exists, $not"}
}

// operands reads one value, or an array of them; a null is counted apart.
func (p *parser) operands(field string, t schemas.AttributeType, token json.Token, many bool) (v values, null bool, err error) {
	v.typ = t
	one := func(field string, token json.Token) error {
		if err := p.count(field); err != nil {
			return err
		}
		if token == nil {
			null = true
			return nil
		}
		return v.add(field, token)
	}
	if many {
		err = p.array(field, token, "an array of values", one)
	} else {
		err = one(field, token)
	}
	v.sort()
	return v, null, err
}

func (p *parser) count(field string) error {
	if p.values++; p.values > MaxValues {
		return &Error{field, fmt.Sprintf("value %d", p.values), fmt.Sprintf("at most %d in a filter", MaxValues)}
	}
	return nil
}

// values are operands of one type, of which only that slice is in use. Sorted once all are there.
type values struct {
	typ    schemas.AttributeType
	bools  [2]bool // whether false is there, and whether true is
	ints   []int64 // also timestamps
	floats []float64
	texts  []string
}

// add reads a value that is not null.
func (v *values) add(field string, token json.Token) error {
	wrong := func(allowed string) error { return &Error{field, show(token), allowed} }
	switch v.typ {
	case schemas.AttributeBool:
		b, ok := token.(bool)
		if !ok {
			return wrong("true or false")
		}
		v.bools[bit(b)] = true
	case schemas.AttributeInt:
		n, ok := token.(json.Number)
		i, err := strconv.ParseInt(string(n), 10, 64)
		if !ok || err != nil {
			return wrong(fmt.Sprintf("an integer from %d to %d, without fraction or exponent", math.MinInt64, math.MaxInt64))
		}
		v.ints = append(v.ints, i)
	case schemas.AttributeFloat:
		n, ok := token.(json.Number)
		f, err := n.Float64()
		if !ok || err != nil {
			return wrong("a number that float64 holds")
		}
		v.floats = append(v.floats, f)
	case schemas.AttributeTimestamp:
		text, _ := token.(string)
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return wrong("a time as in RFC 3339, such as \"2026-11-24T08:00:00Z\"")
		}
		v.ints = append(v.ints, at.UnixMilli())
	default:
		text, ok := token.(string)
		if !ok {
			return wrong("a text")
		}
		v.texts = append(v.texts, text)
	}
	return nil
}

func (v *values) sort() {
	slices.Sort(v.ints)
	slices.Sort(v.floats)
	slices.Sort(v.texts)
}

// show is a token in an error.
func show(t json.Token) string {
	switch t := t.(type) {
	case nil:
		return "null"
	case json.Delim:
		return map[json.Delim]string{'{': "an object", '[': "an array"}[t]
	case string:
		return strconv.Quote(clip(t))
	case json.Number:
		return clip(string(t))
	}
	return fmt.Sprint(t)
}

func clip(s string) string {
	if len(s) <= schemas.MaxNameBytes {
		return s
	}
	return strings.ToValidUTF8(s[:schemas.MaxNameBytes], "") + "..."
}
