package ui

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// level is how bad something is.
type level int

const (
	good level = iota
	warn
	bad
)

func (l level) String() string { return [...]string{"good", "warn", "bad"}[l] }

// Word is the level in one that is read without colours.
func (l level) Word() string { return [...]string{"Healthy", "Needs attention", "Unhealthy"}[l] }

// reason is why all is not well, and what to do.
type reason struct {
	Level   level
	Title   string
	Why     string
	Do      []string // in words
	Command string   // to copy
}

const (
	waitWarn = 15 * time.Second // that a commit waits for a generation: builders publish four times a second
	waitBad  = 2 * time.Minute

	shedBad = 0.01 // of the searches that were answered
)

// reasonsOf says what is wrong, the worst first.
func reasonsOf(v serve.View, s state, late sample, ingest stops, now time.Time) []reason {
	var all []reason
	add := func(r *reason) {
		if r != nil {
			all = append(all, *r)
		}
	}
	add(unready(v))
	add(stale(v))
	add(partitionsHaveStopped(ingest))
	add(recallLow(v))
	add(againstGate(v))
	add(heldBack(v, s))
	add(noRows(v))
	add(overloaded(late))
	add(waitingLong(s, now))
	add(pinned(s))
	var sorted []reason
	for _, l := range []level{bad, warn} {
		for _, r := range all {
			if r.Level == l {
				sorted = append(sorted, r)
			}
		}
	}
	return sorted
}

func unready(v serve.View) *reason {
	switch {
	case v.Ready == nil || v.Stale != nil: // then stale says more
		return nil
	case v.Manifest != nil:
		return &reason{Level: warn, Title: fmt.Sprintf("Not ready: generation %s is older than --max-behind allows", count(v.Manifest.Generation)),
			Why: v.Ready.Error(), Do: []string{"If the newest generation is still being fetched, wait: --max-behind is then shorter than a fetch takes."}}
	}
	return &reason{Level: bad, Title: "Not serving: no generation is promoted yet", Why: v.Ready.Error(),
		Do:      []string{"Rows have to be produced, committed by an ingestor and published by a builder. To see how far they have come:"},
		Command: `adastream doctor --store="$STORE" --brokers="$BROKERS"`}
}

func stale(v serve.View) *reason {
	if v.Stale == nil {
		return nil
	}
	r := &reason{Level: bad, Why: v.Stale.Error()}
	if v.Manifest == nil {
		r.Title = "Not serving"
	} else {
		r.Title = fmt.Sprintf("Stale: still serving generation %s", count(v.Manifest.Generation))
	}
	switch {
	case errors.Is(v.Stale, schemas.ErrCorrupt), errors.Is(v.Stale, store.ErrNotFound):
		what := "damaged"
		if errors.Is(v.Stale, store.ErrNotFound) {
			what = "missing"
		}
		r.Title += "; an object of the newest generation is " + what
		r.Do = []string{"Find out what else is damaged or missing. Then restore the object, or roll back to a generation without it."}
		r.Command = `adastream verify --store="$STORE"`
	case errors.Is(v.Stale, commit.ErrReplaced):
		r.Title += "; the index was removed or recreated"
		r.Do = []string{"If that was not intended, restore what is left of it. An index of the same spec is served once its builder promotes; for one of another spec, restart the node."}
	case errors.Is(v.Stale, serve.ErrMemory):
		r.Title += "; not enough memory for the newest generation"
		r.Do = []string{"Raise --memory-bytes, or the container limit that it defaults to; or restart the node, which then loads the newest generation alone."}
	case errors.Is(v.Stale, store.ErrDiskFull):
		r.Title += "; the disk of its cache is full"
		r.Do = []string{"Free some space, or give --cache-dir a larger disk. The node retries by itself. Two generations have to fit."}
	case v.Manifest == nil:
		r.Do = []string{"The node retries by itself. Check whether the store answers from here:"}
		r.Command = `adastream doctor --store="$STORE" --brokers="$BROKERS"`
	default:
		r.Title += "; the newest generation cannot be loaded"
		r.Do = []string{"The node retries by itself. Check whether the store answers from here:"}
		r.Command = `adastream doctor --store="$STORE" --brokers="$BROKERS"`
	}
	return r
}

func partitionsHaveStopped(s stops) *reason {
	if s.partitions == 0 {
		return nil
	}
	return &reason{Level: bad, Title: fmt.Sprintf("%s stopped: nothing produced there becomes searchable", plural(s.partitions, "partition")),
		Why:     "The ingestor of this process needs an operator to go on: " + strings.Join(s.why, ", ") + ". Its log and its /readyz have the error of each partition.",
		Do:      []string{"Gap: Kafka has lost messages. Flood: nearly all rows were refused. Corrupt: the store holds what it should not. To check the log against the index:"},
		Command: `adastream doctor --store="$STORE" --brokers="$BROKERS"`}
}

func recallLow(v serve.View) *reason {
	if v.Live == nil || v.Live.High >= v.Spec.Defaults.TargetRecall {
		return nil
	}
	return &reason{Level: bad, Title: "Recall of recent answers is below the objective",
		Why: fmt.Sprintf("%s (%s to %s); the objective is %s. Queries that ask for less, by budget or plan, count too.", recallText(v.Live.Recall), recallText(v.Live.Low), recallText(v.Live.High), recallText(v.Spec.Defaults.TargetRecall)),
		Do:  []string{"If it dropped with a generation, roll back to the one before on the Snapshots page. If it fell slowly, look at drift there: queries may no longer resemble the rows that the model was made for."}}
}

func againstGate(v serve.View) *reason {
	if !held(v.Manifest) {
		return nil
	}
	return &reason{Level: warn, Title: fmt.Sprintf("Generation %s is served despite the quality gate", count(v.Manifest.Generation)), Why: v.Manifest.Quality.Reason,
		Do: []string{"An operator promoted it. The builder measures again at its next rewrite."}}
}

func heldBack(v serve.View, s state) *reason {
	if !held(s.Newest) || v.Manifest != nil && s.Newest.Quality.Measured <= v.Manifest.Generation {
		return nil
	}
	return &reason{Level: bad, Title: fmt.Sprintf("Generation %s is held back by the quality gate", count(s.Newest.Generation)), Why: s.Newest.Quality.Reason,
		Do:      []string{"No newer rows are served until a generation passes. Compare the two on the Snapshots page; if this one is good enough, promote it."},
		Command: fmt.Sprintf(`adastream snapshot promote %d --store="$STORE" --reason="..."`, s.Newest.Generation)}
}

// noRows is for who has produced rows and finds none: all of them refused looks like an index that waits for its first.
func noRows(v serve.View) *reason {
	m := v.Manifest
	if m == nil || m.LiveRows > 0 || m.DeadRows > 0 || len(m.Segments) > 0 {
		return nil
	}
	for _, next := range m.Checkpoint {
		if next > 0 {
			return &reason{Level: warn, Title: "Messages arrived, but the index has no rows", Why: "Their rows were refused, or were deletes only.",
				Do: []string{"See the Quarantine page for what was refused and why."}}
		}
	}
	return nil
}

func overloaded(late sample) *reason {
	if !(late.shed > 0) {
		return nil
	}
	r := &reason{Level: warn, Title: fmt.Sprintf("%s shed in the last minute", plural(int(late.shed), "request")),
		Why: "The queue was full, no slot became free in time, or they timed out; " + number(late.searches) + " searches per second were answered.",
		Do:  []string{"Run more query nodes, or allow cheaper plans under load with --degrade-to. If a few queries are expensive, bound them with --timeout."}}
	if answered := late.searches * lateSamples * sampleEvery.Seconds(); late.shed > shedBad*answered {
		r.Level = bad
	}
	return r
}

func waitingLong(s state, now time.Time) *reason {
	oldest, at := time.Duration(0), 0
	for p, since := range s.Waiting {
		if d := now.Sub(since); d > oldest {
			oldest, at = d, p
		}
	}
	if oldest < waitWarn {
		return nil
	}
	r := &reason{Level: warn, Title: fmt.Sprintf("Commits have been waiting for the builder for %s", ago(oldest)),
		Why: fmt.Sprintf("Partition %d has rows that no generation has; %s waiting", at, plural(len(s.Waiting), "partition")),
		Do:  []string{"Check that a builder is running, and what it logs."}}
	if oldest >= waitBad {
		r.Level = bad
	}
	return r
}

func pinned(s state) *reason {
	if s.Served == nil || !s.Served.Own.Pinned {
		return nil
	}
	c := s.Served.Own
	return &reason{Level: warn, Title: fmt.Sprintf("Pinned to generation %s", count(c.Generation)),
		Why:     fmt.Sprintf("By %s, %s: %s", plain(c.By, 100), stamp(c.Created), plain(c.Reason, 200)),
		Do:      []string{"Builders promote nothing until it is unpinned."},
		Command: `adastream snapshot unpin --store="$STORE"`}
}
