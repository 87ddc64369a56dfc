package quarantine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/registry"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// ErrNewer: a version came after what was refused, and replaying would replace it.
var ErrNewer = errors.New("the index has a newer version")

// Versions are the newest versions that an index has of some ids; nil for an id that it does not have. A delete is a version, until a
// rewrite has carried it out.
type Versions map[string]*segment.Order

// ReadVersions looks in all that is committed for the ids that payloads bring. It reads the rows of the newest generation, which
// may take the cache a while.
func ReadVersions(ctx context.Context, index *commit.Log, cache *store.Cache, level avx.Level, known *registry.Client, payloads [][]byte) (Versions, error) {
	v := Versions{}
	for _, payload := range payloads {
		rows, deletes, err := decode(ctx, index.Spec(), level, known, payload)
		if errors.Is(err, ErrRefused) {
			continue // as replaying it will say
		}
		if err != nil {
			return nil, err
		}
		for id := range brought(rows, deletes) {
			v[id] = nil
		}
	}
	for {
		m, err := index.Latest(ctx, 0)
		if err == nil {
			err = v.read(ctx, index, cache, m)
		}
		if err == nil {
			return v, nil
		}
		err = fmt.Errorf("look for newer versions: %w", err)
		if m == nil || !errors.Is(err, store.ErrNotFound) && !errors.Is(err, schemas.ErrFenced) {
			return nil, err
		}
		if now, lookErr := index.Latest(ctx, 0); lookErr != nil || now.Generation == m.Generation {
			return nil, errors.Join(err, lookErr)
		} // else the generation was collected meanwhile
	}
}

// read looks in a generation, nil for none, and in what was committed since.
func (v Versions) read(ctx context.Context, index *commit.Log, cache *store.Cache, m *schemas.Manifest) error {
	spec, checkpoint := index.Spec(), map[string]int64{}
	if m != nil {
		checkpoint = m.Checkpoint
		for _, ch := range m.Chunks {
			if err := v.readPart(replica.Chunk(ctx, cache, spec, ch)); err != nil {
				return err
			}
		}
		for _, s := range m.Segments {
			if err := v.readPart(replica.Segment(ctx, cache, spec, s)); err != nil {
				return err
			}
		}
		for _, o := range m.Tombstones {
			if err := v.readDeletes(replica.Tombstones(ctx, cache, o)); err != nil {
				return err
			}
		}
	}
	for _, p := range index.Partitions() {
		commits, err := index.Since(ctx, p, checkpoint[strconv.Itoa(p)], 0)
		if err != nil {
			return err
		}
		for _, c := range commits {
			if c.Segment != nil {
				s := schemas.Segment{ID: c.Segment.SHA256, Object: *c.Segment, NumRows: c.Rows, Model: c.Model}
				if err := v.readPart(replica.Segment(ctx, cache, spec, s)); err != nil {
					return err
				}
			}
			if c.Tombstones != nil {
				if err := v.readDeletes(replica.Tombstones(ctx, cache, *c.Tombstones)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// readPart looks at all rows: one that is dead was replaced or deleted by a version that is newer still.
func (v Versions) readPart(p *replica.Part, err error) error {
	if err != nil {
		return err
	}
	defer p.Release()
	for row := range p.N {
		v.see(p.IDAt(row), p.OrderAt(row))
	}
	return nil
}

func (v Versions) readDeletes(stones []segment.Tombstone, err error) error {
	for _, t := range stones {
		v.see(t.ID, t.Order)
	}
	return err
}

// see takes in a version. The id is of a part, and gone when that is released.
func (v Versions) see(id string, o segment.Order) {
	newest, asked := v[id]
	switch {
	case !asked:
	case newest == nil:
		v[strings.Clone(id)] = &o
	case newest.Compare(o) < 0:
		*newest = o
	}
}

// check makes sure that what a payload brings came after all that the index has of its ids.
func (v Versions) check(q ingest.Quarantined, rows *segment.Rows, deletes []segment.Tombstone) error {
	all, older, example := 0, 0, ""
	for id, version := range brought(rows, deletes) {
		all++
		newest := v[id]
		if newest == nil || !came(newest, version, q) {
			continue
		}
		if older++; older == 1 {
			at := commit.Place{Partition: int(newest.Partition), Offset: newest.Offset, Row: int(newest.Row)}
			example = fmt.Sprintf("id %q at %v, version %d", id, at, newest.Version)
		}
	}
	if older == 0 {
		return nil
	}
	return fmt.Errorf("%w of %d of %d rows, as of %s", ErrNewer, older, all, example)
}

// came reports whether a version in the index came after something that was refused, of that version. Offsets tell it within a
// partition; between two the record's own timestamp has to.
func came(newest *segment.Order, version int64, q ingest.Quarantined) bool {
	switch {
	case newest.Version != version:
		return newest.Version > version
	case newest.Partition != q.Partition:
		return newest.Timestamp > q.Timestamp
	case newest.Offset != q.Offset:
		return newest.Offset > q.Offset
	}
	return newest.Row > q.Row
}

// brought yields the ids of rows and deletes with their versions.
func brought(rows *segment.Rows, deletes []segment.Tombstone) iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) {
		for i, id := range rows.IDs {
			if !yield(id, rows.Orders[i].Version) {
				return
			}
		}
		for _, t := range deletes {
			if !yield(t.ID, t.Version) {
				return
			}
		}
	}
}
