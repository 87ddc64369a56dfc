// Command runbook replays streaming runbooks, in the format of big-ann-benchmarks, on `adastream standalone` and on its peers:
// inserts, deletes and replaces of rows, and after each change searches, whose answers are compared with exact ones.
//
//	bench/runbook/run                              everything, with the peers and the data that it needs
//	go run ./bench/runbook --systems adastream     this product alone
//	go run ./bench/runbook --file clustered_runbook.yaml --dataset random-xs-clustered --rows 10000
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/alecthomas/kong"

	"github.com/adastream/adastream/bench/dataset"
	"github.com/adastream/adastream/bench/fleet"
)

type options struct {
	Data       string   `help:"Directory of the data: base.f32, queries.f32, truth.i32, meta.json, as bench/run makes it." default:"bench/data/corpus" type:"path"`
	Out        string   `help:"Directory for results.json, results.md and the runbooks." default:"bench/data/runbook" type:"path"`
	Rows       int      `help:"Vectors of the data to use, evenly spread over it." default:"50000"`
	Queries    int      `help:"Queries of a search." default:"1000"`
	Runbooks   []string `help:"Kinds of runbooks to generate: sliding, clustered, replace." default:"sliding,clustered,replace"`
	File       string   `help:"A runbook to replay instead." type:"existingfile"`
	Dataset    string   `help:"The part of --file that is for this data set of theirs; its ids are places in ours."`
	Systems    []string `help:"What to replay on: adastream, and peers of peers/serve.py." default:"adastream,faiss-ivf,hnswlib,usearch,svs,lancedb"`
	Rounds     int      `help:"Replays of each runbook on each system; the order of systems rotates." default:"1"`
	Passes     int      `help:"Times that all queries are asked at a search; the median counts." default:"3"`
	Recall     float64  `help:"Recall@10 that a system's setting is to have at the first search." default:"0.95"`
	Threads    int      `help:"Threads of each system; default: all cores."`
	Partitions int      `help:"Partitions of the topic." default:"2"`
	Seed       uint64   `help:"Of what is random about the runbooks." default:"1"`
	Python     string   `help:"Python with the peers." default:"bench/data/venv/bin/python"`
	Peers      string   `help:"Directory of serve.py." default:"bench/runbook/peers" type:"path"`
	Only       bool     `help:"Write the runbooks only."`
	Smoke      bool     `help:"See whether it works: 20,000 vectors, few queries, one runbook."`
}

func main() {
	var o options
	kong.Parse(&o, kong.Description("Replays streaming runbooks on Adastream and its peers."))
	if o.Threads == 0 {
		o.Threads = runtime.NumCPU()
	}
	if o.Smoke {
		o.Rows, o.Queries, o.Passes, o.Runbooks, o.Systems = 20000, 200, 1, []string{"sliding"}, []string{ours, "faiss-ivf", "usearch"}
	}
	results, err := run(context.Background(), &o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "runbook:", err)
		os.Exit(1)
	}
	fmt.Print(results.markdown())
}

// results are what results.json holds.
type results struct {
	Machine  machine           `json:"machine"`
	Options  *options          `json:"options"`
	Replays  []*replayed       `json:"replays"`
	LeftOut  map[string]string `json:"left_out,omitempty"` // systems that failed, and why
	Shape    map[string]string `json:"runbooks"`           // what is in each
	runbooks []string
}

func run(ctx context.Context, o *options) (*results, error) {
	r := &results{Machine: thisMachine(), Options: o, LeftOut: map[string]string{}, Shape: map[string]string{}}
	if o.Rounds < 1 || o.Passes < 1 {
		return nil, fmt.Errorf("--rounds %d --passes %d, allowed: 1 and more", o.Rounds, o.Passes)
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "adastream-runbook-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	bin := fleet.In(dir)
	if err := bin.Compile(ctx, nil, "adastream"); err != nil {
		return nil, err
	}
	names := o.Runbooks
	if o.File != "" {
		names = []string{filepath.Base(o.File)}
	}
	for _, name := range names {
		t, err := prepare(ctx, o, name, dir)
		if err != nil {
			return nil, err
		}
		t.bin = bin
		r.runbooks = append(r.runbooks, name)
		r.Shape[name] = t.runbook.shape()
		if o.Only {
			continue
		}
		if t.truth, err = truth(ctx, t.runbook, t.vectors, t.queries); err != nil {
			return nil, err
		}
		if err := errors.Join(r.replays(ctx, o, t), r.save(o.Out)); err != nil { // what was measured is kept, whatever follows
			return nil, err
		}
	}
	return r, nil
}

// prepare reads or generates a runbook, and writes the files that peers read.
func prepare(ctx context.Context, o *options, name, dir string) (*task, error) {
	set, err := dataset.Read(o.Data)
	if err != nil {
		return nil, fmt.Errorf("--data: %w (bench/run --prepare makes it)", err)
	}
	t := &task{dir: dir, ladder: set.Ladder, data: filepath.Join(dir, "vectors.f32"), asked: filepath.Join(dir, "queries.f32"),
		queries: slices.Clone(set.Vectors[:min(o.Queries, set.Queries)*set.Dim])}
	if t.vectors, err = spread(set, o.Rows); err != nil {
		return nil, err
	}
	if o.File != "" {
		raw, err := os.ReadFile(o.File)
		if err != nil {
			return nil, err
		}
		if t.runbook, err = parse(raw, name, o.Dataset, t.vectors.n); err != nil {
			return nil, err
		}
	} else {
		if t.runbook, err = generate(ctx, name, t.vectors, o.Seed); err != nil {
			return nil, err
		}
		raw, err := t.runbook.write(set.Name)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(o.Out, name+".yaml"), raw, 0o644); err != nil {
			return nil, err
		}
	}
	return t, errors.Join(writeFloats(t.data, t.vectors.rows), writeFloats(t.asked, t.queries))
}

// replays replays a task on all systems, one after the other. A system that fails is left out from there on.
func (r *results) replays(ctx context.Context, o *options, t *task) error {
	settings := map[string]int{}
	for round := range o.Rounds {
		for i := range o.Systems {
			name := o.Systems[(i+round)%len(o.Systems)]
			if r.LeftOut[name] != "" {
				continue
			}
			setting, tuned := settings[name]
			if !tuned {
				setting = -1
			}
			fmt.Fprintf(os.Stderr, "%s, round %d: %s\n", t.runbook.Name, round+1, name)
			one, setting, err := t.on(ctx, name, o, setting)
			if err != nil {
				if name == ours {
					return fmt.Errorf("%s: %w", name, err)
				}
				fmt.Fprintf(os.Stderr, "  left out: %v\n", err)
				r.LeftOut[name] = err.Error()
				continue
			}
			settings[name] = setting
			one.System, one.Round = name, round+1
			fmt.Fprintf(os.Stderr, "  %s: %.1f s, recall %.3f to %.3f\n", one.Setting, one.Total, one.Searches[0].Recall, one.Searches[len(one.Searches)-1].Recall)
			r.Replays = append(r.Replays, one)
		}
	}
	return nil
}

const ours = "adastream"

// on starts a system, replays the task on it, and ends it.
func (t *task) on(ctx context.Context, name string, o *options, setting int) (_ *replayed, _ int, err error) {
	var s system
	if name == ours {
		s, err = startAdastream(ctx, o, t)
	} else {
		s, err = startPeer(name, o, t)
	}
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return t.replay(ctx, s, o, setting)
}

func (r *results) save(dir string) error {
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, "results.json"), append(raw, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "results.md"), []byte(r.markdown()), 0o644))
}
