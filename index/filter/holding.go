package filter

import (
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/schemas"
)

// Both is met by the rows that meet f and g. What is of one request alone is limited, not what two make together.
func Both(f, g *Filter) *Filter {
	return &Filter{and{f.root, g.root}, `{"$and":[` + f.text + `,` + g.text + `]}`}
}

// Holding returns a match for [Select]: of the rows that meet f, all if it is nil, those whose attribute at has one of some
// values, or with none set those that have none of them. Values are as [segment.Part.Value] returns them, nil is null; the
// attribute is one of bools, integers or texts. It is for conditions that a search makes up as it goes: the cache does not know
// them.
func Holding(spec *schemas.Spec, f *Filter, at int, some []any, none bool) func(p *segment.Part) snapshot.BitSet {
	has := anyOf{at: at, values: values{typ: spec.Attributes[at].Type}}
	for _, value := range some {
		switch v := value.(type) {
		case nil:
			has.null = true
		case bool:
			has.values.bools[bit(v)] = true
		case int64:
			has.values.ints = append(has.values.ints, v)
		case string:
			has.values.texts = append(has.values.texts, v)
		}
	}
	has.values.sort()
	both := and{has}
	if none {
		both[0] = not{has}
	}
	if f != nil {
		both = append(both, f.root)
	}
	return (&Filter{root: both.simple()}).Match
}
