package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	probeRounds  = 3
	probeRacers  = 8
	probeCleanup = 10 * time.Second
)

// Probe checks that b honours put-if-absent, on keys of its own under "probe/", and removes them. A store that does not
// is refused with ErrIgnoresCondition.
//
// It first creates a key twice, which unmasks stores that ignore the condition, and then has several creators race for a
// key, which unmasks those that look first and write later.
func Probe(ctx context.Context, b Bucket) error {
	key := "probe/" + uuid.NewString()
	defer probeDelete(ctx, b, key)
	first, second := []byte(key+" first"), []byte(key+" second")
	if err := b.PutIfAbsent(ctx, key, first); err != nil {
		return fmt.Errorf("probe %s: %w", b, err)
	}
	switch err := b.PutIfAbsent(ctx, key, second); {
	case err == nil:
		return fmt.Errorf("probe %s: %w", b, ErrIgnoresCondition)
	case !errors.Is(err, ErrExists):
		return fmt.Errorf("probe %s: %w", b, err)
	}
	got, err := b.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("probe %s: %w", b, err)
	}
	if string(got) != string(first) {
		return fmt.Errorf("probe %s: %w", b, ErrIgnoresCondition)
	}
	for range probeRounds {
		if err := probeRace(ctx, b); err != nil {
			return fmt.Errorf("probe %s: %w", b, err)
		}
	}
	return nil
}

// ErrIgnoresCondition: the store overwrites what put-if-absent should have left alone. Wraps ErrDenied.
var ErrIgnoresCondition = fmt.Errorf("%w: the store ignores conditional writes (If-None-Match: *): two writers could both believe "+
	"that they published, and data would be lost; use Amazon S3, MinIO, another store that honours them, or a local directory", ErrDenied)

func probeRace(ctx context.Context, b Bucket) error {
	key := "probe/" + uuid.NewString()
	defer probeDelete(ctx, b, key)
	var racers sync.WaitGroup
	outcomes := make([]error, probeRacers)
	for i := range outcomes {
		racers.Go(func() { outcomes[i] = b.PutIfAbsent(ctx, key, fmt.Appendf(nil, "%s racer %d", key, i)) })
	}
	racers.Wait()
	winners := 0
	for _, err := range outcomes {
		if err == nil {
			winners++
		} else if !errors.Is(err, ErrExists) {
			return err
		}
	}
	if winners != 1 {
		return fmt.Errorf("%d of %d racing writers won: %w", winners, probeRacers, ErrIgnoresCondition)
	}
	return nil
}

// probeDelete cleans up even when the probe was cancelled. A key that stays behind is harmless: it is never used again.
func probeDelete(ctx context.Context, b Bucket, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanup)
	defer cancel()
	_ = b.Delete(ctx, key)
}
