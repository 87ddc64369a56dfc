package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

// The operations of a step.
const (
	opInsert  = "insert"
	opDelete  = "delete"
	opReplace = "replace"
	opSearch  = "search"
)

// step is one entry of a runbook. Ranges are half open. A tag is what a search answers and a delete names, an id the place
// of a vector in the data: inserts give the vectors [Start, End) the tags [Start, End), replaces give the tags
// [TagsStart, TagsEnd) the vectors [IDsStart, IDsEnd).
type step struct {
	Operation string `yaml:"operation" json:"operation"`
	Start     int    `yaml:"start,omitempty" json:"start,omitempty"`
	End       int    `yaml:"end,omitempty" json:"end,omitempty"`
	TagsStart int    `yaml:"tags_start,omitempty" json:"tags_start,omitempty"`
	TagsEnd   int    `yaml:"tags_end,omitempty" json:"tags_end,omitempty"`
	IDsStart  int    `yaml:"ids_start,omitempty" json:"ids_start,omitempty"`
	IDsEnd    int    `yaml:"ids_end,omitempty" json:"ids_end,omitempty"`
}

// rows is how many rows a step changes.
func (s *step) rows() int { return s.End - s.Start + s.TagsEnd - s.TagsStart }

// runbook is the steps for one data set, in the format of the streaming track of big-ann-benchmarks.
type runbook struct {
	Name   string
	MaxPts int // most rows that are live at once, by its own account
	Steps  []step
}

// parse reads the steps that a file has for a data set of n vectors. It refuses what cannot be carried out: theirs would
// fail there, or count answers wrong.
func parse(raw []byte, name, dataset string, n int) (*runbook, error) {
	var sets map[string]map[string]yaml.Node
	if err := yaml.Unmarshal(raw, &sets); err != nil {
		return nil, fmt.Errorf("runbook %s: %w", name, err)
	}
	set, ok := sets[dataset]
	if !ok {
		return nil, fmt.Errorf("runbook %s: dataset %q, allowed: %q", name, dataset, slices.Sorted(maps.Keys(sets)))
	}
	r := &runbook{Name: name}
	if node, ok := set["max_pts"]; !ok || node.Decode(&r.MaxPts) != nil {
		return nil, fmt.Errorf("runbook %s: dataset %s: max_pts: %q, allowed: a number", name, dataset, node.Value)
	}
	for i := 1; ; i++ {
		node, ok := set[fmt.Sprint(i)]
		if !ok {
			break
		}
		var s step
		if err := node.Decode(&s); err != nil {
			return nil, fmt.Errorf("runbook %s: step %d: %w", name, i, err)
		}
		r.Steps = append(r.Steps, s)
	}
	for _, key := range slices.Sorted(maps.Keys(set)) { // after a hole theirs would stop without a word
		var i int
		if _, err := fmt.Sscan(key, &i); err == nil && i > len(r.Steps) {
			return nil, fmt.Errorf("runbook %s: step %d: there is no step %d before it", name, i, len(r.Steps)+1)
		}
	}
	return r, r.check(n)
}

// check carries out the steps over n vectors, without any.
func (r *runbook) check(n int) error {
	if len(r.Steps) == 0 {
		return fmt.Errorf("runbook %s: no steps", r.Name)
	}
	live := newRows(n)
	for i := range r.Steps {
		if err := live.apply(&r.Steps[i]); err != nil {
			return fmt.Errorf("runbook %s: step %d: %w", r.Name, i+1, err)
		}
		if live.count > r.MaxPts {
			return fmt.Errorf("runbook %s: step %d: %d live rows, allowed: max_pts, %d", r.Name, i+1, live.count, r.MaxPts)
		}
	}
	return nil
}

// rows is which vector each tag has, -1 for none.
type rows struct {
	vector []int32
	count  int // live
}

func newRows(n int) *rows {
	r := &rows{vector: make([]int32, n)}
	for i := range r.vector {
		r.vector[i] = -1
	}
	return r
}

func (r *rows) apply(s *step) error {
	within := func(what string, start, end int) error {
		if start < 0 || end > len(r.vector) || start >= end {
			return fmt.Errorf("%s %s: [%d, %d), allowed: a range of [0, %d)", s.Operation, what, start, end, len(r.vector))
		}
		return nil
	}
	switch s.Operation {
	case opSearch:
		return nil
	case opInsert:
		if err := within("start, end", s.Start, s.End); err != nil {
			return err
		}
		for tag := s.Start; tag < s.End; tag++ {
			if r.vector[tag] >= 0 {
				return fmt.Errorf("insert: tag %d is there already", tag)
			}
			r.vector[tag] = int32(tag)
		}
		r.count += s.rows()
	case opDelete:
		if err := within("start, end", s.Start, s.End); err != nil {
			return err
		}
		for tag := s.Start; tag < s.End; tag++ {
			if r.vector[tag] < 0 {
				return fmt.Errorf("delete: tag %d is not there", tag)
			}
			r.vector[tag] = -1
		}
		r.count -= s.rows()
	case opReplace:
		if err := errors.Join(within("tags_start, tags_end", s.TagsStart, s.TagsEnd), within("ids_start, ids_end", s.IDsStart, s.IDsEnd)); err != nil {
			return err
		}
		if s.TagsEnd-s.TagsStart != s.IDsEnd-s.IDsStart {
			return fmt.Errorf("replace: %d tags by %d ids, allowed: as many", s.TagsEnd-s.TagsStart, s.IDsEnd-s.IDsStart)
		}
		for tag := s.TagsStart; tag < s.TagsEnd; tag++ {
			if r.vector[tag] < 0 {
				return fmt.Errorf("replace: tag %d is not there", tag)
			}
			r.vector[tag] = int32(s.IDsStart + tag - s.TagsStart)
		}
	default:
		return fmt.Errorf("operation: %q, allowed: %s, %s, %s, %s", s.Operation, opInsert, opDelete, opReplace, opSearch)
	}
	return nil
}

// write is the runbook as a file of the format.
func (r *runbook) write(dataset string) ([]byte, error) {
	steps := map[any]any{"max_pts": r.MaxPts}
	for i := range r.Steps {
		steps[i+1] = r.Steps[i]
	}
	return yaml.Marshal(map[string]any{dataset: steps})
}
