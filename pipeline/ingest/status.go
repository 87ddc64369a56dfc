package ingest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// State is what a partition is doing.
type State string

const (
	Starting  State = "starting"  // looking for where to go on
	Following State = "following" // fetching and committing
	Retrying  State = "retrying"  // the broker or the store does not answer; it goes on by itself
	Stopped   State = "stopped"   // needs an operator
)

// PartitionStatus is the state of an owned partition.
type PartitionStatus struct {
	Partition int
	State     State
	Err       error // why, when Retrying or Stopped
	Next      int64 // end of the chain as far as it is known
}

// board holds what the parts of an ingestor have to say. It is safe for concurrent use.
type board struct {
	mu         sync.Mutex
	joined     bool
	general    map[string]error // part -> what is wrong with it
	partitions map[int]PartitionStatus
}

func newBoard() *board {
	return &board{general: map[string]error{}, partitions: map[int]PartitionStatus{}}
}

// assign forgets the partitions of the last generation of the group.
func (b *board) assign(partitions []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.joined = true
	clear(b.partitions)
	for _, p := range partitions {
		b.partitions[p] = PartitionStatus{Partition: p, State: Starting}
	}
}

func (b *board) set(partition int, state State, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.partitions[partition]
	s.Partition, s.State, s.Err = partition, state, err
	b.partitions[partition] = s
}

// count is how many partitions are in a state.
func (b *board) count(state State) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.partitions {
		if s.State == state {
			n++
		}
	}
	return n
}

func (b *board) moved(partition int, next int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.partitions[partition]
	s.Partition, s.Next = partition, next
	b.partitions[partition] = s
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

func (b *board) status() []PartitionStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.partitions), func(x, y PartitionStatus) int { return x.Partition - y.Partition })
}

func (b *board) ready() error {
	var faults []error
	for _, s := range b.status() {
		if s.Err != nil {
			faults = append(faults, fmt.Errorf("partition %d is %s: %w", s.Partition, s.State, s.Err))
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
