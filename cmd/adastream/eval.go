package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/index/eval"
)

type evalCommand struct {
	Rows    string        `help:"Arrow or Parquet file with the rows to search." required:"" type:"existingfile"`
	Queries string        `help:"Arrow or Parquet file with the queries. None of them may be among the rows." required:"" type:"existingfile"`
	Vector  string        `help:"Column with the vectors of the Matryoshka encoder." default:"vector"`
	Ladder  []int         `help:"Prefix widths to compare, ascending. Default: the widths of --rigid, or the full width halved down to 8." placeholder:"8,16,32"`
	Rigid   []string      `help:"Columns with the vectors of independent encoders, in ascending width." placeholder:"COLUMN"`
	Label   string        `help:"Column with the class of each row. Without it only recall is measured."`
	Systems []string      `help:"Families of systems to measure; * and ? are wildcards. Default: all. See docs/paper.md." placeholder:"FAMILY"`
	Out     string        `help:"Directory for results.json, results.md and plots. Default: print only." type:"path"`
	JSON    bool          `help:"Print JSON instead of tables."`
	Threads int           `help:"Number of threads for training; searches are timed on one. 0 is all CPUs." default:"0"`
	Seed    uint64        `help:"Seed of all random choices." default:"1"`
	Timing  time.Duration `help:"Minimum duration of each of the 25 timing rounds of a system." default:"1ms"`
}

// Validate refuses what options take for the default; the parser of flags asks it.
func (c *evalCommand) Validate() error { return cli.Positive("--timing", c.Timing) }

// evalReport is what is measured.
type evalReport struct {
	Rows        int               `json:"rows"`
	Queries     int               `json:"queries"`
	Labels      bool              `json:"labels"`
	Level       string            `json:"simd"`
	Results     []*eval.Result    `json:"results"`
	Comparisons []eval.Comparison `json:"comparisons"`
}

func (c *evalCommand) Run(ctx context.Context) error {
	data, err := c.read()
	if err != nil {
		return err
	}
	level, err := avx.Best()
	if err != nil {
		return err
	}
	bench, err := eval.New(data, eval.Options{Level: level, Threads: c.Threads, Seed: c.Seed, Timing: c.Timing})
	if err != nil {
		return cli.Usage(err)
	}
	report := &evalReport{Rows: data.Rows.N, Queries: data.Queries.N, Labels: data.Rows.Labels != nil, Level: level.String()}
	if report.Results, err = c.measure(ctx, bench, data); err != nil {
		return err
	}
	report.Comparisons = eval.Compare(report.Results, report.Labels)
	if c.Out != "" {
		if err := report.save(c.Out); err != nil {
			return err
		}
	}
	if c.JSON {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", " ")
		return out.Encode(report)
	}
	return report.markdown(os.Stdout)
}

func (c *evalCommand) read() (*eval.Data, error) {
	l := &labelled{label: c.Label, columns: append([]string{c.Vector}, c.Rigid...), classes: map[string]int32{}}
	d := &eval.Data{Vector: c.Vector, Rigid: c.Rigid}
	var err error
	if d.Rows, err = l.read(c.Rows); err != nil {
		return nil, cli.Usage(err)
	}
	if d.Queries, err = l.read(c.Queries); err != nil {
		return nil, cli.Usage(err)
	}
	d.Ladder = c.Ladder
	if len(d.Ladder) == 0 {
		d.Ladder = defaultLadder(d)
	}
	return d, nil
}

// defaultLadder is the widths of the rigid encoders, or else the full width halved again and again.
func defaultLadder(d *eval.Data) (ladder []int) {
	full := d.Rows.Columns[d.Vector].Dim
	for _, name := range d.Rigid {
		if w := d.Rows.Columns[name].Dim; w < full {
			ladder = append(ladder, w)
		}
	}
	if len(d.Rigid) == 0 {
		for w := full / 2; w >= 8 && w%4 == 0; w /= 2 {
			ladder = append(ladder, w)
		}
		slices.Reverse(ladder)
	}
	return append(ladder, full)
}

// measure runs the systems of the families that were asked for.
func (c *evalCommand) measure(ctx context.Context, bench *eval.Bench, data *eval.Data) (results []*eval.Result, err error) {
	var systems []eval.System
	for _, s := range eval.Catalogue(data) {
		if c.wants(s.Family) {
			systems = append(systems, s)
		}
	}
	var products []eval.Product
	for _, p := range eval.Products(data) {
		if c.wants(p.Family) {
			products = append(products, p)
		}
	}
	if len(systems)+len(products) == 0 {
		return nil, cli.Usage(fmt.Errorf("--systems %s: no such family, allowed: %s; commas separate families, ? stands for one in a name", strings.Join(c.Systems, ","), strings.Join(families(data), "; ")))
	}
	bar, end := progress("measured", int64(len(systems)+len(products)), progressbar.OptionShowCount())
	defer end()
	for _, s := range systems {
		bar.Describe(s.Family)
		r, err := bench.Run(ctx, s)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
		_ = bar.Add(1)
	}
	for _, p := range products {
		bar.Describe(p.Family)
		some, err := bench.RunProduct(ctx, p)
		if err != nil {
			return nil, err
		}
		results = append(results, some...)
		_ = bar.Add(1)
	}
	return results, nil
}

func (c *evalCommand) wants(family string) bool {
	return len(c.Systems) == 0 || slices.ContainsFunc(c.Systems, func(pattern string) bool {
		ok, _ := path.Match(pattern, family)
		return ok
	})
}

func families(data *eval.Data) (names []string) {
	for _, s := range eval.Catalogue(data) {
		names = append(names, s.Family)
	}
	for _, p := range eval.Products(data) {
		names = append(names, p.Family)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// save writes results.json, results.md and the plots.
func (r *evalReport) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), raw, 0o644); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "results.md"))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := r.markdown(f); err != nil {
		return err
	}
	return r.plots(dir)
}
