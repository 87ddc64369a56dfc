package commit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// library is an index that lives: a writer and a builder as they are in the product, reduced to what they store.
type library struct {
	testing.TB
	log  *Log
	t    int // commits so far
	last *schemas.Manifest
}

func newLibrary(t testing.TB, b store.Bucket) *library { return &library{TB: t, log: openLog(t, b)} }

// paged is l with all of its segments in pages.
func (l *library) paged(parts int) *library {
	l.log = l.log.WithPages(parts)
	return l
}

// commit adds a record of 10 offsets to partition 0, with a segment, and what it refused if it is told to.
func (l *library) commit(refuses bool) *schemas.Commit {
	l.Helper()
	head, err := l.log.Head(l.Context(), 0, 0)
	if err != nil {
		l.Fatal(err)
	}
	l.t++
	c := plain(head.Next, head.Next+10, 0)
	c.Writer = fmt.Sprint("w", l.t)
	o, err := l.log.PutSegment(l.Context(), 0, c.Start, fmt.Appendf(nil, "rows %d", l.t))
	if err != nil {
		l.Fatal(err)
	}
	c.Segment, c.Rows = &o, 3
	if refuses {
		q, err := l.log.PutQuarantine(l.Context(), 0, c.Start, fmt.Appendf(nil, "refused %d", l.t))
		if err != nil {
			l.Fatal(err)
		}
		c.Quarantine, c.Quarantined = &q, map[string]int{schemas.ReasonDims: 1}
	}
	mustAppend(l, l.log, c)
	return c
}

// publish folds all commits into the next generation and promotes it. Segments are joined when there are three.
func (l *library) publish() *schemas.Manifest {
	l.Helper()
	m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 1, Builder: "b", Created: day, Checkpoint: map[string]int64{}}
	if l.last != nil {
		m.Generation, m.Parent, m.Segments = l.last.Generation+1, l.last.Generation, slices.Clone(l.last.Segments)
		maps.Copy(m.Checkpoint, l.last.Checkpoint)
	}
	commits, err := l.log.Since(l.Context(), 0, m.Checkpoint["0"], 0)
	if err != nil {
		l.Fatal(err)
	}
	for _, c := range commits {
		m.Segments = append(m.Segments, schemas.Segment{ID: c.Segment.SHA256, Object: *c.Segment, NumRows: c.Rows})
		m.Checkpoint["0"] = c.End
	}
	if len(m.Segments) > 3 {
		o, err := l.log.PutCompacted(l.Context(), fmt.Appendf(nil, "joined %d", m.Generation))
		if err != nil {
			l.Fatal(err)
		}
		m.Segments = []schemas.Segment{{ID: o.SHA256, Object: o, NumRows: 3}}
	}
	dead, err := l.log.PutDead(l.Context(), []byte("none")) // the same bytes each time
	if err != nil {
		l.Fatal(err)
	}
	m.Dead = &dead
	if err := l.log.Publish(l.Context(), m); err != nil {
		l.Fatal(err)
	}
	l.last = m
	return m
}

func (l *library) promote(c schemas.Channel) *schemas.Channel {
	l.Helper()
	seen, err := l.log.Channel(l.Context(), 0)
	if err != nil {
		l.Fatal(err)
	}
	made, err := l.log.Promote(l.Context(), seen, c)
	if err != nil {
		l.Fatal(err)
	}
	return made
}

// grow lives for some generations, each with a commit or two.
func (l *library) grow(generations int) {
	l.Helper()
	for i := range generations {
		l.commit(i%5 == 2)
		if i%2 == 1 {
			l.commit(false)
		}
		l.promote(schemas.Channel{Generation: l.publish().Generation, Reason: "built", By: "b"})
	}
}

// collect is a collection that keeps no generation for its age.
func (l *library) collect() (*Collected, error) {
	found, err := l.log.Find(l.Context())
	if err != nil {
		return nil, err
	}
	if err := l.log.Fence(l.Context()); err != nil {
		return nil, err
	}
	report, err := l.log.Collect(l.Context(), CollectOptions{Found: found, By: "gc"})
	if err != nil {
		return nil, err
	}
	l.last, err = l.log.Latest(l.Context(), 0)
	return report, err
}

func (l *library) mustCollect() *Collected {
	l.Helper()
	report, err := l.collect()
	if err != nil {
		l.Fatal(err)
	}
	return report
}

// whole checks that all of the newest, the served and every listed generation is there, and that the chain goes on.
func (l *library) whole(b store.Bucket) {
	l.Helper()
	fresh, err := Open(l.Context(), b)
	if err != nil {
		l.Fatal(err)
	}
	check := func(what string, b store.Bucket, m *schemas.Manifest) {
		for o := range m.Objects() {
			if body, err := b.Get(l.Context(), o.Key); err != nil || checksum(body) != o.SHA256 {
				l.Errorf("%s: object %s: %v", what, o.Key, err)
			}
		}
	}
	newest := int64(0)
	for g, err := range fresh.Manifests(l.Context()) {
		if err != nil {
			l.Fatal(err)
		}
		m, err := fresh.Manifest(l.Context(), g)
		if err != nil {
			l.Fatal(err)
		}
		check(fmt.Sprint("generation ", g), b, m)
		newest = g
	}
	latest, err := fresh.Latest(l.Context(), 0)
	if err != nil || latest.Generation != newest {
		l.Fatalf("Latest = %+v, %v, want generation %d", latest, err, newest)
	}
	served, err := fresh.Follow(l.Context(), nil)
	if err != nil {
		l.Fatal(err)
	}
	m, err := served.Manifest(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	check("served "+served.String(), served.Index.Bucket(), m)
	next := latest.Checkpoint["0"]
	for c, err := range fresh.Commits(l.Context(), 0) {
		if err != nil {
			l.Fatal(err)
		}
		for o := range c.Objects() {
			if _, err := b.Stat(l.Context(), o.Key); err != nil && (c.Start >= next || strings.HasPrefix(o.Key, quarantine)) {
				l.Errorf("commit [%d, %d): %v", c.Start, c.End, err)
			}
		}
		next = max(next, c.End)
	}
	if head, err := fresh.Head(l.Context(), 0, 0); err != nil || head.Next != next {
		l.Errorf("Head = %+v, %v, want %d", head, err, next)
	}
}

func TestCollect(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			l := newLibrary(t, b)
			l.grow(12)
			unfinished, err := l.log.PutSegment(t.Context(), 0, 1000, []byte("of a commit that is to come"))
			if err != nil {
				t.Fatal(err)
			}
			overtaken, err := l.log.PutSegment(t.Context(), 0, 30, []byte("of a commit that lost"))
			if err != nil {
				t.Fatal(err)
			}
			elsewhere, err := l.log.PutSegment(t.Context(), 1, 0, []byte("of a partition that has none yet"))
			if err != nil {
				t.Fatal(err)
			}
			mustPutRaw(t, b, "segments/merged/notes.txt", []byte("not ours"))
			before := len(listKeys(t, b, ""))
			found, err := l.log.Find(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			dry, err := l.log.Collect(t.Context(), CollectOptions{Found: found, DryRun: true})
			if err != nil || len(listKeys(t, b, "")) != before {
				t.Fatalf("dry run: %+v, %v, %d objects after %d", dry, err, len(listKeys(t, b, "")), before)
			}
			report := l.mustCollect()
			if report.Objects != dry.Objects || report.Bytes != dry.Bytes || report.Bytes == 0 || dry.Commits != report.Commits {
				t.Errorf("a dry run said %+v, the collection %+v", dry, report)
			}
			l.whole(b)
			for _, key := range []string{unfinished.Key, elsewhere.Key, "segments/merged/notes.txt"} {
				if _, err := b.Stat(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
			if _, err := b.Stat(t.Context(), overtaken.Key); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: %v", overtaken.Key, err)
			}
			if keys := listKeys(t, b, manifestsPrefix); len(keys) != 2 { // the fence, and the one that is served
				t.Errorf("manifests %v", keys)
			}
			if keys := listKeys(t, b, channelPrefix); len(keys) != 1 {
				t.Errorf("promotions %v", keys)
			}
			if keys := listKeys(t, b, commitsPrefix(0)); len(keys) != 3 { // two that refused something, and the last one
				t.Errorf("commits %v", keys)
			}
			if keys := listKeys(t, b, "dead/"); len(keys) != 1 {
				t.Errorf("dead rows %v", keys)
			}
			l.grow(4)
			l.whole(b)
			again := l.mustCollect()
			if again.Objects == 0 || again.Commits == 0 || again.Generations == 0 || again.Promotions == 0 {
				t.Errorf("a second collection removed %+v", again)
			}
			l.whole(b)
		})
	}
}

func TestCollectNothing(t *testing.T) {
	l := newLibrary(t, store.NewMemory())
	l.commit(false)
	if report := l.mustCollect(); report.Objects+report.Commits > 0 {
		t.Errorf("without a generation: %+v", report)
	}
	l.publish()
	found, err := l.log.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.log.Collect(t.Context(), CollectOptions{Found: found, By: "gc"}); err == nil || !strings.Contains(err.Error(), "no generation has been published since 1") {
		t.Errorf("Collect without a fence = %v", err)
	}
}

func TestThinned(t *testing.T) {
	at := func(minutes ...float64) (records []numberedInfo) {
		for i, m := range minutes {
			records = append(records, numberedInfo{store.Info{Modified: day.Truncate(time.Hour).Add(time.Duration(m * float64(time.Minute)))}, int64(i)})
		}
		return records
	}
	for name, test := range map[string]struct {
		records []numberedInfo
		keepFor time.Duration
		want    []int64
	}{
		"none":                    {nil, time.Hour, nil},
		"no age":                  {at(1, 2, 3), 0, []int64{2}},
		"no age, made at once":    {at(1, 1, 1), 0, []int64{2}},
		"no age, clock set back":  {at(9, 3, 5), 0, []int64{2}},
		"young":                   {at(1, 2, 3), time.Hour, []int64{0, 1, 2}},
		"shorter than ten":        {at(1, 2, 3, 4), 2 * time.Minute, []int64{2, 3}},
		"one of each ten minutes": {at(1, 2, 9, 11, 12, 33, 38, 41), time.Hour, []int64{2, 4, 5, 6, 7}},
		"and no older":            {at(1, 2, 9, 11, 12, 33, 38, 41), 30 * time.Minute, []int64{4, 5, 6, 7}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := slices.Sorted(maps.Keys(thinned(test.records, test.keepFor))); !slices.Equal(got, test.want) {
				t.Errorf("kept %v, want %v", got, test.want)
			}
		})
	}
}

// TestCollectorIsKilled: at any request, and the next one finishes what it began.
func TestCollectorIsKilled(t *testing.T) {
	t.Run("in line", func(t *testing.T) { collectorIsKilled(t, pageParts) })
	t.Run("pages", func(t *testing.T) { collectorIsKilled(t, 2) })
}

func collectorIsKilled(t *testing.T, parts int) {
	killed := errors.New("killed")
	for at := 1; ; at++ {
		b := store.NewMemory()
		l := newLibrary(t, b).paged(parts)
		l.grow(7)
		var requests atomic.Int64
		dying := newLibrary(t, counted{b, func() error {
			if requests.Add(1) >= int64(at) {
				return killed
			}
			return nil
		}}).paged(parts)
		_, err := dying.collect()
		l.whole(b)
		l.mustCollect()
		l.whole(b)
		if keys := listKeys(t, b, segments+"/"); len(keys) != len(l.last.Segments) {
			t.Fatalf("killed at request %d: left %v", at, keys)
		}
		if keys := listKeys(t, b, pages+"/"); len(keys) != len(l.last.Pages) {
			t.Fatalf("killed at request %d: left %v", at, keys)
		}
		l.grow(2)
		if err == nil {
			t.Logf("%d requests", at)
			return
		}
		if !errors.Is(err, killed) {
			t.Fatal(err)
		}
	}
}

// counted calls before each request that matters to a collection.
type counted struct {
	store.Bucket
	before func() error
}

func (c counted) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if strings.HasPrefix(key, specKey) {
		return c.Bucket.PutIfAbsent(ctx, key, body)
	}
	if err := c.before(); err != nil {
		return err
	}
	return c.Bucket.PutIfAbsent(ctx, key, body)
}

func (c counted) Delete(ctx context.Context, key string) error {
	if err := c.before(); err != nil {
		return err
	}
	return c.Bucket.Delete(ctx, key)
}

// TestCollectKeepsWhatAnOperatorDid: their promotions stay, and so does the generation that was served before an epoch.
func TestCollectKeepsWhatAnOperatorDid(t *testing.T) {
	b := store.NewMemory()
	l := newLibrary(t, b)
	e := newLibrary(t, store.Under(b, epochsPrefix+"next"))
	e.grow(2)
	l.grow(3)
	l.promote(schemas.Channel{Generation: 2, Pinned: true, Reason: "better", By: "mara@ops"})
	l.promote(schemas.Channel{Generation: 3, Pinned: true, Reason: "no, it is not", By: "mara@ops"})
	l.promote(schemas.Channel{Generation: 2, Pinned: true, Reason: "yes it is", By: "mara@ops"})
	l.promote(schemas.Channel{Epoch: "next", Reason: "encoder", By: "mara@ops"})
	for range 6 {
		l.commit(false)
		l.publish()
	}
	l.mustCollect()
	l.whole(b)
	e.whole(e.log.Bucket())
	if _, err := l.log.Manifest(t.Context(), 2); err != nil {
		t.Errorf("what was served before the epoch: %v", err)
	}
	var by []string
	for sequence := range int64(8) {
		if c, err := l.log.Promotion(t.Context(), sequence+1); err == nil {
			by = append(by, fmt.Sprint(sequence+1, c.By))
		}
	}
	if want := []string{"2b", "4mara@ops", "5mara@ops", "6mara@ops", "7mara@ops"}; !slices.Equal(by, want) { // 2 is of a generation that is kept
		t.Errorf("promotions %v, want %v", by, want)
	}
}

// TestCollectGhosts: a manifest that a builder put under a collected key before it died is not taken for a generation.
func TestCollectGhosts(t *testing.T) {
	b := store.NewMemory()
	l := newLibrary(t, b)
	l.grow(6)
	ghost := *l.last
	ghost.Generation, ghost.Parent, ghost.Builder = 3, 2, "dead"
	l.mustCollect()
	if err := put(t.Context(), b, numbered(manifestsPrefix, 3), &ghost); err != nil {
		t.Fatal(err)
	}
	l.grow(2)
	for g, err := range l.log.Manifests(t.Context()) {
		if g == 3 || err != nil {
			t.Errorf("generation %d is listed, %v", g, err)
		}
	}
	found, err := l.log.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.grow(1)
	report, err := l.log.Collect(t.Context(), CollectOptions{Found: found, By: "gc", KeepFor: time.Hour})
	if err != nil || report.Generations != 1 {
		t.Errorf("Collect = %+v, %v, want one generation removed", report, err)
	}
	if _, err := b.Stat(t.Context(), numbered(manifestsPrefix, 3)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the manifest is there: %v", err)
	}
	l.whole(b)
}

// A Log reads what collections tell once, however often it is asked for commits.
func TestCollectionsAreReadOnce(t *testing.T) {
	b := store.NewMemory()
	l := newLibrary(t, b)
	const collections = 5
	for range collections {
		l.grow(3)
		l.mustCollect()
	}
	reads := 0
	fresh := openLog(t, hooked{Bucket: b, onGet: func(key string) error {
		if strings.HasPrefix(key, collectionsPrefix) {
			reads++
		}
		return nil
	}})
	// The newest is read first, to know how many there are, and the one after it is looked for each time.
	for i, want := range []int{1 + 2 + collections, 2, 2} {
		reads = 0
		for _, err := range fresh.Commits(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if reads > want {
			t.Errorf("time %d: %d reads of collections, want at most %d", i, reads, want)
		}
	}
}

// A writer that slept puts its commit on a key that was freed, and dies before it learns that. What that commit says of refused
// or lost messages is not so: it is neither shown nor kept.
func TestGhostsTellNothing(t *testing.T) {
	b := store.NewMemory()
	l := newLibrary(t, b)
	l.grow(6)
	q, err := l.log.PutQuarantine(t.Context(), 0, 10, []byte("refused by a ghost"))
	if err != nil {
		t.Fatal(err)
	}
	want := l.told()
	l.mustCollect()
	refused, gap := plain(10, 45, 0), plain(0, 5, 0)
	refused.Quarantine, refused.Quarantined = &q, map[string]int{schemas.ReasonDims: 1}
	gap.Gap = true
	for _, ghost := range []*schemas.Commit{refused, gap} {
		if err := put(t.Context(), b, numbered(commitsPrefix(0), ghost.Start), ghost); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.told(); got != want {
		t.Errorf("shown are %s, want %s", got, want)
	}
	l.mustCollect()
	if got := l.told(); got != want {
		t.Errorf("after another collection: shown are %s, want %s", got, want)
	}
	for _, key := range []string{q.Key, numbered(commitsPrefix(0), 10), numbered(commitsPrefix(0), 0)} {
		if _, err := b.Stat(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s is there: %v", key, err)
		}
	}
	l.grow(3)
	l.mustCollect()
	l.whole(b)
}

// All that a listing shows may be collected before it is read: then there is something newer.
func TestNewestAfterAllThatWasListed(t *testing.T) {
	b := store.NewMemory()
	l := newLibrary(t, b)
	l.grow(3)
	l.mustCollect()
	during := func(prefix string) *Log {
		once := false
		return openLog(t, hooked{Bucket: b, onGet: func(key string) error {
			if strings.HasPrefix(key, prefix) && !once {
				once = true
				l.grow(3)
				l.mustCollect()
				l.grow(1)
			}
			return nil
		}})
	}
	if m, err := during(manifestsPrefix).Latest(t.Context(), 0); err != nil || m == nil || m.Generation != l.last.Generation {
		t.Errorf("Latest = %+v, %v, want generation %d", m, err, l.last.Generation)
	}
	if c, err := during(channelPrefix).Channel(t.Context(), 0); err != nil || c == nil || c.Generation != l.last.Generation {
		t.Errorf("Channel = %+v, %v, want generation %d", c, err, l.last.Generation)
	}

	// One that is kept because it is served is not the newest.
	l.publish()
	once := false
	log := openLog(t, hooked{Bucket: b, onGet: func(key string) error {
		if key == numbered(manifestsPrefix, l.last.Generation) && !once {
			once = true
			l.publish()
			l.mustCollect()
		}
		return nil
	}})
	if m, err := log.Latest(t.Context(), 0); err != nil || m == nil || m.Generation != l.last.Generation {
		t.Errorf("Latest = %+v, %v, want generation %d", m, err, l.last.Generation)
	}
}

// told is the commits of partition 0 that tell of refused or lost messages.
func (l *library) told() string {
	l.Helper()
	var found []*schemas.Commit
	for c, err := range l.log.Commits(l.Context(), 0) {
		if err != nil {
			l.Fatal(err)
		}
		if c.Quarantine != nil || c.Gap {
			found = append(found, c)
		}
	}
	return ranges(found)
}

// TestTwoCollectors: of two with the same number one is fenced, and so is one that sleeps after its record while another
// collects what it has kept.
func TestTwoCollectors(t *testing.T) {
	for name, overtakenBy := range map[string]func(store.Bucket, *library) store.Bucket{
		"before its record": func(b store.Bucket, l *library) store.Bucket {
			return hooked{Bucket: b, beforePut: func(key string) {
				if key == numbered(collectionsPrefix, 1) {
					l.mustCollect()
				}
			}}
		},
		"after its record": func(b store.Bucket, l *library) store.Bucket {
			announced := false
			return hooked{Bucket: b, beforePut: func(key string) {
				announced = announced || key == numbered(collectionsPrefix, 1)
			}, onGet: func(string) error {
				if announced {
					announced = false
					l.last, _ = l.log.Latest(l.Context(), 0)
					l.grow(3)
					l.mustCollect()
				}
				return nil
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := store.NewMemory()
			l := newLibrary(t, b)
			l.grow(6)
			first := newLibrary(t, overtakenBy(b, l))
			if _, err := first.collect(); !errors.Is(err, schemas.ErrFenced) {
				t.Errorf("Collect = %v, want ErrFenced", err)
			}
			l.whole(b)
		})
	}
}
