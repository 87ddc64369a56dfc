package ui

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/quarantine"
	"github.com/adastream/adastream/schemas"
)

// The bounds of what is read for a page of the quarantine: see the package comment.
const (
	refusedFor     = 10 * time.Second
	refusedChoices = 16
	refusedCommits = 20
	refusedBytes   = 4 << 20
	refusedSamples = 30
	samplesOfOne   = 5 // of one commit, so that a flood in one does not hide the others
	refusedReaders = 2 // choices that are read at a time
)

// refused is what was found of the quarantine.
type refused struct {
	Reasons []reasonCount
	Commits int // whose counts these are
	Full    bool
	Since   time.Time // the oldest of them
	Samples []refusedSample
	Skipped int // commits whose objects were not read, to stay within the bounds
	At      time.Time
}

type reasonCount struct {
	Reason string
	Count  int
	Share  float64 // percent of the largest
}

// refusedSample is one message or row that was refused.
type refusedSample struct {
	ingest.Quarantined
	Resolution *schemas.Resolution
}

// Where is the row or the message.
func (s refusedSample) Where() string {
	if s.Row == ingest.WholeMessage {
		return "message"
	}
	return fmt.Sprintf("row %d", s.Row)
}

// Time is when it was produced.
func (s refusedSample) Time() time.Time { return time.UnixMilli(s.Timestamp) }

// Show is the command that shows all of it.
func (s refusedSample) Show() string {
	return fmt.Sprintf(`adastream quarantine show %d %d --store="$STORE"`, s.Partition, s.Offset)
}

// Replay is the command that takes it back.
func (s refusedSample) Replay() string {
	row := ""
	if s.Row != ingest.WholeMessage {
		row = fmt.Sprintf(" --row=%d", s.Row)
	}
	return fmt.Sprintf(`adastream quarantine replay --partition=%d --offset=%d%s --store="$STORE" --brokers="$BROKERS"`, s.Partition, s.Offset, row)
}

// refusals remembers what was found for some choices of partitions. Safe for concurrent use.
type refusals struct {
	reading chan struct{} // taken while a choice is read

	mu    sync.Mutex
	found map[int]*refusal
}

// refusal is of one choice; its lock is held while it is read.
type refusal struct {
	mu    sync.Mutex
	found *refused
	err   error
	until time.Time
	asked time.Time
}

func newRefusals() *refusals {
	return &refusals{reading: make(chan struct{}, refusedReaders), found: map[int]*refusal{}}
}

// of returns the entry of a choice, and forgets the one that was not asked for the longest if there are too many.
func (r *refusals) of(partition int) *refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.found[partition]
	if f == nil {
		if len(r.found) == refusedChoices {
			delete(r.found, slices.MinFunc(slices.Collect(maps.Keys(r.found)), func(a, b int) int { return r.found[a].asked.Compare(r.found[b].asked) }))
		}
		f = &refusal{}
		r.found[partition] = f
	}
	f.asked = time.Now()
	return f
}

type quarantinePage struct {
	Partition  int // -1: the first ones
	Partitions int
	Looked     int   // at how many
	Numbers    []int // of the partitions to choose from
	Found      *refused
}

const firstPartitions = -1

func (u *UI) quarantine(w http.ResponseWriter, r *http.Request) {
	s, fault := u.reader.now(r.Context())
	v, index := u.o.Node.View(), s.index(u.o.Log)
	p := &quarantinePage{Partition: firstPartitions, Partitions: len(index.Partitions()), Numbers: index.Partitions()}
	p.Looked = min(p.Partitions, pagePartitions)
	if text := r.URL.Query().Get("partition"); text != "" && text != "all" {
		n, err := strconv.Atoi(text)
		if err != nil || !slices.Contains(p.Numbers, n) {
			u.missing(w, r, fmt.Sprintf("partition: %q, allowed: %s", plain(text, 40), allowed(p.Numbers)))
			return
		}
		p.Partition, p.Looked = n, 1
	}
	found, err := u.refusedOf(r.Context(), index, s.Newest, p)
	p.Found = found
	u.show(w, r, http.StatusOK, "quarantine", "Quarantine", v, cmp.Or(fault, err), p)
}

// refusedOf reads the quarantine of the chosen partitions, or remembers it.
func (u *UI) refusedOf(ctx context.Context, index *commit.Log, m *schemas.Manifest, p *quarantinePage) (*refused, error) {
	f := u.refused.of(p.Partition)
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Now().Before(f.until) {
		return f.found, f.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWait) // others wait for it too
	defer cancel()
	select {
	case u.refused.reading <- struct{}{}:
		defer func() { <-u.refused.reading }()
	case <-ctx.Done():
		return f.found, fmt.Errorf("read the quarantine: others are being read: %w", ctx.Err())
	}
	partitions := []int{p.Partition}
	if p.Partition == firstPartitions {
		partitions = p.Numbers[:p.Looked]
	}
	found, err := readRefused(ctx, index, m, partitions)
	if f.err = err; err == nil {
		f.found = found
	}
	f.until = time.Now().Add(refusedFor)
	return f.found, f.err
}

func readRefused(ctx context.Context, index *commit.Log, m *schemas.Manifest, partitions []int) (*refused, error) {
	commits, err := newestRefusing(ctx, index, m, partitions)
	if err != nil {
		return nil, err
	}
	r := &refused{Commits: len(commits), Full: len(commits) == refusedCommits, At: time.Now()}
	counts := map[string]int{}
	for _, c := range commits {
		r.Since = c.Created
		for reason, n := range c.Quarantined {
			counts[reason] += n
		}
	}
	most := 0
	for reason, n := range counts {
		r.Reasons = append(r.Reasons, reasonCount{Reason: reason, Count: n})
		most = max(most, n)
	}
	slices.SortFunc(r.Reasons, func(a, b reasonCount) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Reason, b.Reason)) })
	for i := range r.Reasons {
		r.Reasons[i].Share = 100 * float64(r.Reasons[i].Count) / float64(most)
	}
	return r, r.sample(ctx, index, commits)
}

// newestRefusing finds the newest commits that refused something, of some partitions.
func newestRefusing(ctx context.Context, index *commit.Log, m *schemas.Manifest, partitions []int) ([]*schemas.Commit, error) {
	found := make([][]*schemas.Commit, len(partitions))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(storeReaders)
	for i := range found {
		g.Go(func() (err error) {
			p, reached := partitions[i], int64(0)
			if m != nil {
				reached = commit.CheckpointOf(m, p)
			}
			found[i], err = index.Refusing(ctx, p, reached, refusedCommits)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := slices.Concat(found...)
	slices.SortFunc(all, func(a, b *schemas.Commit) int {
		return cmp.Or(b.Created.Compare(a.Created), a.Partition-b.Partition, cmp.Compare(b.Start, a.Start))
	})
	return all[:min(refusedCommits, len(all))], nil
}

// sample reads some of what the commits refused, newest first, and what became of it.
func (r *refused) sample(ctx context.Context, index *commit.Log, commits []*schemas.Commit) error {
	var read int64
	for _, c := range commits {
		if len(r.Samples) >= refusedSamples || read+c.Quarantine.Size > refusedBytes {
			r.Skipped++
			continue
		}
		read += c.Quarantine.Size
		body, err := index.Bucket().Get(ctx, c.Quarantine.Key)
		if err != nil {
			return err
		}
		items, err := ingest.ReadQuarantine(c.Quarantine.Key, body)
		if err != nil {
			return err
		}
		for _, q := range items[:min(samplesOfOne, len(items), refusedSamples-len(r.Samples))] {
			q.Payload, q.Topic, q.Reason, q.Detail = nil, strings.Clone(q.Topic), strings.Clone(q.Reason), strings.Clone(q.Detail) // of body
			r.Samples = append(r.Samples, refusedSample{Quarantined: q})
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(storeReaders)
	for i := range r.Samples {
		g.Go(func() error {
			line, err := index.Resolutions(ctx, quarantine.PlaceOf(r.Samples[i].Quarantined))
			if n := len(line); n > 0 {
				r.Samples[i].Resolution = line[n-1]
			}
			return err
		})
	}
	return g.Wait()
}

// allowed says which of some partitions, of which there is one at least.
func allowed(partitions []int) string {
	last := partitions[len(partitions)-1]
	if step := partitions[len(partitions)-1] - partitions[max(0, len(partitions)-2)]; step > 1 {
		return fmt.Sprintf("%d to %d in steps of %d", partitions[0], last, step)
	}
	return fmt.Sprintf("%d to %d", partitions[0], last)
}
