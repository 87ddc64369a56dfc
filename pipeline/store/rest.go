package store

import (
	"context"
	"io"
	"time"
)

// restStep is how much of a file is worked on between two rests: so little that what waits for the processor waits a fraction of a
// millisecond.
const restStep = 256 << 10

// saved is the longest that a rest which was too long makes later ones shorter: timers are late where processors are busy, and each step
// has one. What it may save up by waiting for the store or the disk is no more either.
const saved = 50 * time.Millisecond

// rest waits for so long that work which took so long was a share of the time, or until ctx ends.
func rest(ctx context.Context, took time.Duration, share float64) {
	pause(ctx, time.Duration(float64(took)*(1/share-1)))
}

func pause(ctx context.Context, lasting time.Duration) {
	if lasting > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(lasting):
		}
	}
}

// resting is a file and its checksum, written in no more than a share of the time of a processor while others have work: it rests after
// each step. Waiting for the disk is not counted: the processor is free meanwhile.
type resting struct {
	io.Writer
	ctx   context.Context
	pace  pace
	bytes int       // since the last rest
	free  time.Time // when what was done so far has taken its share
}

// busyWhile is how long a step had a processor. One that ends on another thread than it began on counts for nothing: it has waited, for
// the disk, and how long for is not known.
func busyWhile(step func()) time.Duration {
	thread, before := threadTime()
	step()
	if after, busy := threadTime(); after == thread {
		return busy - before
	}
	return 0
}

// pace is how fast a cache works beside others: at full speed unless they are busy. The zero value is always at full speed.
type pace struct {
	busy  func() bool
	share float64 // of the time
}

func (p pace) writer(ctx context.Context, to io.Writer) io.Writer {
	if p.busy == nil {
		return to
	}
	return &resting{Writer: to, ctx: ctx, pace: p, free: time.Now()}
}

func (r *resting) Write(p []byte) (done int, err error) {
	for done < len(p) && err == nil {
		step := p[done:min(len(p), done+restStep-r.bytes)]
		n := 0
		busy := busyWhile(func() { n, err = r.Writer.Write(step) })
		r.free = r.free.Add(time.Duration(float64(busy) / r.pace.share))
		done += n
		if r.bytes += n; r.bytes == restStep {
			r.bytes = 0
			r.rest()
		}
	}
	return done, err
}

// rest waits, if others are busy, until what was done so far is its share.
func (r *resting) rest() {
	now := time.Now()
	if !r.pace.busy() {
		r.free = now
		return
	}
	if least := now.Add(-saved); r.free.Before(least) {
		r.free = least
	}
	pause(r.ctx, r.free.Sub(now))
}
