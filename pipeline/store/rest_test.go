package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/store"
)

// A Fetch rests after each 256 KiB while others are busy, and only then, whether it downloads or reads through what is there. What comes
// is the same, and a Fetch that is given up does not rest to the end.
func TestCache_Resting(t *testing.T) {
	const hardlyAny = 1e-7 // of a processor: a rest after a step of a tenth of a millisecond is a quarter of an hour
	b := store.NewMemory()
	ref, body := putRef(t, b, "data", 1<<20)
	dir := t.TempDir()
	asked := 0
	idle := func() bool { asked++; return false }
	for _, there := range []string{"", " a file of an earlier process"} {
		asked = 0
		fetch(t, newCache(t, dir, b, 0).Resting(hardlyAny, idle), ref, body).Release()
		if asked != 4 {
			t.Errorf("a fetch of 1 MiB%s asked %d times whether others are busy", there, asked)
		}
	}

	for _, dir := range []string{t.TempDir(), dir} {
		ctx, cancel := context.WithCancel(t.Context())
		c := newCache(t, dir, b, 0)
		began, busy := time.Now(), func() bool { time.AfterFunc(10*time.Millisecond, cancel); return true }
		_, err := c.Resting(hardlyAny, busy).Fetch(ctx, ref)
		if took := time.Since(began); !errors.Is(err, context.Canceled) || took < 10*time.Millisecond || took > time.Minute {
			t.Errorf("a fetch that was given up: error %v after %v", err, took)
		}
		if s := c.Stats(); s.Corrupt != 0 {
			t.Errorf("a fetch that was given up: %+v", s)
		}
		fetch(t, c, ref, body).Release()
	}
}
