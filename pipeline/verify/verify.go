// Package verify reads everything that an index names and says what is wrong with it: objects that are missing or not what
// their records say, chains with holes, quarantine of other messages than its commit's, resolutions of what was never
// refused, generations whose parts do not fit together, ids that are live twice, codes that the model does not make of their
// rows.
//
// It only reads, beside whatever else goes on. What a collector gives up meanwhile is passed over. The newest and the served
// generation are looked at row by row; of the others the objects and how they fit.
package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/index/snapshot"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// auditSample is how many codes of a generation are made anew from their rows.
const auditSample = 10_000

// Options of Run. Log and Cache are required.
type Options struct {
	Log   *commit.Log
	Cache *store.Cache // empty at first, so that all is read from the store
	Level avx.Level

	Progress func(objects int, bytes int64) // so far; nil is not told
}

// Report is what was read and what is wrong.
type Report struct {
	Commits     int
	Resolutions int // of refused messages and rows: what became of them
	Generations int
	Objects     int   // data objects, each once
	Bytes       int64 // of those
	Rows        int64 // live ones of the newest generation
	Faults      []error
}

// naming is which generations name an object with a fault: mostly all of them since it was made, and one fault is not as many.
type naming struct {
	key         string
	first, last int64
	count       int
}

func (n *naming) String() string {
	if n.count == 1 {
		return fmt.Sprintf("generation %d", n.last)
	}
	return fmt.Sprintf("%d generations, %d to %d", n.count, n.first, n.last)
}

// badObjects are the keys of those of a generation.
type badObjects []string

func (b badObjects) Error() string {
	return fmt.Sprintf("objects with a fault: %s", strings.Join(b, ", "))
}

// verifier is one run.
type verifier struct {
	Options
	report Report
	seen   map[string]error // key of an object -> what is wrong with it
	bad    []*naming        // objects with a fault, in the order in which they were met

	replays map[string]commit.Place // id of a replay -> of what
}

// Run verifies. What is wrong with the index is in the report. An error means that it could not be read to the end.
func Run(ctx context.Context, o Options) (*Report, error) {
	v := &verifier{Options: o, seen: map[string]error{}, replays: map[string]commit.Place{}}
	if err := v.generations(ctx); err != nil {
		return nil, err
	}
	for _, p := range o.Log.Partitions() {
		if err := v.chain(ctx, p); err != nil {
			return nil, err
		}
	}
	return &v.report, nil
}

// fault notes what is wrong with the index, and passes on what keeps it from being read.
func (v *verifier) fault(what string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", what, err)
	if !ofIndex(err) {
		return err
	}
	v.report.Faults = append(v.report.Faults, err)
	return nil
}

// ofIndex reports whether an error says something of the index, and not of the way to it.
func ofIndex(err error) bool {
	return errors.Is(err, schemas.ErrCorrupt) || errors.Is(err, store.ErrNotFound)
}

// chain checks the commits of a partition, with what they refused and what became of that, and the rows of those that no generation
// has folded yet: what the others named may have been joined, and collected.
func (v *verifier) chain(ctx context.Context, partition int) error {
	what := fmt.Sprintf("partition %d", partition)
	folded, err := v.folded(ctx, partition)
	if err != nil {
		return v.fault(what, err)
	}
	resolved, err := v.resolutions(ctx, partition) // before the commits: what is resolved was committed before
	if err != nil {
		return err
	}
	for c, err := range v.Log.Commits(ctx, partition) {
		if err != nil {
			return v.fault(what, err)
		}
		v.report.Commits++
		if err := v.commit(ctx, c, folded, resolved); err != nil {
			return err
		}
	}
	return v.unrefused(resolved)
}

// folded is the checkpoint of a partition now.
func (v *verifier) folded(ctx context.Context, partition int) (int64, error) {
	m, err := v.Log.LatestRecord(ctx, 0)
	if err != nil || m == nil {
		return 0, err
	}
	return m.Checkpoint[strconv.Itoa(partition)], nil
}

func (v *verifier) commit(ctx context.Context, c *schemas.Commit, folded int64, resolved map[commit.Place]bool) error {
	what := fmt.Sprintf("commit [%d, %d) of partition %d", c.Start, c.End, c.Partition)
	if err := v.fault(what, v.refused(ctx, c, resolved)); err != nil {
		return err
	}
	if c.Start < folded {
		return nil
	}
	err := v.rows(ctx, c)
	if err != nil {
		if now, lookErr := v.folded(ctx, c.Partition); lookErr != nil || c.Start < now {
			return lookErr // since it was read
		}
	}
	return v.fault(what, err)
}

// rows checks what a commit brings.
func (v *verifier) rows(ctx context.Context, c *schemas.Commit) error {
	if c.Tombstones != nil {
		if err := v.object(ctx, *c.Tombstones); err != nil {
			return err
		}
		if _, err := replica.Tombstones(ctx, v.Cache, *c.Tombstones); err != nil {
			return err
		}
	}
	if c.Segment == nil {
		return nil
	}
	if err := v.object(ctx, *c.Segment); err != nil {
		return err
	}
	return v.segment(ctx, c)
}

func (v *verifier) segment(ctx context.Context, c *schemas.Commit) error {
	p, err := replica.Segment(ctx, v.Cache, v.Log.Spec(), schemas.Segment{ID: c.Segment.SHA256, Object: *c.Segment, NumRows: c.Rows, Model: c.Model})
	if err != nil {
		return err
	}
	defer p.Release()
	if p.N != c.Rows || p.Model != c.Model {
		return fmt.Errorf("%w: %s: %d rows of model %q, its commit says %d of %q", schemas.ErrCorrupt, c.Segment.Key, p.N, p.Model, c.Rows, c.Model)
	}
	return nil
}

// generations checks all that are kept, and that the channel names one of them.
func (v *verifier) generations(ctx context.Context) error {
	newest, err := v.Log.Latest(ctx, 0)
	if err != nil {
		return v.fault("newest generation", err)
	}
	closely := map[int64]bool{}
	if newest != nil {
		closely[newest.Generation] = true
		v.report.Rows = newest.LiveRows
	}
	channel, err := v.Log.Channel(ctx, 0)
	if err != nil {
		return v.fault("channel", err)
	}
	if channel != nil {
		served, err := v.Log.Resolve(ctx, channel)
		if err == nil {
			_, err = served.Manifest(ctx)
		}
		if err := v.fault("what the channel names", err); err != nil {
			return err
		}
		closely[channel.Generation] = true
	}
	for g, err := range v.Log.Manifests(ctx) {
		if err != nil {
			return v.fault("generations", err)
		}
		v.report.Generations++
		err := v.generation(ctx, g, closely[g])
		if err != nil {
			collection, lookErr := v.Log.Collection(ctx)
			if lookErr != nil {
				return lookErr
			}
			if collection != nil && !collection.Keeps(g) {
				continue // given up since it was listed
			}
		}
		var keys badObjects
		if errors.As(err, &keys) {
			v.named(g, keys)
			continue
		}
		if err := v.fault(fmt.Sprintf("generation %d", g), err); err != nil {
			return err
		}
	}
	for _, n := range v.bad {
		if err := v.fault(n.String(), v.seen[n.key]); err != nil {
			return err
		}
	}
	return nil
}

// named notes that a generation names objects that have a fault.
func (v *verifier) named(generation int64, keys badObjects) {
	for _, key := range keys {
		at := slices.IndexFunc(v.bad, func(n *naming) bool { return n.key == key })
		if at < 0 {
			at = len(v.bad)
			v.bad = append(v.bad, &naming{key: key, first: generation})
		}
		v.bad[at].last = generation
		v.bad[at].count++
	}
}

func (v *verifier) generation(ctx context.Context, generation int64, closely bool) error {
	m, err := v.Log.Manifest(ctx, generation)
	if err != nil {
		return err
	}
	var bad badObjects
	for o := range m.Objects() {
		err := v.object(ctx, o)
		if err != nil && !ofIndex(err) {
			return err
		}
		if err != nil {
			bad = append(bad, o.Key)
		}
	}
	if len(bad) > 0 {
		return bad
	}
	for _, o := range m.Tombstones {
		if _, err := replica.Tombstones(ctx, v.Cache, o); err != nil {
			return err
		}
	}
	s, err := replica.Snapshot(ctx, v.Cache, v.Log.Spec(), v.Level, m)
	if err != nil {
		return err
	}
	defer s.Close()
	if !closely {
		return nil
	}
	if err := unique(s); err != nil {
		return err
	}
	if len(m.Chunks) == 0 {
		return nil
	}
	audit, err := segment.AuditCodes(ctx, v.Log.Spec(), s.Model(), v.Level, 1, s.Parts()[:len(m.Chunks)], auditSample)
	if err != nil {
		return err
	}
	if err := audit.Err(); err != nil {
		return fmt.Errorf("%w: codes: %w", schemas.ErrCorrupt, err)
	}
	return nil
}

// unique checks that no id is live twice.
func unique(s *snapshot.Snapshot) error {
	seen := make(map[string]struct{}, s.Live())
	for i, p := range s.Parts() {
		for row := range p.N {
			if s.Dead(i).Has(row) {
				continue
			}
			id := p.IDAt(row)
			if _, twice := seen[id]; twice {
				return fmt.Errorf("%w: id %q is live twice", schemas.ErrCorrupt, id)
			}
			seen[id] = struct{}{}
		}
	}
	return nil
}

// object reads an object once, and keeps it in the cache.
func (v *verifier) object(ctx context.Context, o schemas.Object) error {
	if err, seen := v.seen[o.Key]; seen {
		return err
	}
	before := v.Cache.Stats().Downloads
	mapped, err := v.Cache.Fetch(ctx, store.Ref(o))
	if err == nil {
		mapped.Release()
		if v.Cache.Stats().Downloads == before { // another object with the same content was read, not this one
			err = v.compare(ctx, o)
		}
	}
	if err != nil && !ofIndex(err) {
		return err
	}
	v.seen[o.Key] = err
	v.report.Objects++
	v.report.Bytes += o.Size
	if v.Progress != nil {
		v.Progress(v.report.Objects, v.report.Bytes)
	}
	return err
}

// compare reads an object past the cache.
func (v *verifier) compare(ctx context.Context, o schemas.Object) error {
	r, size, err := v.Log.Bucket().Open(ctx, o.Key)
	if err != nil {
		return err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); size != o.Size || sum != o.SHA256 {
		return fmt.Errorf("%w: %s: %d bytes with sha256 %s, it should be %d with %s", schemas.ErrCorrupt, o.Key, size, sum, o.Size, o.SHA256)
	}
	return nil
}
