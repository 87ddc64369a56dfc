package commit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

func manifest(generation int64, checkpoint int64) *schemas.Manifest {
	return &schemas.Manifest{Format: schemas.ManifestFormat, Generation: generation, Parent: generation - 1, Builder: "b",
		Created: day, Watermark: 7, Checkpoint: map[string]int64{"0": checkpoint}}
}

func mustPublish(t testing.TB, l *Log, through int64) {
	t.Helper()
	for g := int64(1); g <= through; g++ {
		if err := l.Publish(t.Context(), manifest(g, 10*g)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLatestAndManifests(t *testing.T) {
	l := openLog(t, store.NewMemory())
	if m, err := l.Latest(t.Context(), 0); m != nil || err != nil {
		t.Fatalf("Latest of nothing = %v, %v", m, err)
	}
	if _, err := l.Manifest(t.Context(), 1); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Manifest of nothing = %v", err)
	}
	mustPublish(t, l, 12)
	for after, want := range map[int64]int64{0: 12, 11: 12, 12: 0, 40: 0} {
		m, err := l.Latest(t.Context(), after)
		if err != nil || (m == nil) != (want == 0) || m != nil && m.Generation != want {
			t.Errorf("Latest(%d) = %+v, %v, want generation %d", after, m, err, want)
		}
	}
	next := int64(1)
	for g, err := range l.Manifests(t.Context()) {
		if err != nil || g != next {
			t.Fatalf("Manifests yields %d, %v, want %d", g, err, next)
		}
		next++
	}
	if next != 13 {
		t.Errorf("Manifests ended before %d", next)
	}
}

// TestPublishAlgebra is the table of what may follow generations 1 to 3, whose checkpoints are 10, 20 and 30.
func TestPublishAlgebra(t *testing.T) {
	change := func(f func(*schemas.Manifest)) *schemas.Manifest {
		m := manifest(4, 40)
		f(m)
		return m
	}
	for name, test := range map[string]struct {
		m     *schemas.Manifest
		want  string // part of the error, empty if it applies
		class error
	}{
		"next":               {manifest(4, 40), "", nil},
		"nothing new":        {manifest(4, 30), "", nil},
		"new partition":      {change(func(m *schemas.Manifest) { m.Checkpoint["3"] = 7 }), "", nil},
		"older parent":       {change(func(m *schemas.Manifest) { m.Parent, m.Checkpoint = 1, map[string]int64{"0": 15} }), "", nil},
		"from the start":     {change(func(m *schemas.Manifest) { m.Parent, m.Checkpoint = 0, map[string]int64{} }), "", nil},
		"taken":              {manifest(3, 35), "builder b was first", schemas.ErrFenced},
		"ahead":              {change(func(m *schemas.Manifest) { m.Generation = 5 }), "not found", schemas.ErrFenced},
		"parent ahead":       {change(func(m *schemas.Manifest) { m.Generation, m.Parent = 6, 4 }), "not found", schemas.ErrFenced},
		"parent is itself":   {change(func(m *schemas.Manifest) { m.Parent = 4 }), "parent: 4, allowed: 0 to 3", nil},
		"negative parent":    {change(func(m *schemas.Manifest) { m.Parent = -1 }), "parent: -1", nil},
		"generation 0":       {manifest(0, 0), "generation: 0", nil},
		"checkpoint falls":   {manifest(4, 29), "checkpoint: 29 for partition 0, allowed: at least 30", nil},
		"watermark falls":    {change(func(m *schemas.Manifest) { m.Watermark = 6 }), "watermark: 6, allowed: at least 7, that of parent 3", nil},
		"checkpoint lost":    {change(func(m *schemas.Manifest) { m.Checkpoint = map[string]int64{} }), "checkpoint: 0 for partition 0", nil},
		"no checkpoint":      {change(func(m *schemas.Manifest) { m.Checkpoint = nil }), "checkpoint: null", nil},
		"no such partition":  {change(func(m *schemas.Manifest) { m.Checkpoint["4"] = 1 }), `for partition "4"`, nil},
		"odd partition":      {change(func(m *schemas.Manifest) { m.Checkpoint["01"] = 1 }), `for partition "01"`, nil},
		"negative offset":    {change(func(m *schemas.Manifest) { m.Checkpoint["1"] = -1 }), "checkpoint: -1", nil},
		"no builder":         {change(func(m *schemas.Manifest) { m.Builder = "" }), "builder: empty", nil},
		"a fit of no ladder": {change(func(m *schemas.Manifest) { m.Drift = &schemas.Drift{Repair: "none"} }), "drift: of 0 and 0 levels, allowed: the", nil},
		"format":             {change(func(m *schemas.Manifest) { m.Format = 9 }), "format: 9", nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := openLog(t, store.NewMemory())
			mustPublish(t, l, 3)
			err := l.Publish(t.Context(), test.m)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if m, err := l.Latest(t.Context(), 3); err != nil || m.Generation != 4 {
					t.Errorf("Latest = %v, %v", m, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || test.class != nil && !errors.Is(err, test.class) {
				t.Errorf("Publish = %v, want an error with %q of class %v", err, test.want, test.class)
			}
			if keys := listKeys(t, l.Bucket(), manifestsPrefix); len(keys) != 3 {
				t.Errorf("a refused manifest left %v", keys)
			}
		})
	}
}

// race runs n calls that are held at their puts below prefix until all are there, and returns their errors.
func race(t *testing.T, b store.Bucket, prefix string, n int, do func(l *Log, i int) error) []error {
	t.Helper()
	raced := gate(b, prefix, n)
	errs := make([]error, n)
	var running sync.WaitGroup
	for i := range n {
		l := openLog(t, raced)
		running.Go(func() { errs[i] = do(l, i) })
	}
	running.Wait()
	return errs
}

func TestPublishRaceHasOneWinner(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			mustPublish(t, openLog(t, b), 2)
			errs := race(t, b, manifestsPrefix, 4, func(l *Log, i int) error {
				m := manifest(3, 30)
				m.Builder = fmt.Sprintf("builder-%d", i)
				return l.Publish(t.Context(), m)
			})
			m, err := openLog(t, b).Latest(t.Context(), 0)
			if err != nil || m.Generation != 3 {
				t.Fatalf("Latest = %+v, %v", m, err)
			}
			for i, err := range errs {
				won := m.Builder == fmt.Sprintf("builder-%d", i)
				if won != (err == nil) || !won && !errors.Is(err, schemas.ErrFenced) {
					t.Errorf("builder %d: %v, and generation 3 is of %s", i, err, m.Builder)
				}
			}
		})
	}
}

func TestPromoteRaceHasOneWinner(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			l := openLog(t, b)
			mustPublish(t, l, 4)
			first := mustPromote(t, l, nil, 1)
			errs := race(t, b, channelPrefix, 3, func(l *Log, i int) error {
				c, err := l.Promote(t.Context(), first, built(int64(i+2)))
				if err == nil && (c.Sequence != 2 || c.Generation != int64(i+2)) {
					err = fmt.Errorf("promotion is %+v", c)
				}
				return err
			})
			c, err := openLog(t, b).Channel(t.Context(), 1)
			if err != nil || c.Sequence != 2 {
				t.Fatalf("Channel = %+v, %v", c, err)
			}
			for i, err := range errs {
				won := c.Generation == int64(i+2)
				if won != (err == nil) || !won && !errors.Is(err, schemas.ErrFenced) {
					t.Errorf("promotion of %d: %v, and the channel is at %d", i+2, err, c.Generation)
				}
			}
		})
	}
}

func built(generation int64) schemas.Channel {
	return schemas.Channel{Generation: generation, Reason: "built", By: "b"}
}

func mustPromote(t *testing.T, l *Log, seen *schemas.Channel, generation int64) *schemas.Channel {
	t.Helper()
	c, err := l.Promote(t.Context(), seen, built(generation))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestChannel(t *testing.T) {
	l := openLog(t, store.NewMemory())
	mustPublish(t, l, 3)
	if c, err := l.Channel(t.Context(), 0); c != nil || err != nil {
		t.Fatalf("Channel of nothing = %v, %v", c, err)
	}
	if _, err := l.Promote(t.Context(), nil, built(4)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("promotion of no generation = %v", err)
	}
	var last *schemas.Channel
	for i, generation := range []int64{1, 2, 3, 1} { // the fourth is a rollback
		want := schemas.Channel{Generation: generation, Pinned: i == 3, Reason: "why", By: "me"}
		c, err := openLog(t, l.Bucket()).Promote(t.Context(), last, want)
		if err != nil || c.Generation != generation || c.Sequence != int64(i+1) || c.Pinned != want.Pinned {
			t.Fatalf("promotion %d = %+v, %v", i, c, err)
		}
		again, err := l.Promote(t.Context(), last, want)
		if err != nil || again.Sequence != c.Sequence {
			t.Fatalf("promotion %d again = %+v, %v", i, again, err)
		}
		last = c
	}
	third, err := l.Promotion(t.Context(), 3)
	if err != nil || third.Generation != 3 {
		t.Fatalf("Promotion(3) = %+v, %v", third, err)
	}
	if _, err := l.Promotion(t.Context(), 5); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Promotion(5) = %v", err)
	}
	same := schemas.Channel{Generation: 1, Pinned: true, Reason: "why", By: "you"}
	if c, err := l.Promote(t.Context(), third, same); err != nil || c.Sequence != 4 || c.By != "me" {
		t.Errorf("promotion that somebody else has made = %+v, %v", c, err)
	}
	for name, other := range map[string]schemas.Channel{
		"not pinned":     {Generation: 1, Reason: "why", By: "me"},
		"another reason": {Generation: 1, Pinned: true, Reason: "because", By: "me"},
		"another one":    {Generation: 2, Pinned: true, Reason: "why", By: "me"},
	} {
		if c, err := l.Promote(t.Context(), third, other); !errors.Is(err, schemas.ErrFenced) {
			t.Errorf("%s: %+v, %v, want ErrFenced", name, c, err)
		}
	}
	for after, want := range map[int64]int64{0: 4, 3: 4, 4: 0, 9: 0} {
		c, err := l.Channel(t.Context(), after)
		if err != nil || (c == nil) != (want == 0) || c != nil && c.Sequence != want {
			t.Errorf("Channel(%d) = %+v, %v, want sequence %d", after, c, err, want)
		}
	}
}

// TestSleepingPromoter: a builder that sleeps between looking at the channel and promoting does not undo what was promoted
// meanwhile, even if others of its process have looked. Once it has looked again it may: that is a rollback.
func TestSleepingPromoter(t *testing.T) {
	for _, before := range []int64{0, 1} { // promotions that the sleeper has seen
		b := store.NewMemory()
		awake := openLog(t, b)
		mustPublish(t, awake, 3)
		var seen *schemas.Channel
		if before == 1 {
			seen = mustPromote(t, awake, nil, 1)
		}
		sleeper := openLog(t, b)
		mustPromote(t, awake, mustPromote(t, awake, seen, 2), 3)
		now, err := sleeper.Channel(t.Context(), 0)
		if err != nil || now.Generation != 3 {
			t.Errorf("%d seen: a node of the sleeper's process sees %+v, %v, want generation 3", before, now, err)
		}
		if c, err := sleeper.Promote(t.Context(), seen, schemas.Channel{Generation: 1, Reason: "built", By: "sleeper"}); !errors.Is(err, schemas.ErrFenced) {
			t.Errorf("%d seen: Promote = %+v, %v, want ErrFenced", before, c, err)
		}
		if c, err := openLog(t, b).Channel(t.Context(), 0); err != nil || c.Generation != 3 {
			t.Errorf("%d seen: the channel is at %+v, %v, want generation 3", before, c, err)
		}
		mustPromote(t, sleeper, now, 2)
	}
}

// TestRepeatAfterLostAnswer: a builder that does not learn what became of its call repeats it, and nothing is doubled.
func TestRepeatAfterLostAnswer(t *testing.T) {
	b := store.NewMemory()
	openLog(t, b)
	net := newFaulty(b, 3)
	net.stale = 0
	l := openLog(t, b)
	l.bucket = net
	var last *schemas.Channel
	for g := int64(1); g <= 30; g++ {
		m := manifest(g, g)
		if err := again(func() error { return l.Publish(t.Context(), m) }); err != nil {
			t.Fatal(err)
		}
		if err := again(func() error {
			c, err := l.Promote(t.Context(), last, built(g))
			if err == nil {
				last = c
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if net.seen["lost"] == 0 || net.seen["refused"] == 0 {
		t.Fatalf("faults: %v", net.seen)
	}
	if manifests, promotions := listKeys(t, b, manifestsPrefix), listKeys(t, b, channelPrefix); len(manifests) != 30 || len(promotions) != 30 {
		t.Errorf("30 generations left %d manifests and %d promotions", len(manifests), len(promotions))
	}
}

func TestNewestIsNotReadableYet(t *testing.T) {
	hidden := map[string]bool{}
	b := hooked{Bucket: store.NewMemory(), onGet: func(key string) error {
		if hidden[key] {
			return fmt.Errorf("get %s: %w", key, store.ErrNotFound)
		}
		return nil
	}}
	writer := openLog(t, b)
	mustPublish(t, writer, 3)
	mustPromote(t, writer, mustPromote(t, writer, nil, 1), 2)
	l := openLog(t, b)
	hidden[numbered(manifestsPrefix, 3)], hidden[numbered(channelPrefix, 2)] = true, true
	if m, err := l.Latest(t.Context(), 0); err != nil || m.Generation != 2 {
		t.Errorf("Latest = %+v, %v, want 2", m, err)
	}
	if m, err := l.Latest(t.Context(), 2); err != nil || m != nil {
		t.Errorf("Latest after 2 = %+v, %v, want none", m, err)
	}
	if m, err := writer.Latest(t.Context(), 2); !errors.Is(err, schemas.ErrTransient) {
		t.Errorf("Latest after 2, by who published 3 = %+v, %v, want ErrTransient", m, err)
	}
	if c, err := l.Channel(t.Context(), 0); err != nil || c.Sequence != 1 {
		t.Errorf("Channel = %+v, %v, want 1", c, err)
	}
}

func TestHostileGenerations(t *testing.T) {
	body := func(record any) []byte {
		b, err := encode(record)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, test := range map[string]struct {
		key  string
		body []byte
		read func(*Log) error
	}{
		"manifest of another generation": {numbered(manifestsPrefix, 7), body(manifest(8, 1)), latest},
		"manifest of its own parent": {numbered(manifestsPrefix, 7), body(func() *schemas.Manifest {
			m := manifest(7, 1)
			m.Parent = 7
			return m
		}()), latest},
		"manifest that is cut short":    {numbered(manifestsPrefix, 7), body(manifest(7, 1))[:40], latest},
		"promotion of another sequence": {numbered(channelPrefix, 7), body(&schemas.Channel{Format: 1, Sequence: 6, Generation: 1, Created: day}), channel},
		"promotion of nothing":          {numbered(channelPrefix, 7), body(&schemas.Channel{Format: 1, Sequence: 7, Created: day}), channel},
	} {
		t.Run(name, func(t *testing.T) {
			b := store.NewMemory()
			l := openLog(t, b)
			mustPutRaw(t, b, test.key, test.body)
			if err := test.read(l); !errors.Is(err, schemas.ErrCorrupt) || !strings.Contains(err.Error(), test.key) {
				t.Errorf("%v, want ErrCorrupt that names %s", err, test.key)
			}
		})
	}
}

func latest(l *Log) error {
	_, err := l.Latest(context.Background(), 0)
	return err
}

func channel(l *Log) error {
	_, err := l.Channel(context.Background(), 0)
	return err
}
