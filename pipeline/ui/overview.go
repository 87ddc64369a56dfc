package ui

import (
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/schemas"
)

const overviewSwaps = 20 // lines of the timeline

type overviewPage struct {
	Reasons    []reason
	Health     level // of the worst reason
	Tiles      []tile
	Events     []event
	Partitions []partition
	More       int  // partitions that are not listed
	Lag        bool // whether the process knows how far behind the log it is
}

// tile is one number that is looked at first.
type tile struct {
	Name, Value, Unit string
	Level             level
	Notes             []string
}

// partition is where the log is searchable up to.
type partition struct {
	Number  int
	Next    int64
	Waiting time.Duration // since the oldest commit that no generation has; 0 for none
	Lag     *int64        // offsets that no commit has
}

func (u *UI) overview(w http.ResponseWriter, r *http.Request) {
	s, err := u.reader.now(r.Context())
	v, now := u.o.Node.View(), time.Now()
	late := u.history.late()
	p := &overviewPage{Reasons: reasonsOf(v, s, late, u.history.stopped(), now), Tiles: tilesOf(v, late, now), Events: eventsOf(v.Swaps)}
	for _, r := range p.Reasons {
		p.Health = max(p.Health, r.Level)
	}
	p.listPartitions(v.Spec.TopicPartitionsOf(u.o.Log.Shard()), v, s, u.history.behind(), now)
	u.show(w, r, http.StatusOK, "overview", p.Health.Word(), v, err, p) // the title tells in the bar of tabs
}

func tilesOf(v serve.View, late sample, now time.Time) []tile {
	if v.Manifest == nil {
		return []tile{{Name: "Freshness", Value: "\u2013"}, {Name: "Recall@10", Value: "\u2013"}, {Name: "Search p50", Value: "\u2013"}, {Name: "Rows", Value: "\u2013"}}
	}
	return []tile{freshTile(v, now), recallTile(v), speedTile(late), rowsTile(v)}
}

func freshTile(v serve.View, now time.Time) tile {
	t := tile{Name: "Freshness", Value: "\u2013", Notes: []string{"From produced to searchable"}}
	for _, s := range v.Swaps {
		if s.Freshness > 0 {
			t.Value = took(s.Freshness)
			break
		}
	}
	if v.Manifest.Produced > 0 {
		t.Notes = append(t.Notes, "Newest record "+ago(now.Sub(time.UnixMilli(v.Manifest.Produced)))+" ago")
	}
	return t
}

func recallTile(v serve.View) tile {
	t := tile{Name: "Recall@10", Value: "exact"}
	objective := v.Spec.Defaults.TargetRecall
	q := v.Manifest.Quality
	switch {
	case v.Manifest.Model == nil:
		t.Notes = []string{"Too few rows for a model; every search is exact"}
		return t
	case v.Live != nil:
		t.Value = recallText(v.Live.Recall)
		t.Notes = append(t.Notes, fmt.Sprintf("Recent answers, %s to %s", recallText(v.Live.Low), recallText(v.Live.High)))
		if v.Live.High < objective {
			t.Level = bad
		}
	case q != nil:
		t.Value = recallText(q.Recall)
	default:
		t.Value = "\u2013"
	}
	t.Notes = append(t.Notes, "Objective "+recallText(objective))
	if q != nil {
		t.Notes = append(t.Notes, fmt.Sprintf("Builder: %s, from %s queries", recallText(q.Recall), count(q.Queries)))
	}
	return t
}

func speedTile(late sample) tile {
	t := tile{Name: "Search p50", Value: milliseconds(late.p50)}
	if !math.IsNaN(late.p99) {
		t.Notes = append(t.Notes, "p99 "+milliseconds(late.p99)+" in the last minute")
	} else {
		t.Notes = append(t.Notes, "No searches in the last minute")
	}
	if !math.IsNaN(late.searches) {
		t.Notes = append(t.Notes, number(late.searches)+" searches per second")
	}
	return t
}

func rowsTile(v serve.View) tile {
	m := v.Manifest
	t := tile{Name: "Rows", Value: count(m.LiveRows), Notes: []string{fmt.Sprintf("Generation %s", count(m.Generation)),
		fmt.Sprintf("%s, %s, %s", plural(len(m.Chunks), "chunk"), plural(len(m.Segments), "delta segment"), plural(int(m.DeadRows), "dead row"))}}
	if v.Epoch != "" {
		t.Notes[0] += " of epoch " + v.Epoch
	}
	return t
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return count(n) + " " + what + "s"
}

// event is a line of the timeline.
type event struct {
	serve.Swap
	Name string // of what was done
	Note string // what changed and why
	By   string // operator, "" for a builder
}

func eventsOf(swaps []serve.Swap) []event {
	var events []event
	for _, s := range swaps[:min(overviewSwaps, len(swaps))] {
		events = append(events, eventOf(s))
	}
	return events
}

func eventOf(s serve.Swap) event {
	e := event{Swap: s}
	switch s.Kind {
	case serve.KindStart:
		e.Name, e.Note = "start", "first generation of this process"
	case serve.KindBack:
		e.Name, e.Note = "back", "to an older generation"
	case serve.KindEpoch:
		e.Name, e.Note = "encoder", "to the root index"
		if s.Epoch != "" {
			e.Note = "to epoch " + s.Epoch
		}
	case commit.KindRetrain:
		e.Name, e.Note = "retrain", retrained[s.Model]
	case commit.KindRewrite:
		e.Name, e.Note = "rewrite", "all chunks rewritten"
	default:
		e.Name = "delta"
		switch {
		case s.Swaps > 1:
			e.Note = plural(s.Swaps, "generation")
		case s.NewParts > 0:
			e.Note = "new rows"
		default:
			e.Note = "no new rows"
		}
		if s.Compactions > 0 {
			e.Note += ", " + plural(s.Compactions, "compaction")
		}
	}
	if !s.Record.ByOperator() {
		return e
	}
	if s.Kind == commit.KindDelta && s.NewParts == 0 {
		e.Name, e.Note = "moved", "the same rows"
	}
	if s.Record.Pinned {
		e.Note += ", pinned"
	}
	e.Note += ": " + plain(s.Record.Reason, 200)
	e.By = s.Record.By
	return e
}

// retrained says what of a model was made anew.
var retrained = map[string]string{
	"first": "first model", "full": "new model", "lists": "new lists", "codes": "new codes",
}

func (p *overviewPage) listPartitions(partitions []int, v serve.View, s state, lags map[int]int64, now time.Time) {
	if v.Manifest == nil {
		return
	}
	p.Lag, p.More = len(lags) > 0, max(0, len(partitions)-pagePartitions)
	for _, i := range partitions[:len(partitions)-p.More] {
		line := partition{Number: i, Next: commit.CheckpointOf(v.Manifest, i)}
		if since, ok := s.Waiting[i]; ok {
			line.Waiting = max(1, now.Sub(since))
		}
		if lag, ok := lags[i]; ok {
			line.Lag = &lag
		}
		p.Partitions = append(p.Partitions, line)
	}
}

// held reports whether a generation is held back by the quality gate.
func held(m *schemas.Manifest) bool { return m != nil && m.Quality != nil && !m.Quality.Promoted }
