package commit

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// TestSleepers: whoever slept between finding a key free and taking it, while what was there came and was collected, is told.
func TestSleepers(t *testing.T) {
	for name, test := range map[string]struct {
		prefix string
		act    func(log *Log, at *library) error
	}{
		"writer": {commitsPrefix(0), func(log *Log, at *library) error {
			head, err := log.Head(at.Context(), 0, 0)
			if err != nil {
				return err
			}
			return log.Append(at.Context(), plain(head.Next, head.Next+5, 0))
		}},
		"builder": {manifestsPrefix, func(log *Log, at *library) error {
			m := *at.last
			m.Parent, m.Generation, m.Builder = m.Generation, m.Generation+1, "sleeper"
			return log.Publish(at.Context(), &m)
		}},
		"promoter": {channelPrefix, func(log *Log, at *library) error {
			seen, err := log.Channel(at.Context(), 0)
			if err != nil {
				return err
			}
			_, err = log.Promote(at.Context(), seen, schemas.Channel{Generation: at.last.Generation, Reason: "late", By: "sleeper"})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := store.NewMemory()
			l := newLibrary(t, b)
			l.grow(3)
			asleep := false
			sleeper := openLog(t, hooked{Bucket: b, beforePut: func(key string) {
				if strings.HasPrefix(key, test.prefix) && !asleep {
					asleep = true
					l.grow(5)
					l.mustCollect()
					l.grow(1)
				}
			}})
			at := *l
			if err := test.act(sleeper, &at); !errors.Is(err, schemas.ErrFenced) {
				t.Errorf("it was told %v, want ErrFenced", err)
			}
			l.whole(b)
			l.grow(2)
			l.mustCollect()
			l.whole(b)
			if keys := listKeys(t, b, test.prefix); len(keys) > 3 {
				t.Errorf("left are %v", keys)
			}
		})
	}
}

// TestReadersOfThePast: who goes on from what was folded and collected is told so.
func TestReadersOfThePast(t *testing.T) {
	b := store.NewMemory()
	l := newLibrary(t, b)
	l.grow(3)
	slow := openLog(t, b)
	if _, err := slow.Since(t.Context(), 0, 20, 0); err != nil {
		t.Fatal(err)
	}
	l.grow(5)
	l.mustCollect()
	for name, log := range map[string]*Log{"slow": slow, "new": openLog(t, b)} {
		if found, err := log.Since(t.Context(), 0, 20, 1); !errors.Is(err, schemas.ErrFenced) {
			t.Errorf("%s: Since = %s, %v, want ErrFenced", name, ranges(found), err)
		}
		if err := log.Append(t.Context(), plain(20, 30, 0)); !errors.Is(err, schemas.ErrFenced) {
			t.Errorf("%s: Append = %v, want ErrFenced", name, err)
		}
		if head, err := log.Head(t.Context(), 0, 20); err != nil || head.Next != l.last.Checkpoint["0"] {
			t.Errorf("%s: Head = %+v, %v", name, head, err)
		}
		if _, err := log.Promote(t.Context(), nil, schemas.Channel{Generation: 2, Reason: "r", By: "o@h"}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: Promote = %v, want ErrNotFound", name, err)
		}
	}
}

// TestPromotedWhileCollected: a generation that is given up is not served, whichever of the two records comes first.
func TestPromotedWhileCollected(t *testing.T) {
	back := schemas.Channel{Generation: 4, Pinned: true, Reason: "go back", By: "mara@ops"}
	t.Run("promotion first", func(t *testing.T) {
		b := store.NewMemory()
		l := newLibrary(t, b)
		l.grow(8)
		collector := newLibrary(t, hooked{Bucket: b, beforePut: func(key string) {
			if key == numbered(collectionsPrefix, 1) {
				l.promote(back)
			}
		}})
		if _, err := collector.collect(); !errors.Is(err, schemas.ErrTransient) {
			t.Errorf("Collect = %v, want ErrTransient", err)
		}
		l.whole(b)
		now, err := l.log.Channel(t.Context(), 0)
		if err != nil || now.Generation != 4 {
			t.Errorf("the channel says %+v, %v", now, err)
		}
		l.mustCollect()
		l.whole(b)
		if err := l.log.Confirm(t.Context(), now); err != nil {
			t.Errorf("what was promoted is gone: %v", err)
		}
	})
	t.Run("collection first", func(t *testing.T) {
		b := store.NewMemory()
		l := newLibrary(t, b)
		l.grow(8)
		collected := false
		operator := newLibrary(t, hooked{Bucket: b, beforePut: func(key string) {
			if strings.HasPrefix(key, channelPrefix) && !collected {
				collected = true
				l.mustCollect()
			}
		}})
		seen, err := operator.log.Channel(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := operator.log.Promote(t.Context(), seen, back); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Promote = %v, want ErrNotFound", err)
		}
		l.whole(b)
		now, err := l.log.Channel(t.Context(), 0)
		if err != nil || now.Generation != seen.Generation || !strings.Contains(now.Reason, "generation 4 was collected while it was promoted") {
			t.Errorf("the channel says %+v, %v", now, err)
		}
	})
}

// TestPromoterDiesWhileCollected: it had put its record, and not looked for a collection. Any builder does that for it.
func TestPromoterDiesWhileCollected(t *testing.T) {
	b := store.NewMemory()
	l := newLibrary(t, b)
	l.grow(8)
	var once sync.Once
	var dead *schemas.Channel
	collector := newLibrary(t, hooked{Bucket: b, beforeDelete: func(string) {
		once.Do(func() {
			dead = &schemas.Channel{Format: schemas.ChannelFormat, Sequence: 9, Generation: 4, Pinned: true, Reason: "go back", By: "mara@ops", Created: day}
			if err := put(context.WithoutCancel(t.Context()), b, numbered(channelPrefix, 9), dead); err != nil {
				t.Error(err)
			}
		})
	}})
	collector.mustCollect()
	if err := openLog(t, b).Confirm(t.Context(), dead); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Confirm = %v, want ErrNotFound", err)
	}
	l.whole(b)
	now, err := l.log.Channel(t.Context(), 0)
	if err != nil || now.Generation != 8 || now.Pinned {
		t.Errorf("the channel says %+v, %v", now, err)
	}
	if err := l.log.Confirm(t.Context(), now); err != nil {
		t.Errorf("Confirm of what was gone back to = %v", err)
	}
}

// TestCollectorTakesBack: what a promoter that died has left is mended by the next collection as well, also where nothing was
// served before.
func TestCollectorTakesBack(t *testing.T) {
	b := store.NewMemory()
	l := newLibrary(t, b)
	for range 6 {
		l.commit(false)
		l.publish()
	}
	l.mustCollect()
	dead := &schemas.Channel{Format: schemas.ChannelFormat, Sequence: 1, Generation: 3, Reason: "first", By: "mara@ops", Created: day}
	if err := put(t.Context(), b, numbered(channelPrefix, 1), dead); err != nil {
		t.Fatal(err)
	}
	if _, err := l.collect(); !errors.Is(err, schemas.ErrTransient) || !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Collect = %v, want ErrTransient for generation 3", err)
	}
	l.whole(b)
	l.mustCollect()
	l.whole(b)
}
