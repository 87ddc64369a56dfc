package commit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Of the generations that are kept for their age, all of the last denseFor are, and of the time before that the last one of
// each denseFor: builders publish up to four a second, and nobody goes back to a certain one of those.
const denseFor = 10 * time.Minute

// deleters is how many objects are deleted, or records read, at the same time.
const deleters = 16

// Fence publishes the newest generation once more, under the next number, so that every builder that loaded an earlier one
// is fenced. It does nothing if there is no generation.
func (l *Log) Fence(ctx context.Context) error {
	m, err := l.Latest(ctx, 0)
	if err != nil || m == nil {
		return err
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	again := *m
	again.Parent, again.Generation, again.Builder, again.Created = m.Generation, m.Generation+1, id.String(), time.Now().UTC()
	return l.Publish(ctx, &again)
}

// CollectOptions say what to collect.
type CollectOptions struct {
	Found *Found // what may be removed

	// KeepFor is how long generations are kept, by the store's clock: all of the last ten minutes, and before that one for each
	// ten minutes. Whatever it is, the newest one and the one that is served are kept.
	KeepFor time.Duration

	By string // who collects: an operator or a builder, as in promotions

	// DryRun only counts what would be removed.
	DryRun bool

	// Progress is told how many objects, records among them, have been removed, one call at a time; nil is not told.
	Progress func(removed, of int64)
}

// Collected is what a collection has removed, or would remove, and what it has left.
type Collected struct {
	Objects     int // data objects
	Bytes       int64
	Generations int
	Promotions  int
	Commits     int

	KeptObjects     int // data objects of those that were found
	KeptBytes       int64
	KeptGenerations int
}

// Collect removes objects that were found and that nothing can name any more, and the records that nobody needs to go on:
// see the package comment. Since they were found, the caller must have published a generation, or called Fence; and all that it
// had put into the store by itself before Find returned must be in that generation, or given up.
//
// Any number of collectors may run, sleep, or die: a collection that is not the newest wraps ErrFenced or is harmless, and
// what one leaves the next one finds. After ErrTransient begin again with Find.
func (l *Log) Collect(ctx context.Context, o CollectOptions) (*Collected, error) {
	p, err := l.plan(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("plan collection: %w", err)
	}
	if p == nil {
		return &Collected{KeptObjects: len(o.Found.objects)}, nil
	}
	if !o.DryRun {
		if err := l.announce(ctx, p, o.By); err != nil {
			return nil, fmt.Errorf("announce collection: %w", err)
		}
	}
	report := &Collected{Generations: len(p.manifests), KeptGenerations: len(p.kept)}
	keys, err := l.unneededKeys(ctx, o.Found, p, report)
	if err != nil {
		return nil, l.overtaken(ctx, p, err)
	}
	if o.DryRun {
		return report, nil
	}
	if err := l.deleteAll(ctx, keys, o.Progress); err != nil {
		return nil, fmt.Errorf("collect: %w", err)
	}
	return report, nil
}

// deleteAll deletes group after group: none of one before all of those ahead of it are gone.
func (l *Log) deleteAll(ctx context.Context, groups [][]string, progress func(removed, of int64)) error {
	var mu sync.Mutex
	removed, of := int64(0), int64(len(slices.Concat(groups...)))
	for _, keys := range groups {
		if err := l.Unchanged(ctx); err != nil { // keys of records are those of another index too
			return err
		}
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(deleters)
		for _, key := range keys {
			g.Go(func() error {
				err := l.bucket.Delete(ctx, key)
				mu.Lock()
				defer mu.Unlock()
				if removed++; err == nil && progress != nil {
					progress(removed, of)
				}
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// unneededKeys is what is to be removed, in that order.
func (l *Log) unneededKeys(ctx context.Context, found *Found, p *plan, report *Collected) ([][]string, error) {
	objects, err := l.garbage(ctx, found, p, report)
	if err != nil {
		return nil, fmt.Errorf("look for garbage: %w", err)
	}
	promotions, err := l.oldPromotions(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("look for old promotions: %w", err)
	}
	commits, err := l.oldCommits(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("look for old commits: %w", err)
	}
	report.Promotions, report.Commits = len(promotions), len(commits)
	return [][]string{objects, p.manifests, promotions, commits}, nil
}

// overtaken is err, unless another collection has been announced since p: that one may have removed what p keeps.
func (l *Log) overtaken(ctx context.Context, p *plan, err error) error {
	newest, lookErr := l.Collection(ctx)
	switch {
	case lookErr != nil:
		return lookErr
	case number(newest) > p.number:
		return fmt.Errorf("collection %d came after %d: %w: %v", newest.Number, p.number, schemas.ErrFenced, err)
	}
	return err
}

// plan is what is decided before anything is removed.
type plan struct {
	number    int64 // of its record
	newest    *schemas.Manifest
	served    int64    // sequence of the newest promotion
	kept      []int64  // generations
	manifests []string // keys of the others
	last      *schemas.Collection
	telling   map[string][]int64 // what the record says
	tells     map[int]telling    // that and what earlier records say
}

func (p *plan) keeps(generation int64) bool {
	return (&schemas.Collection{Generation: p.newest.Generation, Kept: p.kept}).Keeps(generation)
}

// plan chooses the generations to keep. It is nil if there is none yet.
func (l *Log) plan(ctx context.Context, o CollectOptions) (*plan, error) {
	last, err := l.Collection(ctx)
	if err != nil {
		return nil, err
	}
	p := &plan{number: number(last) + 1, last: last}
	if p.newest, err = l.LatestRecord(ctx, 0); err != nil || p.newest == nil {
		return nil, err
	}
	if !o.DryRun && p.newest.Generation <= o.Found.generation {
		return nil, fmt.Errorf("no generation has been published since %d, when objects were looked for", o.Found.generation)
	}
	var real, all []numberedInfo
	for n, err := range l.infos(ctx, manifestsPrefix, 0) {
		if err != nil {
			return nil, err
		}
		if n.number > p.newest.Generation {
			break
		}
		all = append(all, n)
		if last == nil || last.Keeps(n.number) { // else it is about to go, or of a builder that slept
			real = append(real, n)
		}
	}
	if err := l.planTelling(ctx, p); err != nil {
		return nil, err
	}
	keep := thinned(real, o.KeepFor)
	if err := l.keepServed(ctx, p, keep); err != nil {
		return nil, err
	}
	for _, n := range all {
		if keep[n.number] {
			p.kept = append(p.kept, n.number)
		} else {
			p.manifests = append(p.manifests, numbered(manifestsPrefix, n.number))
		}
	}
	if n := len(p.kept); n == 0 || p.kept[n-1] != p.newest.Generation {
		return nil, fmt.Errorf("%w: generation %d is not listed yet", schemas.ErrTransient, p.newest.Generation)
	}
	return p, nil
}

// planTelling looks for the commits that are to stay for what they tell. It looks only at those after the last collection: none of
// their keys has been freed yet, if the record of p can be put.
func (l *Log) planTelling(ctx context.Context, p *plan) error {
	p.telling = map[string][]int64{}
	var err error
	if p.tells, err = l.telling(ctx); err != nil {
		return err
	}
	for _, partition := range l.Partitions() {
		name, from := strconv.Itoa(partition), int64(0)
		if p.last != nil {
			from = p.last.Before[name]
		}
		for end := p.newest.Checkpoint[name]; from < end; {
			records, err := l.Since(ctx, partition, from, pageRecords)
			if err != nil {
				return err
			}
			if len(records) == 0 {
				return fmt.Errorf("%w: partition %d ends at %d, and generation %d has folded it up to %d", schemas.ErrCorrupt, partition, from, p.newest.Generation, end)
			}
			for _, c := range records {
				if from = c.End; c.Start < end && (c.Gap || c.Quarantine != nil) {
					p.telling[name] = append(p.telling[name], c.Start)
					p.tells[partition][c.Start] = true
				}
			}
		}
	}
	return nil
}

// keepServed keeps the generation that the channel names, or, while it names an epoch, the one that was served before. One that
// was given up before is not taken up again: who gave it up may have removed some of it.
func (l *Log) keepServed(ctx context.Context, p *plan, keep map[int64]bool) error {
	c, err := l.Channel(ctx, 0)
	if err != nil || c == nil {
		return err
	}
	if err := l.Confirm(ctx, c); errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %w", schemas.ErrTransient, err)
	} else if err != nil {
		return err
	}
	p.served = c.Sequence
	for c.Epoch != "" && c.Sequence > 1 {
		if c, err = l.Promotion(ctx, c.Sequence-1); err != nil { // it is kept: it names an epoch, or what this keeps
			return err
		}
	}
	keep[c.Generation] = true
	return nil
}

// thinned chooses from records in ascending order by age, which counts from the last one. That one is kept, whatever stores that
// tell seconds, or set their clock back, say of the others' age.
func thinned(records []numberedInfo, keepFor time.Duration) map[int64]bool {
	keep := map[int64]bool{}
	for i, r := range records {
		newest := i == len(records)-1
		age := records[len(records)-1].Modified.Sub(r.Modified)
		last := newest || !records[i+1].Modified.Truncate(denseFor).Equal(r.Modified.Truncate(denseFor))
		if newest || keepFor > 0 && age < keepFor && (age < denseFor || last) {
			keep[r.number] = true
		}
	}
	return keep
}

// announce writes down what is decided. From then on nobody takes up what is given up; who was about to is seen here, or
// sees the record.
func (l *Log) announce(ctx context.Context, p *plan, by string) error {
	if err := l.record(ctx, p, by); err != nil {
		return err
	}
	c, err := l.Channel(ctx, p.served)
	if err != nil || c == nil || c.Epoch != "" || p.keeps(c.Generation) {
		return err
	}
	// Nothing is removed yet, and nobody but this collector knows that: one more record takes the decision back.
	at, _ := slices.BinarySearch(p.kept, c.Generation)
	p.kept = slices.Insert(p.kept, at, c.Generation)
	p.number, p.served = p.number+1, c.Sequence
	if err := l.record(ctx, p, by); err != nil {
		return err
	}
	return fmt.Errorf("generation %d was promoted meanwhile: %w", c.Generation, schemas.ErrTransient)
}

func (l *Log) record(ctx context.Context, p *plan, by string) error {
	record := &schemas.Collection{
		Format: schemas.CollectionFormat, Number: p.number, Generation: p.newest.Generation, Kept: p.kept, Served: p.served,
		Before: p.newest.Checkpoint, Telling: p.telling, By: by, Created: time.Now().UTC(),
	}
	err := put(ctx, l.bucket, numbered(collectionsPrefix, p.number), record)
	if errors.Is(err, store.ErrExists) {
		return fmt.Errorf("another one has number %d: %w", p.number, schemas.ErrFenced)
	}
	return err
}

// garbage is the keys of the found objects that nothing names and nothing will.
func (l *Log) garbage(ctx context.Context, found *Found, p *plan, report *Collected) ([]string, error) {
	named := map[string]bool{}
	for _, generation := range p.kept {
		if err := l.addNamed(ctx, generation, named); err != nil {
			return nil, err
		}
	}
	heads := map[int]int64{}
	for _, partition := range l.Partitions() {
		from := p.newest.Checkpoint[strconv.Itoa(partition)]
		records, err := l.Since(ctx, partition, from, 0)
		if err != nil {
			return nil, err
		}
		heads[partition] = from
		for _, c := range records {
			heads[partition] = c.End
			for o := range c.Objects() {
				named[o.Key] = true
			}
		}
	}
	var keys []string
	for _, info := range found.objects {
		keep := named[info.Key]
		if kind, partition, start, ok := placeOf(info.Key); ok && !keep {
			head, ours := heads[partition]
			keep = !ours || start >= head // a commit may name it yet
			if !keep && kind == quarantine {
				var err error
				if keep, err = l.namesQuarantine(ctx, p.tells[partition], partition, start, info.Key); err != nil {
					return nil, err
				}
			}
		}
		if keep {
			report.KeptObjects++
			report.KeptBytes += info.Size
			continue
		}
		keys = append(keys, info.Key)
		report.Objects++
		report.Bytes += info.Size
	}
	return keys, nil
}

// addNamed adds the keys of all that a generation names. What is in a page that another one has too is there already.
func (l *Log) addNamed(ctx context.Context, generation int64, named map[string]bool) error {
	m, err := l.Record(ctx, generation)
	if err != nil {
		return err
	}
	news := slices.DeleteFunc(slices.Clone(m.Pages), func(p schemas.PageRef) bool { return named[p.Key] })
	pages, err := l.readPages(ctx, generation, news)
	if err != nil {
		return err
	}
	for _, p := range pages {
		m.Chunks, m.Segments = append(m.Chunks, p.chunks...), append(m.Segments, p.segments...)
	}
	for o := range m.Objects() {
		named[o.Key] = true
	}
	return nil
}

// namesQuarantine reports whether the commit that starts at an offset names a quarantine object: those stay.
func (l *Log) namesQuarantine(ctx context.Context, tells telling, partition int, start int64, key string) (bool, error) {
	if !tells[start] {
		return false, nil
	}
	c, err := l.commit(ctx, partition, start)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && c.Quarantine != nil && c.Quarantine.Key == key, err
}

// oldPromotions is the keys of promotions that builders made before the newest one, of generations that are given up.
func (l *Log) oldPromotions(ctx context.Context, p *plan) ([]string, error) {
	return l.unneeded(ctx, channelPrefix, p.served, func(ctx context.Context, sequence int64) (bool, error) {
		c, err := l.Promotion(ctx, sequence)
		return err != nil || c.ByOperator() || c.Epoch != "" || p.keeps(c.Generation), err
	})
}

// oldCommits is the keys of commits that are folded. The last one of each partition stays, since the next one follows from it,
// and so do those that tell of lost or refused messages.
func (l *Log) oldCommits(ctx context.Context, p *plan) ([]string, error) {
	var keys []string
	for _, partition := range l.Partitions() {
		end := p.newest.Checkpoint[strconv.Itoa(partition)]
		last, err := l.endingAt(ctx, partition, end)
		if err != nil {
			return nil, missingRecords(err)
		}
		if last == nil {
			continue
		}
		more, err := l.unneeded(ctx, commitsPrefix(partition), last.Start, func(_ context.Context, start int64) (bool, error) {
			return p.tells[partition][start], nil
		})
		if err != nil {
			return nil, err
		}
		keys = append(keys, more...)
	}
	return keys, nil
}

// unneeded is the keys of the records below prefix, up to but not including the number end, that need not be kept.
func (l *Log) unneeded(ctx context.Context, prefix string, end int64, keep func(context.Context, int64) (bool, error)) ([]string, error) {
	var listed []numberedInfo
	for n, err := range l.infos(ctx, prefix, 0) {
		if err != nil {
			return nil, err
		}
		if n.number >= end {
			break
		}
		listed = append(listed, n)
	}
	kept := make([]bool, len(listed))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(deleters)
	for i, n := range listed {
		g.Go(func() (err error) {
			kept[i], err = keep(gctx, n.number)
			if errors.Is(err, store.ErrNotFound) { // another collector was here
				err = nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var keys []string
	for i, n := range listed {
		if !kept[i] {
			keys = append(keys, n.Key)
		}
	}
	return keys, nil
}
