package main

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// outcome is what became of queries that were offered.
type outcome struct {
	mu      sync.Mutex
	took    []time.Duration // of those that were answered, from when they were due
	refused []time.Duration // of those that the node had no place for
	errors  int             // all others
	first   error
	lasted  time.Duration // to the last answer
}

func (o *outcome) add(took time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err == nil:
		o.took = append(o.took, took)
		return
	case errors.Is(err, errRefused):
		o.refused = append(o.refused, took)
		return
	}
	o.errors++
	if o.first == nil {
		o.first = err
	}
}

// merge takes in what became of others.
func (o *outcome) merge(other *outcome) {
	o.took, o.refused = append(o.took, other.took...), append(o.refused, other.refused...)
	o.errors += other.errors
	if o.first == nil {
		o.first = other.first
	}
}

func (o *outcome) asked() int { return len(o.took) + len(o.refused) + o.errors }

// quantile is 0 of nothing.
func quantile(of []time.Duration, q float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return of[int(q*float64(len(of)-1))]
}
