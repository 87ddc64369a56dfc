package ui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/serve"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

type snapshotsPage struct {
	Lines []snapshotLine
	Older int64 // the page before begins before this generation; 0 for none
	First bool  // whether this is the newest page
	Shown *generationPart
}

// snapshotLine is one generation of the list.
type snapshotLine struct {
	*schemas.Manifest
	Change *commit.Change // from the one before that is kept
	Kind   string
	Size   commit.Size
	Served bool
	Held   bool
	Before int64 // the one that Change is from, 0 for none
}

func (u *UI) snapshots(w http.ResponseWriter, r *http.Request) {
	s, fault := u.reader.now(r.Context())
	v, p := u.o.Node.View(), &snapshotsPage{First: true}
	before := int64(1)
	if s.Newest != nil {
		before = s.Newest.Generation + 1
	}
	if text := r.URL.Query().Get("before"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			u.missing(w, r, fmt.Sprintf("before: %q, allowed: a generation", plain(text, 40)))
			return
		}
		p.First, before = n >= before, min(n, before)
	}
	if fault == nil {
		fault = u.list(r.Context(), s, v, p, before)
	}
	if v.Manifest != nil {
		p.Shown = u.generationOf(v, s, v.Manifest)
	}
	u.show(w, r, http.StatusOK, "snapshots", "Snapshots", v, fault, p)
}

// list reads the generations before one.
func (u *UI) list(ctx context.Context, s state, v serve.View, p *snapshotsPage, before int64) (err error) {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	index, kept := s.index(u.o.Log), s.Kept
	if !p.First {
		if kept, err = index.Kept(ctx, before, pageRows+1); err != nil {
			return err
		}
	}
	manifests, err := u.reader.manifestsOf(ctx, index, kept)
	if err != nil {
		return err
	}
	for i, m := range manifests[:min(pageRows, len(manifests))] {
		if m == nil {
			continue
		}
		var from *schemas.Manifest
		if i+1 < len(manifests) {
			from = manifests[i+1]
		}
		p.Lines = append(p.Lines, lineOf(v, from, m))
	}
	if len(kept) > pageRows {
		p.Older = kept[pageRows-1]
	}
	return nil
}

func lineOf(v serve.View, from, m *schemas.Manifest) snapshotLine {
	l := snapshotLine{Manifest: m, Size: commit.SizeOf(m), Served: v.Manifest != nil && v.Manifest.Generation == m.Generation, Held: held(m)}
	if from != nil {
		l.Change, l.Before = commit.Changed(from, m), from.Generation
		l.Kind = l.Change.Kind()
	}
	return l
}

// generation is the page of one.
func (u *UI) generation(w http.ResponseWriter, r *http.Request) {
	s, fault := u.reader.now(r.Context())
	v := u.o.Node.View()
	m, err := u.chosen(r, s, r.PathValue("generation"))
	switch {
	case errors.Is(err, store.ErrNotFound):
		u.missing(w, r, fmt.Sprintf("Generation %s does not exist or was collected", plain(r.PathValue("generation"), 40)))
		return
	case err != nil:
		u.show(w, r, http.StatusOK, "generation", "Generation", v, err, nil)
		return
	}
	u.show(w, r, http.StatusOK, "generation", fmt.Sprintf("Generation %d", m.Generation), v, fault, u.generationOf(v, s, m))
}

// chosen reads the generation that a request names. If there is none, the error wraps store.ErrNotFound.
func (u *UI) chosen(r *http.Request, s state, text string) (*schemas.Manifest, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return nil, store.ErrNotFound
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeWait)
	defer cancel()
	index := s.index(u.o.Log)
	kept, err := index.Kept(ctx, n+1, 1) // one that is remembered may have been collected
	if err != nil {
		return nil, err
	}
	if len(kept) == 0 || kept[0] != n {
		return nil, store.ErrNotFound
	}
	return u.reader.manifest(ctx, index, n)
}

// generationPart is all about one generation.
type generationPart struct {
	*schemas.Manifest
	Size   commit.Size
	Served bool
	Held   bool
	Plans  *paretoChart
	Lists  *histogram // only of the generation that is served
	Drift  []driftLevel
	Moves  []move
	Admin  bool   // whether moves can be made here
	Epoch  string // that is served: its generations are moved in its own store
}

// driftLevel is how a level of the ladder did when the model was made, and how it does with rows that came since.
type driftLevel struct {
	Dims              int
	Coarse, CoarseNow *float64 // error that centroids leave
	Codes, CodesNow   *float64 // that codes leave of that
	Prefix, Chance    *float64 // recall@10 of exact search on these dimensions, and on as many drawn at random
	Level             level
}

// move is what can be done to the channel from a page.
type move struct {
	commit.Move
	Label, Title, Explain, Command string
}

func (u *UI) generationOf(v serve.View, s state, m *schemas.Manifest) *generationPart {
	g := &generationPart{Manifest: m, Size: commit.SizeOf(m), Served: v.Manifest != nil && v.Manifest.Generation == m.Generation, Held: held(m),
		Plans: paretoOf(m.Plans, v.Spec.Defaults.TargetRecall), Drift: driftOf(v.Spec, m), Admin: v.Admin, Epoch: v.Epoch}
	if g.Served {
		g.Lists = u.listsOf(m)
	}
	g.Moves = movesOf(v, s, m)
	return g
}

// drawn is the histogram of one generation. Safe for concurrent use.
type drawn struct {
	mu    sync.Mutex
	of    *schemas.Manifest
	lists *histogram
}

// listsOf draws the lists of the generation that is served, once; nil if that is another one by now.
func (u *UI) listsOf(m *schemas.Manifest) *histogram {
	u.drawn.mu.Lock()
	defer u.drawn.mu.Unlock()
	if u.drawn.of != m {
		of, lengths := u.o.Node.ListLengths()
		u.drawn.of, u.drawn.lists = of, histogramOf(lengths)
	}
	if u.drawn.of != m {
		return nil
	}
	return u.drawn.lists
}

// movesOf says what can be done to the channel with a generation.
func movesOf(v serve.View, s state, m *schemas.Manifest) []move {
	if s.Served == nil || v.Epoch != "" {
		return nil
	}
	now, n := s.Served.Own, m.Generation
	command := func(verb string) string {
		return fmt.Sprintf(`adastream snapshot %s %d --store="$STORE" --reason="..."`, verb, n)
	}
	at := func(verb commit.Verb) commit.Move { return commit.Move{Verb: verb, Generation: n} }
	var moves []move
	if now.Generation != n || now.Pinned {
		moves = append(moves, move{at(commit.VerbPromote), "Promote", fmt.Sprintf("Promote generation %d", n),
			"It is served, whatever the quality gate says, and builders continue from it.", command("promote")})
	}
	if n < now.Generation {
		moves = append(moves, move{at(commit.VerbRollback), "Roll back", fmt.Sprintf("Roll back to generation %d", n),
			"It is served and pinned: builders promote nothing until it is unpinned.", command("rollback")})
	}
	if now.Generation != n || !now.Pinned {
		moves = append(moves, move{at(commit.VerbPin), "Pin", fmt.Sprintf("Pin generation %d", n),
			"It is served until it is unpinned, whatever builders publish.", command("pin")})
	} else {
		moves = append(moves, move{commit.Move{Verb: commit.VerbUnpin}, "Unpin", "Unpin the channel",
			"Builders promote again, starting with the newest generation.", `adastream snapshot unpin --store="$STORE" --reason="..."`})
	}
	return moves
}

// driftWarn is how many times the error of centroids with rows that came since is above that with the model's own before it is
// marked.
const driftWarn = 1.25

func driftOf(spec *schemas.Spec, m *schemas.Manifest) []driftLevel {
	if m.Model == nil || m.Model.Fit == nil {
		return nil
	}
	at := func(xs []float64, i int) *float64 {
		if i < len(xs) {
			return &xs[i]
		}
		return nil
	}
	var levels []driftLevel
	for i, d := range spec.Ladder {
		l := driftLevel{Dims: d, Coarse: at(m.Model.Fit.Coarse, i), Codes: at(m.Model.Fit.Codes, i)}
		if m.Drift != nil {
			l.CoarseNow, l.CodesNow = at(m.Drift.Coarse, i), at(m.Drift.Codes, i)
			if l.Coarse != nil && l.CoarseNow != nil && *l.CoarseNow > driftWarn**l.Coarse {
				l.Level = warn
			}
		}
		for j := range m.Model.Prefixes {
			if p := &m.Model.Prefixes[j]; p.Dims == d {
				l.Prefix, l.Chance = &p.Recall, &p.Chance
			}
		}
		levels = append(levels, l)
	}
	return levels
}

type diffPage struct {
	From, To         *schemas.Manifest
	FromSize, ToSize commit.Size
	Change           *commit.Change
	Checkpoints      []checkpointDiff
	More             int // partitions that are not listed
}

type checkpointDiff struct {
	Partition int
	From, To  int64
}

// diff compares two generations.
func (u *UI) diff(w http.ResponseWriter, r *http.Request) {
	s, fault := u.reader.now(r.Context())
	v, p := u.o.Node.View(), &diffPage{}
	for name, into := range map[string]**schemas.Manifest{"from": &p.From, "to": &p.To} {
		text := r.URL.Query().Get(name)
		m, err := u.chosen(r, s, text)
		if errors.Is(err, store.ErrNotFound) {
			u.missing(w, r, fmt.Sprintf("%s: generation %q does not exist or was collected", name, plain(text, 40)))
			return
		}
		if err != nil {
			u.show(w, r, http.StatusOK, "diff", "Difference", v, err, nil)
			return
		}
		*into = m
	}
	if p.From.Generation > p.To.Generation {
		p.From, p.To = p.To, p.From
	}
	p.FromSize, p.ToSize, p.Change = commit.SizeOf(p.From), commit.SizeOf(p.To), commit.Changed(p.From, p.To)
	partitions := v.Spec.PartitionsOf(u.o.Log.Shard())
	p.More = max(0, len(partitions)-pagePartitions)
	for _, i := range partitions[:len(partitions)-p.More] {
		p.Checkpoints = append(p.Checkpoints, checkpointDiff{i, commit.CheckpointOf(p.From, i), commit.CheckpointOf(p.To, i)})
	}
	u.show(w, r, http.StatusOK, "diff", fmt.Sprintf("Generations %d and %d", p.From.Generation, p.To.Generation), v, fault, p)
}
