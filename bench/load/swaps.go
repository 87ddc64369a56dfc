package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

const (
	settling = 2 * time.Second // the time after a window with swaps
	trials   = 8               // at most, to find how many queries make a load
	near     = 0.01            // how far from it a trial may be
)

// swaps alternates windows and prints a table. A query that failed is an error.
type swaps struct {
	Duration     time.Duration `help:"Time with swaps; as long is measured without." default:"10m"`
	Window       time.Duration `help:"Of one window, with swaps or without." default:"20s"`
	Every        time.Duration `help:"Time between two swaps." default:"1s"`
	RewriteEvery int           `help:"Swaps from one that exchanges everything to the next; 0 is never." default:"10"`
	Load         float64       `help:"Share of the time that queries without swaps keep the processors busy: those of the node, the client and the kernel." default:"0.8"`
}

func (o *swaps) Run(ctx context.Context, index *indexed) error {
	if o.Window < o.Every || o.Duration < o.Window || o.Every <= 0 || !(o.Load > 0 && o.Load < 1) {
		return fmt.Errorf("duration %v, window %v, every %v, load %v: must be positive, the load below 1, and duration >= window >= every", o.Duration, o.Window, o.Every, o.Load)
	}
	return index.with(ctx, o.RewriteEvery, nil, nil, func(b *bench) error {
		capacity, err := b.capacity(ctx)
		if err != nil {
			return err
		}
		rate, share, err := o.rate(ctx, b.client, capacity)
		if err != nil {
			return err
		}
		fmt.Printf("%s; %.0f queries/s at most over %d connections; offered: %.0f, which keep the processors busy for %.0f %% of the time\n", b, capacity, waiting, rate, 100*share)
		return o.measure(ctx, b.node, b.publisher, b.client, rate)
	})
}

// rate is how many queries a second keep the processors as busy as they are to be, and how busy they do. A share of the most that the node
// answers would not: where it has to wait for queries, each takes more than where they wait for it.
func (o *swaps) rate(ctx context.Context, c *client, capacity float64) (rate, share float64, err error) {
	rate, share = o.Load*capacity, o.Load
	for range trials {
		rate *= o.Load / share
		idle, all, err := processors()
		if err != nil {
			return 0, 0, err
		}
		if offered := c.offer(ctx, rate, trial); offered.errors > 0 {
			return 0, 0, offered.first
		}
		idleNow, allNow, err := processors()
		if err != nil {
			return 0, 0, err
		}
		if share = 1 - (idleNow-idle)/(allNow-all); math.Abs(share-o.Load) < near {
			break
		}
	}
	return rate, share, nil
}

// processors is how many seconds all of them have been idle, and how many in all.
func processors() (idle, all float64, err error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, 0, err
	}
	stat, err := proc.Stat()
	if err != nil {
		return 0, 0, err
	}
	c := stat.CPUTotal
	idle = c.Idle + c.Iowait
	return idle, idle + c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal, nil
}

func (o *swaps) measure(ctx context.Context, n *node, p *publisher, c *client, rate float64) error {
	var steady, busy outcome
	var ratios []float64
	first, before, err := p.made, 0.0, error(nil)
	if before, err = n.metric(ctx, "adastream_query_swaps_total"); err != nil {
		return err
	}
	for range int(o.Duration / o.Window) {
		quiet := c.offer(ctx, rate, o.Window)
		with, err := swapWhile(ctx, o.Every, p, func() *outcome { return c.offer(ctx, rate, o.Window) })
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(settling):
		}
		ratios = append(ratios, float64(quantile(with.took, 0.99))/float64(quantile(quiet.took, 0.99)))
		steady.merge(quiet)
		busy.merge(with)
	}
	after, err := n.metric(ctx, "adastream_query_swaps_total")
	if err != nil {
		return err
	}
	own, err := n.metric(ctx, "adastream_query_swap_p99_ratio")
	if err != nil {
		return err
	}
	fmt.Printf("%d swaps promoted, %.0f taken in\n\n| | queries | errors | p50 ms | p99 ms |\n|---|---|---|---|---|\n", p.made-first, after-before)
	for _, row := range []struct {
		name string
		*outcome
	}{{"steady", &steady}, {"a swap each " + o.Every.String(), &busy}} {
		fmt.Printf("| %s | %d | %d | %.2f | %.2f |\n", row.name, row.asked(), row.errors+len(row.refused), quantile(row.took, 0.5).Seconds()*1e3, quantile(row.took, 0.99).Seconds()*1e3)
	}
	slices.Sort(ratios)
	fmt.Printf("\np99 with swaps over steady: %.2f; of pairs of windows: median %.2f, %.2f to %.2f; of searches alone, as the node tells: %.2f\n",
		float64(quantile(busy.took, 0.99))/float64(quantile(steady.took, 0.99)), ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1], own)
	if failed := steady.errors + len(steady.refused) + busy.errors + len(busy.refused); failed > 0 {
		return fmt.Errorf("%d queries failed, the first: %w", failed, cmp.Or(steady.first, busy.first, errRefused))
	}
	return nil
}

// swapWhile promotes a generation at each tick for as long as do runs.
func swapWhile(ctx context.Context, every time.Duration, p *publisher, do func() *outcome) (*outcome, error) {
	done := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if err := p.next(ctx); err != nil {
				failed <- err
				return
			}
			select {
			case <-tick.C:
			case <-done:
				failed <- nil
				return
			}
		}
	}()
	o := do()
	close(done)
	return o, <-failed
}

// metric reads one that has no labels.
func (n *node) metric(ctx context.Context, name string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.ops+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("the node has no metric %s", name)
}
