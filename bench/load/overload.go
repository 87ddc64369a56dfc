package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"time"

	"github.com/adastream/adastream/bench/fleet"
)

// overload offers ever more and prints a table.
type overload struct {
	Loads       []float64     `help:"What is offered, in multiples of the measured capacity." default:"0.5,0.8,1,1.5,2,3,4"`
	Waiting     int           `help:"Requests that may wait, see --max-waiting of the node." default:"256"`
	Lasting     time.Duration `help:"Time of each." default:"15s"`
	Connections int           `help:"Connections to the node." default:"1000"`
}

func (o *overload) Run(ctx context.Context, index *indexed) error {
	return index.with(ctx, 0, []string{"GOMAXPROCS=1"}, []string{fmt.Sprintf("--max-waiting=%d", o.Waiting)}, func(b *bench) error {
		runtime.GOMAXPROCS(1)
		w, err := b.dial(ctx, o.Connections)
		if err != nil {
			return err
		}
		defer w.close()
		capacity, err := w.capacity(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("%s, the node on one core and the client on another; %.0f queries/s at most\n\n", b, capacity)
		fmt.Println("| offered | answered/s | p50 ms | p99 ms | refused | p50 ms | p99 ms | failed |\n|---|---|---|---|---|---|---|---|")
		best := 0.0
		for _, load := range o.Loads {
			all := w.offer(ctx, load*capacity, o.Lasting)
			answered := float64(len(all.took)) / all.lasted.Seconds()
			best = max(best, answered)
			fmt.Printf("| %.0f/s (%g times) | %.0f (%.0f %% of the most) | %.2f | %.2f | %.1f %% | %.2f | %.2f | %d |\n", load*capacity, load, answered, 100*answered/best,
				ms(quantile(all.took, 0.5)), ms(quantile(all.took, 0.99)), 100*float64(len(all.refused))/float64(all.asked()), ms(quantile(all.refused, 0.5)), ms(quantile(all.refused, 0.99)), all.errors)
			if all.errors > 0 {
				return fmt.Errorf("%d requests were neither answered nor refused, the first: %w", all.errors, all.first)
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(settling):
			}
		}
		return nil
	})
}

// refused reports whether a node was overloaded and said so.
func refused(err error) bool {
	var status *fleet.StatusError
	return errors.As(err, &status) && status.Status == http.StatusTooManyRequests
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }
