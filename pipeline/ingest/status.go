package ingest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// state is what a partition is doing.
type state string

const (
	starting  state = "starting"  // looking for where to go on
	following state = "following" // fetching and committing
	retrying  state = "retrying"  // the broker or the store does not answer; it goes on by itself
	stopped   state = "stopped"   // needs an operator
)

// partitionStatus is the state of an owned partition.
type partitionStatus struct {
	partition int
	state     state
	err       error // why, when retrying or stopped
}

// board holds what the parts of an ingestor have to say. It is safe for concurrent use.
type board struct {
	mu         sync.Mutex
	joined     bool
	general    map[string]error // part -> what is wrong with it
	partitions map[int]partitionStatus
}

func newBoard() *board {
	return &board{general: map[string]error{}, partitions: map[int]partitionStatus{}}
}

// assign forgets the partitions of the last generation of the group.
func (b *board) assign(partitions []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.joined = true
	clear(b.partitions)
	for _, p := range partitions {
		b.partitions[p] = partitionStatus{partition: p, state: starting}
	}
}

func (b *board) set(partition int, to state, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.partitions[partition]
	s.partition, s.state, s.err = partition, to, err
	b.partitions[partition] = s
}

// count is how many partitions are in a state.
func (b *board) count(in state) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.partitions {
		if s.state == in {
			n++
		}
	}
	return n
}

// say notes what is wrong with a part that is not a partition; nil clears it.
func (b *board) say(part string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		delete(b.general, part)
	} else {
		b.general[part] = err
	}
}

// status is the state of the owned partitions, ascending.
func (b *board) status() []partitionStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.partitions), func(x, y partitionStatus) int { return x.partition - y.partition })
}

// stopped is why partitions need an operator.
func (b *board) stopped() map[int]error {
	faults := map[int]error{}
	for _, s := range b.status() {
		if s.state == stopped {
			faults[s.partition] = s.err
		}
	}
	return faults
}

func (b *board) ready() error {
	var faults []error
	for _, s := range b.status() {
		if s.err != nil {
			faults = append(faults, fmt.Errorf("partition %d is %s: %w", s.partition, s.state, s.err))
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, part := range slices.Sorted(maps.Keys(b.general)) {
		faults = append(faults, fmt.Errorf("%s: %w", part, b.general[part]))
	}
	if !b.joined {
		faults = append(faults, errors.New("not in the consumer group yet"))
	}
	return errors.Join(faults...)
}
