package serve

import (
	"fmt"

	"github.com/adastream/adastream/index/recall"
	"github.com/adastream/adastream/schemas"
)

// footprint is what a generation wants in memory to be fast, in bytes by what holds them. Generations share what has the same
// name. It is told from the manifest, so before anything is fetched.
//
// Files count as far as every query reads them: originals do only where they decide by default, see [byOriginals]; else exact
// searches alone touch them, and the kernel drops them first. What queries and requests need for themselves is not in it, nor what is remembered
// of filters, see [Node.admitGeneration].
type footprint map[string]int64

// Bytes of the heap for a row that was looked up by its id and for one that has a second list in a segment, see
// [segment.Part.Find] and [segment.Part.Spilled]; and for a run of a list, see [snapshot.Run].
const (
	idBytes      = 12
	spilledBytes = 4
	runBytes     = 16
)

func footprintOf(spec *schemas.Spec, m *schemas.Manifest, originals bool) footprint {
	f := footprint{}
	var rows, runs int64
	for _, c := range m.Chunks {
		n := int64(c.NumRows)
		f[c.Rows.SHA256], f[c.Codes.SHA256] = c.Rows.Size, c.Codes.Size
		f["ids of "+c.ID] = n * idBytes
		if originals {
			f[c.Vectors.SHA256] = c.Vectors.Size
		}
		rows += n
		runs += int64(c.EndList - c.FirstList)
	}
	for _, s := range m.Segments {
		n := int64(s.NumRows)
		f[s.SHA256] = s.Size
		if !originals {
			f[s.SHA256] = max(0, s.Size-n*int64(spec.VectorBytes()))
		}
		f["ids of "+s.ID] = n * (idBytes + spilledBytes)
		rows += n
		switch {
		case m.Model == nil:
		case s.Model == m.Model.ID:
			runs += min(n, int64(m.Model.NList)) * 2
		case spec.Rotates(): // its rows are turned to the axes of the model, see segment.Turn
			f["turned "+s.ID+" "+m.Model.ID] = n * int64(spec.Dim()+4+4*len(spec.Ladder))
		}
	}
	if m.Model != nil {
		f[m.Model.SHA256] = 2 * m.Model.Size // as a file, and as queries read it
	}
	own := runs * runBytes
	if m.Dead != nil {
		own += rows / 8
	}
	f[fmt.Sprintf("generation %d", m.Generation)] = own
	return f
}

// byOriginals reports whether originals decide what a query finds that does not say how to search.
func byOriginals(spec *schemas.Spec, m *schemas.Manifest) bool {
	plan, _, _ := recall.Choose(m.Plans, spec.Defaults.TargetRecall)
	return plan.Originals
}

func (f footprint) sum() (n int64) {
	for _, bytes := range f {
		n += bytes
	}
	return n
}

// beside is what f takes where other is already.
func (f footprint) beside(other footprint) (n int64) {
	for name, bytes := range f {
		if _, shared := other[name]; !shared {
			n += bytes
		}
	}
	return n
}

// admitGeneration refuses a generation for which there is no room beside the one that is served, before a byte of it is fetched.
// The first one is taken anyway: slow answers are better than none. What is remembered of filters is forgotten where that makes the room:
// it costs a look at the rows, and to be refused would cost all newer ones.
func (n *Node) admitGeneration(wants footprint) error {
	var now footprint
	if s := n.current.Load(); s != nil {
		now = s.wants
	}
	more, served := wants.beside(now), now.sum()
	if n.o.MemoryBytes == 0 || served+more <= n.o.MemoryBytes {
		if kept := n.filters.Bytes(); n.o.MemoryBytes > 0 && served+more+kept > n.o.MemoryBytes {
			n.filters.Forget()
			n.o.Logger.Info("forgot what filters had selected, to make room for a generation", "bytes", kept, "wants_bytes", more, "memory_bytes", n.o.MemoryBytes)
		}
		return nil
	}
	if n.followed == nil {
		n.o.Logger.Warn("the generation needs more memory than is allowed, queries may wait for the disk", "wants_bytes", more, "memory_bytes", n.o.MemoryBytes)
		return nil
	}
	n.metrics.memoryRefusals.Inc()
	return fmt.Errorf("%w: wants %d bytes beside the %d of what is served, %d together, allowed: %d: raise --memory-bytes or the limit of the container, or restart the node, which then takes it alone",
		ErrMemory, more, served, served+more, n.o.MemoryBytes)
}
