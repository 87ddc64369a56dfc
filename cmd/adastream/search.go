package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/cmd/internal/cli"
)

type searchCommand struct {
	cli.Node     `group:"Query node:"`
	Like         string   `help:"ID of a row to find the neighbours of. This or --vector." xor:"query" required:"" placeholder:"ID"`
	Vector       string   `help:"File with the query vector, a JSON array of numbers. - is standard input." xor:"query" required:"" placeholder:"FILE"`
	K            int      `help:"Number of neighbours." short:"k" default:"10"`
	TargetRecall *float64 `help:"Recall@10 to aim for. Default: that of the index. Only one of this and the next five." placeholder:"R" xor:"how"`
	Effort       *float64 `help:"Effort between 0, the cheapest measured plan, and 1, the best." placeholder:"E" xor:"how"`
	MaxMicros    *float64 `help:"Use the best plan that takes at most N microseconds on average." placeholder:"N" xor:"how"`
	MaxLists     *float64 `help:"Use the best plan that probes at most N lists on average." placeholder:"N" xor:"how"`
	MaxBytes     *float64 `help:"Use the best plan that reads at most N bytes of codes and rows on average." placeholder:"N" xor:"how"`
	Exact        bool     `help:"Compare with every row." xor:"how"`
	Dims         int      `help:"Number of dimensions to compare, a level of the ladder. 0 is all." default:"0"`
	Filter       string   `help:"Only rows whose attributes match this filter. See docs/filters.md." placeholder:"JSON"`
	Encoder      string   `help:"Encoder of the query. The search fails if the rows are of another one."`
	JSON         bool     `help:"Print the answer as JSON, as in schemas/openapi.yaml."`
}

// Validate refuses what package client takes for the default; the parser of flags asks it.
func (c *searchCommand) Validate() error {
	faults := []error{cli.Positive("-k", c.K)}
	if r := c.TargetRecall; r != nil && !(*r > 0 && *r <= 1) {
		faults = append(faults, fmt.Errorf("--target-recall %v: must be more than 0 and at most 1", *r))
	}
	for _, most := range []struct {
		name string
		of   *float64
	}{{"--max-micros", c.MaxMicros}, {"--max-lists", c.MaxLists}, {"--max-bytes", c.MaxBytes}} {
		if most.of != nil {
			faults = append(faults, cli.Positive(most.name, *most.of))
		}
	}
	return errors.Join(faults...)
}

// query is what the flags ask for.
func (c *searchCommand) query() (q client.Query, err error) {
	q = client.Query{Like: c.Like, How: client.How{K: c.K, Effort: c.Effort, Exact: c.Exact, Dims: c.Dims, Encoder: c.Encoder}}
	if c.Like == "" {
		if q.Vector, err = readVector(c.Vector); err != nil {
			return q, cli.Usage(fmt.Errorf("--vector %s: %w", c.Vector, err))
		}
	}
	if c.TargetRecall != nil {
		q.TargetRecall = *c.TargetRecall
	}
	switch {
	case c.MaxMicros != nil:
		q.Budget = &client.Budget{Microseconds: *c.MaxMicros}
	case c.MaxLists != nil:
		q.Budget = &client.Budget{Lists: *c.MaxLists}
	case c.MaxBytes != nil:
		q.Budget = &client.Budget{Bytes: *c.MaxBytes}
	}
	if c.Filter != "" {
		if !json.Valid([]byte(c.Filter)) {
			return q, cli.Usage(fmt.Errorf(`--filter %s: not JSON, allowed: an object such as {"lang": "en"}`, c.Filter))
		}
		q.Filter = json.RawMessage(c.Filter)
	}
	return q, nil
}

func (c *searchCommand) Run(ctx context.Context) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	node, err := c.Client()
	if err != nil {
		return err
	}
	var a *client.Answer
	err = cli.Patiently(ctx, func(ctx context.Context) (err error) { a, err = node.Search(ctx, q); return err })
	if err != nil {
		return refused(err)
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(a)
	}
	printAnswer(os.Stdout, a)
	return nil
}

// refused makes what a node says no to a fault of the call.
func refused(err error) error {
	var p *client.Problem
	if errors.As(err, &p) && slices.Contains([]int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict}, p.Status) {
		return cli.Usage(err)
	}
	if op := new(net.OpError); errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("%w: --url must be the address of a query node", err)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, cli.ErrGaveUp) {
		return fmt.Errorf("%w: --url: %w", err, cli.ErrGaveUp)
	}
	return err
}

func readVector(name string) (v []float32, err error) {
	in := os.Stdin
	if name != "-" {
		if in, err = os.Open(name); err != nil {
			return nil, err
		}
		defer in.Close()
	}
	return v, json.NewDecoder(in).Decode(&v)
}

// printAnswer shows the hits as a table, and below it what the answer cost.
func printAnswer(w io.Writer, a *client.Answer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, h := range a.Hits {
		fmt.Fprintf(t, "  %.3f\t%s", h.Score, h.ID)
		names := make([]string, 0, len(h.Attributes))
		for name := range h.Attributes {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			value := h.Attributes[name]
			if value == nil {
				value = "-"
			}
			fmt.Fprintf(t, "\t%s: %v", name, value)
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	how := fmt.Sprintf("%d lists, %d codes, %d rows refined", a.Usage.Lists, a.Usage.Codes, a.Usage.Refined)
	if n := a.Usage.Originals; n > 0 {
		how += fmt.Sprintf(", %d originals", n)
	}
	if a.Usage.Matching != nil {
		how = fmt.Sprintf("%d match the filter; %s", *a.Usage.Matching, how)
	}
	if a.Usage.Exact {
		how = fmt.Sprintf("exact over %d rows", a.Usage.Refined)
	}
	if a.ExpectedRecall != nil {
		how += fmt.Sprintf(", expected recall@10 %.3f", *a.ExpectedRecall)
	}
	if len(a.Interval) == 2 {
		how += fmt.Sprintf(" (%.3f to %.3f)", a.Interval[0], a.Interval[1])
	}
	if a.Degraded != "" {
		how += ", degraded: " + a.Degraded
	}
	of := fmt.Sprintf("%d rows", a.Snapshot.LiveRows)
	if a.Snapshot.Epoch != "" {
		of += " in epoch " + a.Snapshot.Epoch
	}
	fmt.Fprintf(w, "generation %d of %s; %s; %d µs\n", a.Snapshot.Generation, of, how, a.Usage.Microseconds)
}
