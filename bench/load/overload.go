package main

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// overload offers ever more and prints a table.
type overload struct {
	Loads   []float64     `help:"What is offered, in multiples of the measured capacity." default:"0.5,0.8,1,1.5,2,3,4"`
	Waiting int           `help:"Requests that may wait, see --max-waiting of the node." default:"256"`
	Lasting time.Duration `help:"Time of each." default:"15s"`
	Least   float64       `help:"Share of the most that was answered that has to be answered at each higher load too; less is an error."`
	Within  time.Duration `help:"Time within which 99 of 100 answers have to come at each load; later is an error. 0 is no bound."`
}

func (o *overload) Run(ctx context.Context, index *indexed) error {
	return index.with(ctx, 0, []string{"GOMAXPROCS=1"}, []string{fmt.Sprintf("--max-waiting=%d", o.Waiting)}, func(b *bench) error {
		runtime.GOMAXPROCS(1)
		capacity, err := b.capacity(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("%s, the node on one core and the client on another; %.0f queries/s at most\n\n", b, capacity)
		fmt.Println("| offered | answered/s | p50 ms | p99 ms | refused | p50 ms | p99 ms | failed |\n|---|---|---|---|---|---|---|---|")
		best := 0.0
		for _, load := range o.Loads {
			all := b.offer(ctx, load*capacity, o.Lasting)
			answered := float64(len(all.took)) / all.lasted.Seconds()
			best = max(best, answered)
			late := quantile(all.took, 0.99)
			fmt.Printf("| %.0f/s (%g times) | %.0f (%.0f %% of the most) | %.2f | %.2f | %.1f %% | %.2f | %.2f | %d |\n", load*capacity, load, answered, 100*answered/best,
				ms(quantile(all.took, 0.5)), ms(late), 100*float64(len(all.refused))/float64(all.asked()), ms(quantile(all.refused, 0.5)), ms(quantile(all.refused, 0.99)), all.errors)
			switch {
			case all.errors > 0:
				return fmt.Errorf("%d requests were neither answered nor refused, the first: %w", all.errors, all.first)
			case answered < o.Least*best:
				return fmt.Errorf("%g times the capacity: %.0f queries/s are answered, allowed: at least %.0f", load, answered, o.Least*best)
			case o.Within > 0 && late > o.Within:
				return fmt.Errorf("%g times the capacity: 99 of 100 answers come within %v, allowed: %v", load, late, o.Within)
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

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }
