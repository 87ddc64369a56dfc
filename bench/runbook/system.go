package main

import (
	"context"
	"time"
)

// system is an index that a runbook is replayed on, empty at first. One call is made at a time.
type system interface {
	// about says what exactly it is, and what settings of a search it has, the fastest first.
	about() about
	// update carries out an insert, a delete or a replace, and says what that took: until the system has taken it over,
	// which need not mean that searches see it.
	update(ctx context.Context, s *step) (time.Duration, error)
	// settle ends when searches see all updates before it, and says what that took.
	settle(ctx context.Context) (time.Duration, error)
	// search asks all queries at a setting. It returns the tags found, [queries][k] with -1 for none, and the time that
	// took, from the queries in memory to the answers in memory.
	search(ctx context.Context, setting int) (*answers, error)
	usage() (*usage, error)
	// close ends it and removes what it has written.
	close() error
}

type about struct {
	Engine   string   `json:"engine"`
	Version  string   `json:"version"`
	Deletes  string   `json:"deletes"` // how they are done
	Settings []string `json:"settings"`
}

type answers struct {
	found []int32
	took  time.Duration
	how   string // what the system says of its way, "" if nothing
}

// usage is what the processes of a system hold and have used.
type usage struct {
	resident, peak int64 // bytes
	cpu            time.Duration
	queued         time.Duration // ready to run, while others had the cores
}
