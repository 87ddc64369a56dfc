package serve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// defaultWait is how long a request waits to be answered as fresh as it asks for, unless it says so itself. Most records are
// searchable sooner after they were produced.
const defaultWait = 3 * time.Second

// freshness is how new an answer has to be. The zero value takes what is there.
type freshness struct {
	MinOffsets   map[string]int64 `json:"min_offsets"`           // partition -> offset: everything before it has to be searchable
	MaxStaleness *float64         `json:"max_staleness_seconds"` // since the node knew that it serves what the channel names
	Wait         *float64         `json:"wait_seconds"`          // for that, at most; 0 does not wait
}

// awaitFresh waits until what is served is fresh enough, and refuses the request, with what is there, if that takes too long. At most as
// many wait here as for a slot: each has read its body. They have no slot, and do not count among those that wait for one, who would be
// refused for them.
func (n *Node) awaitFresh(ctx context.Context, f *freshness) error {
	if len(f.MinOffsets) == 0 && f.MaxStaleness == nil {
		if f.Wait != nil {
			return invalid("wait_seconds: given alone", "beside min_offsets or max_staleness_seconds")
		}
		return nil
	}
	wait, err := n.waitOf(f)
	if err != nil {
		return err
	}
	if s := f.MaxStaleness; s != nil && !(*s > 0) {
		return invalid(fmt.Sprintf("max_staleness_seconds: %v", *s), "more than 0")
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for first := true; ; first = false {
		news := n.news.Next() // before looking, so that nothing is missed
		late, err := n.late(f)
		if late == nil || err != nil {
			return err
		}
		if first {
			defer n.awaiting.Add(-1)
			if most := n.o.MaxWaiting; n.awaiting.Add(1) > int64(most) {
				return overloaded("%d requests wait already for newer records", most)
			}
		}
		select {
		case <-news:
		case <-timeout.C:
			return late
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return late // who waits for as long as a request may take
			}
			return ctx.Err()
		}
	}
}

func (n *Node) waitOf(f *freshness) (time.Duration, error) {
	if f.Wait == nil {
		return min(defaultWait, n.o.Timeout/2), nil
	}
	if most := n.o.Timeout.Seconds(); !(*f.Wait >= 0 && *f.Wait <= most) {
		return 0, invalid(fmt.Sprintf("wait_seconds: %v", *f.Wait), fmt.Sprintf("0 to %v", most))
	}
	return time.Duration(*f.Wait * float64(time.Second)), nil
}

// late says what is missing to be as fresh as f asks for, nil if nothing is.
func (n *Node) late(f *freshness) (*problem, error) {
	snap := n.hold()
	if snap == nil {
		return errNotReady, nil
	}
	defer snap.Release()
	checkpoint := snap.Manifest().Checkpoint
	for _, partition := range slices.Sorted(maps.Keys(f.MinOffsets)) {
		wanted, spec := f.MinOffsets[partition], snap.Spec()
		if p, err := strconv.Atoi(partition); err != nil || !spec.HasPartition(p) || strconv.Itoa(p) != partition {
			return nil, invalid(fmt.Sprintf("min_offsets: %.*q is no partition", 20, partition), fmt.Sprintf("\"0\" to \"%d\"", spec.EndPartition()-1))
		} else if shard := spec.ShardOf(p); shard != snap.index.Shard() {
			return nil, invalid(fmt.Sprintf("min_offsets: %s is a partition of shard %d", partition, shard), fmt.Sprintf("those of shard %d, for which this request is", snap.index.Shard()))
		}
		if wanted < 0 {
			return nil, invalid(fmt.Sprintf("min_offsets.%s: %d", partition, wanted), "0 or more")
		}
		if there := checkpoint[partition]; there < wanted {
			return tooOld(snap, fmt.Sprintf("min_offsets.%s: %d, searchable is what is before %d", partition, wanted, there)), nil
		}
	}
	if f.MaxStaleness != nil {
		switch age, ever := n.confirmed.age(); {
		case !ever:
			return tooOld(snap, fmt.Sprintf("max_staleness_seconds: %v, this node has not seen yet that it serves the newest", *f.MaxStaleness)), nil
		case age.Seconds() > *f.MaxStaleness:
			return tooOld(snap, fmt.Sprintf("max_staleness_seconds: %v, this node saw %.3f s ago that it serves the newest", *f.MaxStaleness, age.Seconds())), nil
		}
	}
	return nil, nil
}

// tooOld is a problem that says what is there.
func tooOld(snap *served, detail string) *problem {
	info := snap.info()
	return &problem{Title: "not as fresh as asked for", Status: http.StatusConflict, Code: codeNotFresh, Detail: detail, Snapshot: &info}
}

// lastTime remembers when something was true last. The zero value is long ago.
type lastTime struct{ at atomic.Int64 } // Unix time in ns

func (l *lastTime) set(at time.Time) { l.at.Store(at.UnixNano()) }

// age is how long ago that was, unknown if it never was, or if the clock was set back since.
func (l *lastTime) age() (age time.Duration, known bool) {
	at := l.at.Load()
	age = time.Since(time.Unix(0, at))
	return age, at != 0 && age >= 0
}
