// Package diff tells which ids changed between two generations of an index.
//
// A row says which record of the log it came from, so two rows of an id are one version exactly if their orders are equal,
// wherever merges have moved them. What both generations name is not read beyond the bitmaps of dead rows: parts are immutable,
// so only rows that are dead in one of them can differ. Of the other parts ids and orders are read. So the cost follows the change
// as long as there is no rewrite in between, and is that of reading all ids where there is.
//
// Of the rows that the first generation alone has, so many at a time are held against those of the second; if there are more,
// the rows are gone over once for each share of them, by a hash of the id.
package diff

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/cespare/xxhash/v2"

	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// mostHeld is how many rows of the first generation are held at a time: some 100 MiB.
const mostHeld = 1 << 20

// Change is what became of an id.
type Change struct {
	ID      string
	Deleted bool
	New     bool          // the first generation does not have it
	Order   segment.Order // of its version in the second generation, zero if that does not have it
}

// Options of Run. Log and Cache are required.
type Options struct {
	Log   *commit.Log
	Cache *store.Cache
	Held  int // rows that are held at a time, 0 for 2^20

	Progress func(done, of int64) // bytes of parts that were read; nil is not told
}

// Run calls each with every id that is live in only one of two generations, or in both in different versions: once, in no
// particular order. The id is valid until each returns; an error of each ends the run. A generation that is not there, or is
// collected while it is read, is an error that wraps store.ErrNotFound.
func Run(ctx context.Context, o Options, from, to int64, each func(Change) error) error {
	if o.Held < 0 {
		return fmt.Errorf("rows that are held %d, allowed: at least 1, or 0 for %d", o.Held, mostHeld)
	}
	if o.Held == 0 {
		o.Held = mostHeld
	}
	err := run(ctx, o, from, to, each)
	for _, g := range []int64{from, to} {
		if errors.Is(err, store.ErrNotFound) {
			err = replica.Missing(ctx, o.Log, g, err)
		}
	}
	return err
}

func run(ctx context.Context, o Options, from, to int64, each func(Change) error) error {
	first, err := read(ctx, o, from)
	if err != nil {
		return err
	}
	second, err := read(ctx, o, to)
	if err != nil {
		return err
	}
	d := &difference{Options: o}
	defer d.release()
	if err := d.open(ctx, first, second); err != nil {
		return err
	}
	return d.compare(ctx, each)
}

// generation is what a manifest says of rows.
type generation struct {
	*schemas.Manifest
	dead  map[string]*roaring.Bitmap
	parts map[string]bool
}

func read(ctx context.Context, o Options, number int64) (*generation, error) {
	m, err := replica.Kept(ctx, o.Log, number)
	if err != nil {
		return nil, err
	}
	g := &generation{Manifest: m, parts: map[string]bool{}}
	if g.dead, err = replica.Dead(ctx, o.Cache, m.Dead); err != nil {
		return nil, fmt.Errorf("generation %d: %w", number, err)
	}
	for _, c := range m.Chunks {
		g.parts[c.ID] = true
	}
	for _, s := range m.Segments {
		g.parts[s.ID] = true
	}
	return g, nil
}

// live are the rows of a part of n rows that count in the generation: none if it does not name the part.
func (g *generation) live(part string, n int) (*roaring.Bitmap, error) {
	rows := roaring.New()
	if !g.parts[part] {
		return rows, nil
	}
	rows.AddRange(0, uint64(n))
	if dead := g.dead[part]; dead != nil && !dead.IsEmpty() {
		if last := dead.Maximum(); int64(last) >= int64(n) {
			return nil, fmt.Errorf("%w: generation %d: dead rows: part %s: row %d of %d", schemas.ErrCorrupt, g.Generation, part, last, n)
		}
		rows.AndNot(dead)
	}
	return rows, nil
}

// rows are some of a part.
type rows struct {
	part *replica.Part
	some *roaring.Bitmap
}

// difference is what two generations do not have in common.
type difference struct {
	Options
	parts      []*replica.Part
	went, came []rows // live in the first alone, in the second alone
	going      uint64 // how many went
}

func (d *difference) release() {
	for _, p := range d.parts {
		p.Release()
	}
}

// part is one that a manifest names, and how it is opened.
type part struct {
	id    string
	n     int
	bytes int64
	open  func() (*replica.Part, error)
}

// open finds the rows that only one of the generations has, and opens their parts.
func (d *difference) open(ctx context.Context, first, second *generation) error {
	type changed struct {
		part
		went, came *roaring.Bitmap
	}
	var all []changed
	var of, done int64
	for _, p := range d.named(ctx, first, second) {
		before, err := first.live(p.id, p.n)
		if err != nil {
			return err
		}
		after, err := second.live(p.id, p.n)
		if err != nil {
			return err
		}
		c := changed{p, roaring.AndNot(before, after), roaring.AndNot(after, before)}
		if !c.went.IsEmpty() || !c.came.IsEmpty() {
			all, of = append(all, c), of+p.bytes
		}
	}
	for _, c := range all {
		p, err := c.open()
		if err != nil {
			return err
		}
		d.parts = append(d.parts, p)
		if p.N != c.n {
			return fmt.Errorf("%w: part %s: %d rows, allowed: the %d of the manifest", schemas.ErrCorrupt, c.id, p.N, c.n)
		}
		if !c.went.IsEmpty() {
			d.went, d.going = append(d.went, rows{p, c.went}), d.going+c.went.GetCardinality()
		}
		if !c.came.IsEmpty() {
			d.came = append(d.came, rows{p, c.came})
		}
		if done += c.bytes; d.Progress != nil {
			d.Progress(done, of)
		}
	}
	return nil
}

// named are the parts of both generations, each once.
func (d *difference) named(ctx context.Context, both ...*generation) (all []part) {
	spec, seen := d.Log.Spec(), map[string]bool{}
	add := func(p part) {
		if !seen[p.id] {
			seen[p.id] = true
			all = append(all, p)
		}
	}
	for _, g := range both {
		for _, c := range g.Chunks {
			add(part{c.ID, c.NumRows, c.Rows.Size, func() (*replica.Part, error) { return replica.Rows(ctx, d.Cache, spec, c, false) }})
		}
		for _, s := range g.Segments {
			add(part{s.ID, s.NumRows, s.Size, func() (*replica.Part, error) { return replica.Segment(ctx, d.Cache, spec, s) }})
		}
	}
	return all
}

// compare goes over the rows once for each share of the ids.
func (d *difference) compare(ctx context.Context, each func(Change) error) error {
	shares := max(1, (d.going+uint64(d.Held)-1)/uint64(d.Held))
	for share := range shares {
		mine := func(id string) bool { return shares == 1 || xxhash.Sum64String(id)%shares == share }
		if err := d.share(ctx, mine, each); err != nil {
			return err
		}
	}
	return nil
}

func (d *difference) share(ctx context.Context, mine func(id string) bool, each func(Change) error) error {
	held := map[string]segment.Order{}
	err := over(ctx, d.went, func(id string, order segment.Order) error {
		if mine(id) {
			if _, twice := held[id]; twice {
				return fmt.Errorf("%w: id %q is live twice", schemas.ErrCorrupt, id)
			}
			held[id] = order
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = over(ctx, d.came, func(id string, order segment.Order) error {
		if !mine(id) {
			return nil
		}
		before, known := held[id]
		delete(held, id)
		if known && before == order {
			return nil // moved by a merge
		}
		return each(Change{ID: id, New: !known, Order: order})
	})
	if err != nil {
		return err
	}
	for id := range held {
		if err := each(Change{ID: id, Deleted: true}); err != nil {
			return err
		}
	}
	return nil
}

func over(ctx context.Context, all []rows, each func(id string, order segment.Order) error) error {
	for _, r := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		for i := r.some.Iterator(); i.HasNext(); {
			row := int(i.Next())
			if err := each(r.part.IDAt(row), r.part.OrderAt(row)); err != nil {
				return err
			}
		}
	}
	return nil
}

// String is a line for people: + is new, ~ replaced, - deleted. Ids that would not stay in their line are quoted.
func (c Change) String() string {
	id := c.ID
	if strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		id = fmt.Sprintf("%q", id)
	}
	switch {
	case c.Deleted:
		return "- " + id
	case c.New:
		return "+ " + id
	}
	return "~ " + id
}
