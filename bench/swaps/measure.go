package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// measure alternates windows and prints the table. A query that failed is an error.
func measure(ctx context.Context, o options, n *node, p *publisher, c *client, rate float64) error {
	var steady, swaps outcome
	var ratios []float64
	first, before, err := p.made, 0.0, error(nil)
	if before, err = n.metric(ctx, "adastream_query_swaps_total"); err != nil {
		return err
	}
	for range int(o.Duration / o.Window) {
		quiet := c.offer(ctx, rate, o.Window)
		busy, err := swapWhile(ctx, o.Every, p, func() *outcome { return c.offer(ctx, rate, o.Window) })
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(settling):
		}
		ratios = append(ratios, float64(busy.quantile(0.99))/float64(quiet.quantile(0.99)))
		steady.merge(quiet)
		swaps.merge(busy)
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
	}{{"steady", &steady}, {"a swap each " + o.Every.String(), &swaps}} {
		fmt.Printf("| %s | %d | %d | %.2f | %.2f |\n", row.name, len(row.took)+row.errors, row.errors, row.quantile(0.5).Seconds()*1e3, row.quantile(0.99).Seconds()*1e3)
	}
	slices.Sort(ratios)
	fmt.Printf("\np99 with swaps over steady: %.2f; of pairs of windows: median %.2f, %.2f to %.2f; of searches alone, as the node tells: %.2f\n",
		float64(swaps.quantile(0.99))/float64(steady.quantile(0.99)), ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1], own)
	if failed := steady.errors + swaps.errors; failed > 0 {
		return fmt.Errorf("%d queries failed, the first: %w", failed, errors.Join(steady.first, swaps.first))
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
