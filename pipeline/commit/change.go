package commit

import (
	"strconv"

	"github.com/adastream/adastream/schemas"
)

// Change is what one generation has that another one had not.
type Change struct {
	Model   string // what of the model was made anew, as in schemas.ModelRef; "" if it is the same one
	Chunks  Parts
	Codes   int // chunks that are shared, but for their codes
	Segment Parts
	Live    int64 // rows that can be found, more or less
	Dead    int64
	Folded  int64 // offsets between the two checkpoints
	Shared  Size  // objects that both have
	New     Size  // that only the later one has
	Gone    Size  // that only the earlier one has
}

// Parts counts chunks or segments.
type Parts struct{ Shared, New, Gone int }

// Size counts objects.
type Size struct {
	Objects int
	Bytes   int64
}

func (s *Size) add(o schemas.Object) { s.Objects++; s.Bytes += o.Size }

// Kinds of change, by the largest work that was done.
const (
	KindRetrain    = "retrain"    // there is another model
	KindRewrite    = "rewrite"    // there are other chunks
	KindCompaction = "compaction" // segments were joined
	KindDelta      = "delta"      // rows were added or removed, or plans were measured
)

// Kind names the change.
func (c *Change) Kind() string {
	switch {
	case c.Model != "":
		return KindRetrain
	case c.Chunks.New > 0 || c.Chunks.Gone > 0 || c.Codes > 0:
		return KindRewrite
	case c.Segment.Gone > 0:
		return KindCompaction
	}
	return KindDelta
}

// Changed compares two generations of an index; from may be nil.
func Changed(from, to *schemas.Manifest) *Change {
	if from == nil {
		from = &schemas.Manifest{}
	}
	c := &Change{Live: to.LiveRows - from.LiveRows, Dead: to.DeadRows - from.DeadRows}
	if to.Model != nil && (from.Model == nil || from.Model.ID != to.Model.ID) {
		c.Model = to.Model.Repair
		if from.Model == nil {
			c.Model = "first"
		}
	}
	codes := map[string]string{}
	for _, k := range from.Chunks {
		codes[k.ID] = k.Codes.SHA256
	}
	for _, k := range to.Chunks {
		switch before, ok := codes[k.ID]; {
		case !ok:
			c.Chunks.New++
		case before != k.Codes.SHA256:
			c.Codes++
			c.Chunks.Shared++
		default:
			c.Chunks.Shared++
		}
	}
	c.Chunks.Gone = len(from.Chunks) - c.Chunks.Shared
	segments := map[string]bool{}
	for _, s := range from.Segments {
		segments[s.ID] = true
	}
	for _, s := range to.Segments {
		if segments[s.ID] {
			c.Segment.Shared++
		} else {
			c.Segment.New++
		}
	}
	c.Segment.Gone = len(from.Segments) - c.Segment.Shared
	c.countObjects(from, to)
	for p, next := range to.Checkpoint {
		c.Folded += next - from.Checkpoint[p]
	}
	return c
}

func (c *Change) countObjects(from, to *schemas.Manifest) {
	had := map[string]schemas.Object{}
	for o := range from.Objects() {
		had[o.Key] = o
	}
	for o := range to.Objects() {
		if _, ok := had[o.Key]; ok {
			c.Shared.add(o)
			delete(had, o.Key)
		} else {
			c.New.add(o)
		}
	}
	for _, o := range had {
		c.Gone.add(o)
	}
}

// SizeOf counts the objects of a generation.
func SizeOf(m *schemas.Manifest) (s Size) {
	for o := range m.Objects() {
		s.add(o)
	}
	return s
}

// CheckpointOf is the offset of a partition up to which a generation is the log.
func CheckpointOf(m *schemas.Manifest, partition int) int64 {
	return m.Checkpoint[strconv.Itoa(partition)]
}
