// Package rebuild makes an index again from the data objects of one whose records are lost or not to be trusted.
//
// Every object with rows or deletes says of each of them where in the log it came from and which version it is, so the fold of
// all of them in any order is that of the log: for each id the newest version by segment.Order counts. Objects that nothing
// named any more, leftovers of writers that were overtaken or of generations given up, do no harm: they hold older versions, or
// the same ones. Deletes are kept for good, so what was deleted stays so.
//
// The result is written into the empty chains of another index, as an ingestor would have who had read the same topic after it
// was compacted: in the order of offsets, with what counts and the deletes. Ingestors go on from its end, a builder builds it.
//
// Of the last commit of a partition nothing tells whether it is whole: an ingestor that is killed may have put its rows and not yet its
// deletes. So unless a builder had folded it the chain ends where it begins, and ingestors read it again. What there is of it is in
// the last record all the same, for a topic that does not have it any more; versions that come again are the same ones. A chain that
// begins with it is taken to be whole, as it has to have an end, and so is what was loaded, which is in no topic and deletes nothing.
package rebuild

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// commitRows is how many rows and deletes a commit gets, as far as offsets allow.
const commitRows = 65536

// Options of Run. All are required but Progress.
type Options struct {
	From  *commit.Log  // of which only the spec and data objects are read
	To    *commit.Log  // of an index with the same spec, and without commits
	Cache *store.Cache // of From
	Level avx.Level

	Progress func(bytes, of int64) // of objects that were read so far; nil is not told
}

// Report is what was found and made.
type Report struct {
	Objects int   // that were read
	Rows    int64 // in them, of all versions
	Live    int   // versions that count
	Deletes int
	Commits int
	Faults  []error // objects that are damaged: what only they held is lost
}

// version is the newest of an id so far. A delete has no part.
type version struct {
	order segment.Order
	part  *segment.Part
	row   int
}

// work is one run.
type work struct {
	Options
	report Report
	newest map[string]version
	ends   []int64 // by partition: up to which all that the log had was committed and seen; 0 for those of other shards
	whole  []bool  // by partition: whether what its last commit has is all that it is to have
	mapped []*store.Mapped

	bytes, of int64 // of objects, read and in all
}

// Run rebuilds.
func Run(ctx context.Context, o Options) (*Report, error) {
	partitions := o.From.Spec().EndPartition()
	w := &work{Options: o, newest: map[string]version{}, ends: make([]int64, partitions), whole: make([]bool, partitions)}
	defer func() {
		for _, m := range w.mapped {
			m.Release()
		}
	}()
	for _, p := range o.To.Partitions() {
		head, err := o.To.Head(ctx, p, 0)
		if err != nil {
			return nil, err
		}
		if head.Next > 0 {
			return nil, fmt.Errorf("%s: partition %d has commits up to %d, allowed: a new index", o.To.Bucket(), p, head.Next)
		}
	}
	if err := w.read(ctx); err != nil {
		return nil, err
	}
	for p, entries := range w.entries() {
		if err := w.write(ctx, p, entries); err != nil {
			return nil, err
		}
	}
	return &w.report, nil
}

// read folds all objects.
func (w *work) read(ctx context.Context) error {
	found, err := w.From.Find(ctx)
	if err != nil {
		return err
	}
	spec, rows := w.From.Spec(), found.Rows()
	w.of = bytesOf(rows)
	for p := range w.ends {
		w.ends[p] = rows.Committed[p]
		w.whole[p] = w.ends[p] == 0 || spec.IsLoad(p)
	}
	for _, info := range rows.Segments {
		if err := w.fault(w.part(ctx, func(bytes [][]byte) (*segment.Part, error) { return segment.OpenSegment(spec, info.Key, bytes[0]) }, info)); err != nil {
			return err
		}
	}
	for _, c := range rows.Chunks {
		if err := w.fault(w.part(ctx, func(bytes [][]byte) (*segment.Part, error) {
			return segment.OpenRows(spec, "chunk "+c.Rows.Key, bytes[0], bytes[1])
		}, c.Rows, c.Vectors)); err != nil {
			return err
		}
	}
	for _, info := range rows.Halves {
		if err := w.fault(fmt.Errorf("%s: the other file of the chunk: %w", info.Key, store.ErrNotFound)); err != nil {
			return err
		}
	}
	for _, info := range rows.Tombstones {
		if err := w.fault(w.tombstones(ctx, info)); err != nil {
			return err
		}
	}
	return nil
}

func bytesOf(rows *commit.Rows) (n int64) {
	for _, info := range rows.Segments {
		n += info.Size
	}
	for _, c := range rows.Chunks {
		n += c.Rows.Size + c.Vectors.Size
	}
	for _, info := range rows.Tombstones {
		n += info.Size
	}
	return n
}

// fault notes that an object is damaged, and passes on what else went wrong.
func (w *work) fault(err error) error {
	if errors.Is(err, schemas.ErrCorrupt) || errors.Is(err, store.ErrNotFound) {
		w.report.Faults = append(w.report.Faults, err)
		return nil
	}
	return err
}

func (w *work) part(ctx context.Context, open func([][]byte) (*segment.Part, error), files ...store.Info) error {
	bytes := make([][]byte, len(files))
	for i, info := range files {
		m, err := w.fetch(ctx, info)
		if err != nil {
			return err
		}
		w.mapped = append(w.mapped, m)
		bytes[i] = m.Bytes()
	}
	p, err := open(bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", files[0].Key, err)
	}
	_, folded := commit.SumOf(files[0].Key)
	for row := range p.N {
		if err := w.see(p.IDAt(row), version{p.OrderAt(row), p, row}, folded); err != nil {
			return fmt.Errorf("%s: row %d: %w", files[0].Key, row, err)
		}
	}
	w.report.Rows += int64(p.N)
	return nil
}

func (w *work) tombstones(ctx context.Context, info store.Info) error {
	m, err := w.fetch(ctx, info)
	if err != nil {
		return err
	}
	defer m.Release()
	stones, err := segment.ReadTombstones(info.Key, m.Bytes())
	if err != nil {
		return err
	}
	_, folded := commit.SumOf(info.Key)
	for _, t := range stones {
		if err := w.see(t.ID, version{order: t.Order}, folded); err != nil {
			return fmt.Errorf("%s: delete of %q: %w", info.Key, t.ID, err)
		}
	}
	return nil
}

// see takes in a version, of an object that a builder made of folded commits or of one of a commit.
func (w *work) see(id string, v version, folded bool) error {
	p := int(v.order.Partition)
	if p < 0 || p >= len(w.ends) || v.order.Offset < 0 {
		return fmt.Errorf("%w: it is from offset %d of partition %d, allowed: partitions 0 to %d", schemas.ErrCorrupt, v.order.Offset, p, len(w.ends)-1)
	}
	if folded || w.whole[p] {
		w.ends[p] = max(w.ends[p], v.order.Offset+1)
	}
	if known, ok := w.newest[id]; ok {
		if v.order.Compare(known.order) > 0 {
			w.newest[id] = v
		}
		return nil
	}
	w.newest[strings.Clone(id)] = v
	return nil
}

// fetch brings an object here. Names of a commit's own objects do not tell their sum.
func (w *work) fetch(ctx context.Context, info store.Info) (*store.Mapped, error) {
	w.report.Objects++
	w.bytes += info.Size
	if w.Progress != nil {
		defer w.Progress(w.bytes, w.of)
	}
	ref := store.Ref{Key: info.Key, Size: info.Size}
	if sum, ok := commit.SumOf(info.Key); ok {
		ref.SHA256 = sum
		return w.Cache.Fetch(ctx, ref)
	}
	body, err := w.From.Bucket().Get(ctx, info.Key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	ref.Size, ref.SHA256 = int64(len(body)), hex.EncodeToString(sum[:])
	if err := w.Cache.Put(ctx, ref, body); err != nil {
		return nil, err
	}
	return w.Cache.Fetch(ctx, ref)
}

// entry is an id with its newest version.
type entry struct {
	id string
	version
}

// entries are the newest versions by partition, in the order of the log.
func (w *work) entries() [][]entry {
	all := make([][]entry, len(w.ends))
	for id, v := range w.newest {
		all[v.order.Partition] = append(all[v.order.Partition], entry{id, v})
	}
	for _, entries := range all {
		slices.SortFunc(entries, func(x, y entry) int {
			return cmp.Or(cmp.Compare(x.order.Offset, y.order.Offset), cmp.Compare(x.order.Row, y.order.Row), cmp.Compare(x.id, y.id))
		})
	}
	return all
}

// write makes the chain of a partition. Its last commit has also what lies beyond its end.
func (w *work) write(ctx context.Context, partition int, entries []entry) error {
	var last schemas.Commit
	for last.End < w.ends[partition] {
		n := min(commitRows, len(entries))
		for n > 0 && n < len(entries) && entries[n].order.Offset == entries[n-1].order.Offset {
			n++ // a message is in one commit
		}
		end := w.ends[partition]
		if n < len(entries) && entries[n-1].order.Offset+1 < end {
			end = entries[n-1].order.Offset + 1
		} else {
			n = len(entries)
		}
		c, err := w.commit(ctx, partition, &last, end, entries[:n])
		if err != nil {
			return err
		}
		entries, last = entries[n:], *c
	}
	return nil
}

func (w *work) commit(ctx context.Context, partition int, last *schemas.Commit, end int64, entries []entry) (*schemas.Commit, error) {
	spec := w.From.Spec()
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, err
	}
	c := &schemas.Commit{Format: schemas.CommitFormat, Partition: partition, Start: last.End, End: end, Watermark: last.Watermark,
		Writer: "rebuild-" + id.String(), Created: time.Now().UTC()}
	rows := segment.NewRows(spec)
	var stones []segment.Tombstone
	for _, e := range entries {
		if e.order.Offset < end { // else it comes again, and is to get the order that it has
			c.Produced = max(c.Produced, e.order.Timestamp)
		}
		c.Watermark = max(c.Watermark, c.Produced)
		if e.part == nil {
			stones = append(stones, segment.Tombstone{ID: e.id, Order: e.order})
			continue
		}
		if err := rows.AppendFrom(e.part, e.row); err != nil {
			return nil, fmt.Errorf("id %q: %w", e.id, err)
		}
	}
	if c.Rows = rows.Len(); c.Rows > 0 {
		body, err := segment.Write(spec, nil, w.Level, rows)
		if err != nil {
			return nil, err
		}
		o, err := w.To.PutSegment(ctx, partition, c.Start, body)
		if err != nil {
			return nil, err
		}
		c.Segment = &o
	}
	if c.Deletes = len(stones); c.Deletes > 0 {
		body, err := segment.WriteTombstones(stones)
		if err != nil {
			return nil, err
		}
		o, err := w.To.PutTombstones(ctx, partition, c.Start, body)
		if err != nil {
			return nil, err
		}
		c.Tombstones = &o
	}
	w.report.Live += c.Rows
	w.report.Deletes += c.Deletes
	w.report.Commits++
	return c, w.To.Append(ctx, c)
}
