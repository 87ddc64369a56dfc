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
func (l level) Word() string { return [...]string{"healthy", "look at this", "not healthy"}[l] }

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
		return &reason{Level: warn, Title: fmt.Sprintf("Queries should go to other nodes: generation %s is older than --max-behind allows", count(v.Manifest.Generation)),
			Why: v.Ready.Error(), Do: []string{"Wait, if the newest one is being fetched: then --max-behind is shorter than that takes."}}
	}
	return &reason{Level: bad, Title: "No query is answered: nothing is promoted yet", Why: v.Ready.Error(),
		Do:      []string{"Rows have to be produced, an ingestor to commit them, a builder to publish them. This says how far they came:"},
		Command: `adastream doctor --store="$STORE" --brokers="$BROKERS"`}
}

func stale(v serve.View) *reason {
	if v.Stale == nil {
		return nil
	}
	r := &reason{Level: bad, Why: v.Stale.Error()}
	if v.Manifest == nil {
		r.Title = "No query is answered"
	} else {
		r.Title = fmt.Sprintf("Stale: generation %s goes on being served", count(v.Manifest.Generation))
	}
	switch {
	case errors.Is(v.Stale, schemas.ErrCorrupt), errors.Is(v.Stale, store.ErrNotFound):
		what := "damaged"
		if errors.Is(v.Stale, store.ErrNotFound) {
			what = "gone"
		}
		r.Title += ", an object of the newest one is " + what
		r.Do = []string{"Find out what else is. Then bring the object back, or go back to a generation without it."}
		r.Command = `adastream verify --store="$STORE"`
	case errors.Is(v.Stale, commit.ErrReplaced):
		r.Title += ", its index was removed or made anew"
		r.Do = []string{"If nobody meant to, put back what is left of it. An index of the same spec is taken once its builder promotes; for one of another spec, restart the node."}
	case errors.Is(v.Stale, serve.ErrMemory):
		r.Title += ", there is no memory for the newest one"
		r.Do = []string{"Raise --memory-bytes, or the limit of the container that it is told from; or restart the node, which then takes the newest one alone."}
	case errors.Is(v.Stale, store.ErrDiskFull):
		r.Title += ", there is no room on the disk of its cache"
		r.Do = []string{"Make room, or give --cache-dir a larger disk: the node tries again by itself. Two generations have to fit."}
	case v.Manifest == nil:
		r.Do = []string{"The node tries again by itself. Look whether the store answers from here:"}
		r.Command = `adastream doctor --store="$STORE" --brokers="$BROKERS"`
	default:
		r.Title += ", the newest one cannot be loaded"
		r.Do = []string{"The node tries again by itself. Look whether the store answers from here:"}
		r.Command = `adastream doctor --store="$STORE" --brokers="$BROKERS"`
	}
	return r
}

func partitionsHaveStopped(s stops) *reason {
	if s.partitions == 0 {
		return nil
	}
	return &reason{Level: bad, Title: fmt.Sprintf("%s stopped: nothing of what is produced there becomes searchable", plural(s.partitions, "partition")),
		Why:     "The ingestor of this process will not go on without an operator: " + strings.Join(s.why, ", ") + ". Its log and its /readyz have the error of each.",
		Do:      []string{"Messages that Kafka has lost are a gap, nearly all rows refused a flood; corrupt is what the store should not hold. This checks the log against the index:"},
		Command: `adastream doctor --store="$STORE" --brokers="$BROKERS"`}
}

func recallLow(v serve.View) *reason {
	if v.Live == nil || v.Live.High >= v.Spec.Defaults.TargetRecall {
		return nil
	}
	return &reason{Level: bad, Title: "Recall of late answers is below the objective",
		Why: fmt.Sprintf("%s, from %s to %s; the objective is %s. Queries that ask for less, by budget or plan, count too.", recallText(v.Live.Recall), recallText(v.Live.Low), recallText(v.Live.High), recallText(v.Spec.Defaults.TargetRecall)),
		Do:  []string{"If it began with a generation, go back to the one before on the page Snapshots. If it crept in, look at drift there: queries may have left what the model was made for."}}
}

func againstGate(v serve.View) *reason {
	if !held(v.Manifest) {
		return nil
	}
	return &reason{Level: warn, Title: fmt.Sprintf("Generation %s is served against the quality gate", count(v.Manifest.Generation)), Why: v.Manifest.Quality.Reason,
		Do: []string{"An operator promoted it. The builder measures again with its next rewrite."}}
}

func heldBack(v serve.View, s state) *reason {
	if !held(s.Newest) || v.Manifest != nil && s.Newest.Quality.Measured <= v.Manifest.Generation {
		return nil
	}
	return &reason{Level: bad, Title: fmt.Sprintf("Generation %s is held back by the quality gate", count(s.Newest.Generation)), Why: s.Newest.Quality.Reason,
		Do:      []string{"What is served gets no newer rows until a generation passes. Compare the two on the page Snapshots; if it is good all the same, promote it."},
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
			return &reason{Level: warn, Title: "Messages came, and no row of them is in the index", Why: "They were refused, or only deleted rows.",
				Do: []string{"See the page Quarantine for what was refused and why."}}
		}
	}
	return nil
}

func overloaded(late sample) *reason {
	if !(late.shed > 0) {
		return nil
	}
	r := &reason{Level: warn, Title: fmt.Sprintf("%s given up in the last minute", plural(int(late.shed), "request")),
		Why: "The queue was full, no slot became free in time, or they took too long; " + number(late.searches) + " searches a second were answered.",
		Do:  []string{"Run more query nodes, or let queries get cheaper plans under load: --degrade-to. A few that ask for much can be bounded by --timeout."}}
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
		Why: fmt.Sprintf("partition %d has rows that no generation has; %s wait", at, plural(len(s.Waiting), "partition")),
		Do:  []string{"See whether a builder runs, and what it logs."}}
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
		Why:     fmt.Sprintf("by %s, %s: %s", plain(c.By, 100), stamp(c.Created), plain(c.Reason, 200)),
		Do:      []string{"Builders promote nothing until it is unpinned."},
		Command: `adastream snapshot unpin --store="$STORE"`}
}
