package filter

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

// node is a condition. match sets dst, which has a bit for each row of p and is empty, to the rows that meet it.
type node interface {
	match(p *segment.Part, dst snapshot.BitSet)
}

// Match returns the rows of a part that meet the filter, dead ones too.
func (f *Filter) Match(p *segment.Part) snapshot.BitSet {
	rows := newBits(p.N)
	f.root.match(p, rows)
	return rows
}

func newBits(n int) snapshot.BitSet { return make(snapshot.BitSet, (n+63)/64) }

type (
	and []node
	or  []node
	not struct{ node }
)

// simple is the one condition, if it is one.
func (a and) simple() node {
	if len(a) == 1 {
		return a[0]
	}
	return a
}

func (a and) match(p *segment.Part, dst snapshot.BitSet) {
	fillAll(dst, p.N)
	one := newBits(p.N)
	for _, n := range a {
		clear(one)
		n.match(p, one)
		for i, w := range one {
			dst[i] &= w
		}
	}
}

func (o or) match(p *segment.Part, dst snapshot.BitSet) {
	one := newBits(p.N)
	for _, n := range o {
		clear(one)
		n.match(p, one)
		for i, w := range one {
			dst[i] |= w
		}
	}
}

func (n not) match(p *segment.Part, dst snapshot.BitSet) {
	n.node.match(p, dst)
	invert(dst, p.N)
}

// anyOf holds for the values of attribute at that are one of some, and for nulls if those are meant.
type anyOf struct {
	at     int
	values values
	null   bool
}

func (c anyOf) match(p *segment.Part, dst snapshot.BitSet) {
	column := p.Attribute(c.at)
	c.values.match(column, dst)
	onlyValues(column, dst)
	if c.null && column.NullN() > 0 {
		nulls := newBits(p.N)
		readBits(nulls, column.NullBitmapBytes())
		invert(nulls, p.N)
		for i, w := range nulls {
			dst[i] |= w
		}
	}
}

// scanValues compares each number with each value if those are few, and looks each up if not.
const scanValues = 4

func (v *values) match(column arrow.Array, dst snapshot.BitSet) {
	switch c := column.(type) {
	case *array.Boolean:
		v.matchBools(c, dst)
	case *array.Int64, *array.Timestamp:
		matchNumbers(arrow.GetValues[int64](c.Data(), 1), v.ints, dst)
	case *array.Float64:
		matchNumbers(c.Float64Values(), v.floats, dst)
	case *array.String:
		v.matchTexts(c, dst)
	}
}

func (v *values) matchBools(c *array.Boolean, dst snapshot.BitSet) {
	hasFalse, hasTrue := v.bools[0], v.bools[1]
	switch {
	case hasFalse && hasTrue:
		fillAll(dst, c.Len())
	case hasTrue:
		readBits(dst, c.Data().Buffers()[1].Bytes())
		trim(dst, c.Len())
	case hasFalse:
		readBits(dst, c.Data().Buffers()[1].Bytes())
		invert(dst, c.Len())
	}
}

func (v *values) matchTexts(c *array.String, dst snapshot.BitSet) {
	switch len(v.texts) {
	case 0:
	case 1:
		text := v.texts[0]
		matchEach(dst, c.Len(), func(i int) bool { return c.Value(i) == text })
	default:
		matchEach(dst, c.Len(), func(i int) bool {
			_, found := slices.BinarySearch(v.texts, c.Value(i))
			return found
		})
	}
}

// matchNumbers adds the rows whose value is one of some, which are sorted.
func matchNumbers[T int64 | float64](column, some []T, dst snapshot.BitSet) {
	if len(some) <= scanValues {
		for _, v := range some {
			matchSpan(column, v, v, dst)
		}
		return
	}
	matchEach(dst, len(column), func(i int) bool {
		_, found := slices.BinarySearch(some, column[i])
		return found
	})
}

// matchSpan adds the rows whose value is in [low, high]. No float that is not a number is.
func matchSpan[T int64 | float64](column []T, low, high T, dst snapshot.BitSet) {
	for w := range dst {
		some := column[w*64 : min(w*64+64, len(column))]
		var word uint64
		for _, v := range some {
			word = word>>1 | (bit(v >= low)&bit(v <= high))<<63 // without a branch: which rows match is hard to predict
		}
		dst[w] |= word >> (64 - len(some))
	}
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// matchEach adds the rows that a test says yes to.
func matchEach(dst snapshot.BitSet, n int, test func(i int) bool) {
	for i := range n {
		dst[i/64] |= bit(test(i)) << (i % 64)
	}
}

// span holds for integers and times in [low, high].
type span struct {
	at        int
	low, high int64
}

func (c span) match(p *segment.Part, dst snapshot.BitSet) {
	column := p.Attribute(c.at)
	matchSpan(arrow.GetValues[int64](column.Data(), 1), c.low, c.high, dst)
	onlyValues(column, dst)
}

// floatSpan holds for floats in [low, high].
type floatSpan struct {
	at        int
	low, high float64
}

func (c floatSpan) match(p *segment.Part, dst snapshot.BitSet) {
	column := p.Attribute(c.at)
	matchSpan(column.(*array.Float64).Float64Values(), c.low, c.high, dst)
	onlyValues(column, dst)
}

// textOrder holds for texts before or after another one by their bytes.
type textOrder struct {
	at       int
	operator string
	bound    string
}

func (c textOrder) match(p *segment.Part, dst snapshot.BitSet) {
	column := p.Attribute(c.at).(*array.String)
	var test func(order int) bool
	switch c.operator {
	case "$gt":
		test = func(order int) bool { return order > 0 }
	case "$gte":
		test = func(order int) bool { return order >= 0 }
	case "$lt":
		test = func(order int) bool { return order < 0 }
	default:
		test = func(order int) bool { return order <= 0 }
	}
	matchEach(dst, p.N, func(i int) bool { return test(strings.Compare(column.Value(i), c.bound)) })
	onlyValues(column, dst)
}

// prefix holds for texts that begin with one.
type prefix struct {
	at   int
	text string
}

func (c prefix) match(p *segment.Part, dst snapshot.BitSet) {
	column := p.Attribute(c.at).(*array.String)
	matchEach(dst, p.N, func(i int) bool { return strings.HasPrefix(column.Value(i), c.text) })
	onlyValues(column, dst)
}

// ordered is the comparison of attribute at with the one value of v.
func ordered(at int, operator string, v values) node {
	switch v.typ {
	case schemas.AttributeFloat:
		bound, c := v.floats[0], floatSpan{at, math.Inf(-1), math.Inf(1)}
		switch operator {
		case "$gt":
			c.low = math.Nextafter(bound, math.Inf(1))
		case "$gte":
			c.low = bound
		case "$lt":
			c.high = math.Nextafter(bound, math.Inf(-1))
		default:
			c.high = bound
		}
		return c
	case schemas.AttributeString:
		return textOrder{at, operator, v.texts[0]}
	}
	bound, c := v.ints[0], span{at, math.MinInt64, math.MaxInt64}
	nothing := span{at, 1, 0}
	switch {
	case operator == "$gt" && bound == math.MaxInt64, operator == "$lt" && bound == math.MinInt64:
		return nothing
	case operator == "$gt":
		c.low = bound + 1
	case operator == "$gte":
		c.low = bound
	case operator == "$lt":
		c.high = bound - 1
	default:
		c.high = bound
	}
	return c
}

// onlyValues takes nulls out.
func onlyValues(column arrow.Array, dst snapshot.BitSet) {
	if column.NullN() == 0 {
		return
	}
	valid := make(snapshot.BitSet, len(dst))
	readBits(valid, column.NullBitmapBytes())
	for i, w := range valid {
		dst[i] &= w
	}
}

// readBits reads a bitmap of Arrow, which may be longer.
func readBits(dst snapshot.BitSet, bitmap []byte) {
	for i := range dst {
		if at := 8 * i; at+8 <= len(bitmap) {
			dst[i] = binary.LittleEndian.Uint64(bitmap[at:])
		} else {
			var last [8]byte
			copy(last[:], bitmap[at:])
			dst[i] = binary.LittleEndian.Uint64(last[:])
		}
	}
}

func fillAll(dst snapshot.BitSet, n int) {
	clear(dst)
	invert(dst, n)
}

// invert changes the bits of n rows.
func invert(dst snapshot.BitSet, n int) {
	for i := range dst {
		dst[i] = ^dst[i]
	}
	trim(dst, n)
}

// trim clears the bits beyond n rows.
func trim(dst snapshot.BitSet, n int) {
	if n%64 != 0 {
		dst[n/64] &= 1<<(n%64) - 1
	}
}
