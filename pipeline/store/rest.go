package store

import (
	"context"
	"io"
	"time"
)

// restStep is how much of a file is worked on between two rests: so little that what waits for the processor waits a fraction of a
// millisecond.
const restStep = 256 << 10

// rest waits for so long that work which took so long was a share of the time, or until ctx ends.
func rest(ctx context.Context, took time.Duration, share float64) {
	if rests := time.Duration(float64(took) * (1/share - 1)); rests > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(rests):
		}
	}
}

// resting is a checksum that takes no more than a share of the time while others have work: it rests after each step. What the store and
// the disk take is not counted: the processor is free while they are waited for.
type resting struct {
	io.Writer
	ctx   context.Context
	pace  pace
	bytes int // since the last rest
	took  time.Duration
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
	return &resting{Writer: to, ctx: ctx, pace: p}
}

func (r *resting) Write(p []byte) (done int, err error) {
	for done < len(p) && err == nil {
		step := p[done:min(len(p), done+restStep-r.bytes)]
		began, n := time.Now(), 0
		n, err = r.Writer.Write(step)
		r.took += time.Since(began)
		done += n
		if r.bytes += n; r.bytes == restStep {
			if r.pace.busy() {
				rest(r.ctx, r.took, r.pace.share)
			}
			r.bytes, r.took = 0, 0
		}
	}
	return done, err
}
