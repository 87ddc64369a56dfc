package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/adastream/adastream/bench/fleet"
)

// used is the most that the processes of a role took of a machine at a time, and their processor time.
type used struct {
	Resident  int64   `json:"resident"`
	Anonymous int64   `json:"anonymous"` // what no file backs: the kernel cannot drop it
	Mapped    int64   `json:"mapped"`    // of files, scratch files too
	CPU       float64 `json:"cpu_seconds"`
}

// watcher looks at processes now and then, and ends the run when the disk gets full.
type watcher struct {
	dir  string // on the disk
	free int64  // bytes that have to stay free on it

	mu      sync.Mutex
	watched map[int]string // role of a process
	cpu     map[int]float64
	most    map[string]used
	disk    int64 // the most that was not free more than at the beginning
	began   int64
}

func newWatcher(dir string, free int64) (*watcher, error) {
	w := &watcher{dir: dir, free: free, watched: map[int]string{}, cpu: map[int]float64{}, most: map[string]used{}}
	var err error
	w.began, err = w.available()
	return w, err
}

func (w *watcher) available() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(w.dir, &s); err != nil {
		return 0, fmt.Errorf("%s: %w", w.dir, err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}

const lookEvery = 200 * time.Millisecond

// run looks until ctx ends, or fails when there is no room.
func (w *watcher) run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		left, err := w.available()
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.disk = max(w.disk, w.began-left)
		w.mu.Unlock()
		if left < w.free {
			return fmt.Errorf("%s has %d MiB left, of which %d are to stay", w.dir, left>>20, w.free>>20)
		}
		w.look()
	}
}

// look takes what each process holds now. One that has ended keeps what was seen.
func (w *watcher) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	sums := map[string]used{}
	for pid, role := range w.watched {
		all, _, anonymous, err := fleet.Resident(pid)
		if err != nil || all == 0 {
			continue
		}
		if cpu, err := fleet.CPU(pid); err == nil {
			w.cpu[pid] = cpu.Seconds()
		}
		s := sums[role]
		sums[role] = used{s.Resident + all, s.Anonymous + anonymous, s.Mapped + all - anonymous, 0}
	}
	for role, now := range sums {
		m := w.most[role]
		w.most[role] = used{max(m.Resident, now.Resident), max(m.Anonymous, now.Anonymous), max(m.Mapped, now.Mapped), 0}
	}
}

// watch looks at a process from now on.
func (w *watcher) watch(role string, p *fleet.Process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watched[p.Pid()] = role
}

// roles is the most of each role since the last time, and begins anew.
func (w *watcher) roles() map[string]used {
	w.look()
	w.mu.Lock()
	defer w.mu.Unlock()
	most := maps.Clone(w.most)
	for pid, role := range w.watched {
		m := most[role]
		m.CPU += w.cpu[pid]
		most[role] = m
	}
	clear(w.watched)
	clear(w.cpu)
	clear(w.most)
	return most
}

func printRoles(roles map[string]used) {
	for _, role := range slices.Sorted(maps.Keys(roles)) {
		u := roles[role]
		fmt.Printf("  %-9s most: %d MiB resident, %d anonymous, %d of files; %.0f CPU s\n", role, u.Resident>>20, u.Anonymous>>20, u.Mapped>>20, u.CPU)
	}
}
