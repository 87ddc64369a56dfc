package commit

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/adastream/adastream/schemas"
)

var sumRE = regexp.MustCompile(`^[0-9a-f]{64}$`)

// checkCommit joins the faults of a commit by itself. What it refuses is neither written nor believed when read.
func (l *Log) checkCommit(c *schemas.Commit) error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Format != schemas.CommitFormat {
		bad("format: %d, allowed: %d", c.Format, schemas.CommitFormat)
	}
	if !l.has(c.Partition) {
		bad("partition: %d, allowed: %s", c.Partition, l.allowed())
	}
	if c.Start < 0 || c.End <= c.Start {
		bad("range: [%d, %d), allowed: 0 <= start < end", c.Start, c.End)
	}
	if c.Writer == "" {
		bad("writer: empty, allowed: an id that no other record has")
	}
	if c.Watermark < 0 || c.Watermark < c.Produced {
		bad("watermark: %d, allowed: at least 0 and at least produced, %d", c.Watermark, c.Produced)
	}
	for _, data := range []struct {
		kind   string
		object *schemas.Object
		rows   string
		n      int
	}{
		{segments, c.Segment, "rows", c.Rows},
		{tombstones, c.Tombstones, "deletes", c.Deletes},
		{quarantine, c.Quarantine, "quarantined", sum(c.Quarantined)},
	} {
		if data.n < 0 || (data.n > 0) != (data.object != nil) {
			bad("%s: %d with object %v, allowed: more than 0 exactly if there is one", data.rows, data.n, data.object)
		}
		if o := data.object; o != nil {
			if prefix := dataPrefix(data.kind, c.Partition, c.Start); !strings.HasPrefix(o.Key, prefix) || o.Size <= 0 || !sumRE.MatchString(o.SHA256) {
				bad("%s: object %+v, allowed: a key that begins with %s, a size and a sha256", data.kind, *o, prefix)
			}
		}
	}
	for reason, n := range c.Quarantined {
		if reason == "" || n <= 0 {
			bad("quarantined: %d for %q, allowed: a reason and more than 0", n, reason)
		}
	}
	if c.Model != "" && c.Segment == nil {
		bad("model: %q, allowed: none without a segment", c.Model)
	}
	if c.Gap && (c.Segment != nil || c.Tombstones != nil || c.Quarantine != nil) {
		bad("gap: true, allowed: only without data")
	}
	if c.Load != nil {
		if !l.spec.IsLoad(c.Partition) {
			bad("load: %q in partition %d, allowed: none in those of the topic", c.Load.Name, c.Partition)
		}
		if err := c.Load.Validate(); err != nil {
			faults = append(faults, err)
		}
		if c.Load.Base > c.Start || c.Load.Parts > l.spec.Loads {
			bad("load: base %d, parts %d, allowed: up to start, %d, and up to the loads of the index spec, %d", c.Load.Base, c.Load.Parts, c.Start, l.spec.Loads)
		}
		if c.Gap {
			bad("gap: true, allowed: not in a load")
		}
	}
	return errors.Join(faults...)
}

func sum(counts map[string]int) (total int) {
	for _, n := range counts {
		total += n
	}
	return total
}

// checkSuccessor says whether next can follow prev in a chain; prev is nil at the start of one.
func checkSuccessor(prev, next *schemas.Commit) error {
	var end, watermark int64
	if prev != nil {
		end, watermark = prev.End, prev.Watermark
	}
	if next.Start != end {
		return fmt.Errorf("start: %d, allowed: %d, the end of the record before", next.Start, end)
	}
	if next.Watermark < watermark {
		return fmt.Errorf("watermark: %d, allowed: at least %d, that of the record before", next.Watermark, watermark)
	}
	return checkLoad(prev, next)
}

// checkLoad says whether next can follow prev by the loads that they are of: one ends before another begins.
func checkLoad(prev, next *schemas.Commit) error {
	var before *schemas.Load
	if prev != nil {
		before = prev.Load
	}
	switch load := next.Load; {
	case load == nil && before == nil:
		return nil
	case load == nil:
		return fmt.Errorf("load: none, allowed: one, as the record before is of load %q", before.Name)
	case before == nil || before.Done:
		if load.Base != next.Start {
			return fmt.Errorf("load.base: %d, allowed: %d, where load %q begins", load.Base, next.Start, load.Name)
		}
	default:
		same := *before
		same.Done = load.Done
		if *load != same {
			return fmt.Errorf("load: %+v, allowed: %+v, that of the record before, until it is done", *load, *before)
		}
	}
	return nil
}

// checkManifest joins the faults of a manifest by itself, as far as the protocol rests on it.
func (l *Log) checkManifest(m *schemas.Manifest) error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if m.Format != schemas.ManifestFormat && m.Format != schemas.PagedManifest {
		bad("format: %d, allowed: %d and %d", m.Format, schemas.ManifestFormat, schemas.PagedManifest)
	}
	for i, p := range m.Pages {
		if sum := pageRE.FindStringSubmatch(p.Key); sum == nil || sum[1] != p.SHA256 {
			bad("pages: number %d, %s: allowed: the name of a page with its sha256, %s", i, p.Key, p.SHA256)
		}
	}
	if m.Generation < 1 {
		bad("generation: %d, allowed: 1 and more", m.Generation)
	}
	if m.Parent < 0 || m.Parent >= max(m.Generation, 1) {
		bad("parent: %d, allowed: 0 to %d, one less than the generation", m.Parent, m.Generation-1)
	}
	if m.Builder == "" {
		bad("builder: empty, allowed: an id that no other process has")
	}
	if m.Checkpoint == nil {
		bad("checkpoint: null, allowed: the next offset of each partition that has one")
	}
	for p, next := range m.Checkpoint {
		n, err := strconv.Atoi(p)
		if err != nil || strconv.Itoa(n) != p || !l.has(n) || next < 0 {
			bad("checkpoint: %d for partition %q, allowed: offsets for partitions %s", next, p, l.allowed())
		}
	}
	fit := func(name string, f *schemas.Fit) {
		if levels := len(l.spec.Ladder); f != nil && (len(f.Coarse) != levels || len(f.Codes) != levels) {
			bad("%s: of %d and %d levels, allowed: the %d of the ladder", name, len(f.Coarse), len(f.Codes), levels)
		}
	}
	if m.Model != nil {
		fit("model.fit", m.Model.Fit)
	}
	if m.Drift != nil {
		fit("drift", &m.Drift.Fit)
	}
	return errors.Join(faults...)
}

// checkChild says whether a manifest can have that parent: neither what is folded nor the watermark falls.
func checkChild(parent, child *schemas.Manifest) error {
	for p, next := range parent.Checkpoint {
		if child.Checkpoint[p] < next {
			return fmt.Errorf("checkpoint: %d for partition %s, allowed: at least %d, that of parent %d", child.Checkpoint[p], p, next, parent.Generation)
		}
	}
	if child.Watermark < parent.Watermark {
		return fmt.Errorf("watermark: %d, allowed: at least %d, that of parent %d", child.Watermark, parent.Watermark, parent.Generation)
	}
	return nil
}
