package commit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/adastream/adastream/pipeline/store"
)

// Found is the data objects that were there at one moment: the first step of a collection.
type Found struct {
	objects    []store.Info
	generation int64 // newest one after that moment
}

// Find lists the data objects of the index.
func (l *Log) Find(ctx context.Context) (*Found, error) {
	f := &Found{}
	for _, kind := range []string{segments, tombstones, quarantine, models, chunks, dead, pages} {
		for info, err := range l.bucket.List(ctx, kind+"/", "") {
			if err != nil {
				return nil, fmt.Errorf("find objects: %w", err)
			}
			if dataRE.MatchString(info.Key) || pageRE.MatchString(info.Key) {
				f.objects = append(f.objects, info)
			}
		}
	}
	m, err := l.LatestRecord(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("find objects: %w", err)
	}
	if m != nil {
		f.generation = m.Generation
	}
	return f, nil
}

// Rows are the objects that were found and that hold rows or deletes: all that an index can be made of again without a record.
type Rows struct {
	Segments   []store.Info
	Tombstones []store.Info
	Chunks     []ChunkFiles
	Halves     []store.Info // files of chunks of which the other one is not there

	// Committed is, for a partition, an offset up to which all was committed: where the last commit begins that has an object, or
	// the last attempt at one. Nobody puts an object before the commit ahead is there. Whether all objects of that last one are
	// there, nothing tells but its record.
	Committed map[int]int64
}

// ChunkFiles are the two files of a chunk that hold its rows.
type ChunkFiles struct{ Rows, Vectors store.Info }

// Rows picks the objects that hold rows.
func (f *Found) Rows() *Rows {
	r := &Rows{Committed: map[int]int64{}}
	vectors := map[string]store.Info{} // by the id that the files of a chunk share
	for _, info := range f.objects {
		if id, ok := strings.CutSuffix(info.Key, ".vectors.arrow"); ok {
			vectors[id[len(id)-uuidDigits:]] = info
		}
	}
	for _, info := range f.objects {
		if _, partition, start, ok := placeOf(info.Key); ok {
			r.Committed[partition] = max(start, r.Committed[partition])
		}
		switch kind, _, _ := strings.Cut(info.Key, "/"); kind {
		case segments:
			r.Segments = append(r.Segments, info)
		case tombstones:
			r.Tombstones = append(r.Tombstones, info)
		case chunks:
			id, ok := strings.CutSuffix(info.Key, ".rows.arrow")
			if !ok {
				continue
			}
			id = id[len(id)-uuidDigits:]
			if v, ok := vectors[id]; ok {
				r.Chunks = append(r.Chunks, ChunkFiles{info, v})
				delete(vectors, id)
			} else {
				r.Halves = append(r.Halves, info)
			}
		}
	}
	r.Halves = slices.AppendSeq(r.Halves, maps.Values(vectors))
	return r
}
