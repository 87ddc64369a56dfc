package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/index/capacity"
)

type planCommand struct {
	Rows   int64   `help:"Number of live rows." required:"" placeholder:"N"`
	Dims   int     `help:"Width of a vector. The ladder is then a quarter, a half and all of it." xor:"width" required:"" placeholder:"D"`
	Ladder []int   `help:"Trained prefix widths, ascending, as for init. Replaces --dims." xor:"width" required:"" placeholder:"64,128,256"`
	QPS    float64 `help:"Queries per second of all nodes together." name:"qps" default:"100"`
	Recall float64 `help:"Recall@10 of the queries." name:"target-recall" default:"0.95"`

	Updates        float64       `group:"Index, rows and queries:" help:"Rows inserted, changed or deleted per second." default:"0"`
	Vectors        string        `group:"Index, rows and queries:" help:"Type of stored original vectors: float16 or float32." enum:"float16,float32" default:"float32"`
	IDBytes        float64       `group:"Index, rows and queries:" help:"Average size of an ID, in bytes." default:"16"`
	AttributeBytes float64       `group:"Index, rows and queries:" help:"Size of a row's attributes, in bytes: 8 for a number or time, 4 plus its length for a text." default:"0"`
	ListsPerRow    int           `group:"Index, rows and queries:" help:"Inverted lists per row, 1 or 2, as for init." default:"2"`
	Prefix         string        `group:"Index, rows and queries:" help:"native or rotate, as for init." enum:"native,rotate" default:"native"`
	Partitions     int           `group:"Index, rows and queries:" help:"Partitions of the topic." default:"6"`
	Shards         int           `group:"Index, rows and queries:" help:"Shards of the index. Rows and updates are divided among them; each answers every query. The plan is for one of them." default:"1"`
	Loads          int           `group:"Index, rows and queries:" help:"Parts that a bulk load may have, as for init." default:"0"`
	Retention      time.Duration `group:"Index, rows and queries:" help:"Retention of the topic." default:"24h"`
	Batched        bool          `group:"Index, rows and queries:" help:"Clients send many queries in one Arrow request, instead of one in each JSON request."`
	Originals      string        `group:"Index, rows and queries:" help:"Where query nodes keep original vectors: local, remote or none, as for query." enum:"local,remote,none" default:"local"`

	Cores        float64       `group:"Machines and settings:" help:"Cores of a machine for a query node or the builder." default:"8"`
	MemoryGiB    float64       `group:"Machines and settings:" help:"Memory of a machine, in GiB." name:"memory-gib" default:"32"`
	Busy         float64       `group:"Machines and settings:" help:"Share of the cores to keep busy, 0 to 1. The rest is for peaks and a failed node." default:"0.6"`
	FlushAge     time.Duration `group:"Machines and settings:" help:"--flush-age of the ingestors." default:"300ms"`
	PublishEvery time.Duration `group:"Machines and settings:" help:"--publish-every of the builder." default:"250ms"`
	PollEvery    time.Duration `group:"Machines and settings:" help:"--poll-every of the query nodes." default:"250ms"`
	KeepFor      time.Duration `group:"Machines and settings:" help:"--keep-for of the builder." default:"24h"`
	StoreLatency time.Duration `group:"Machines and settings:" help:"Latency of a store request: about 30 ms for S3, 2 ms for a server nearby." default:"30ms"`

	P50 time.Duration `group:"Measured latency:" help:"Measured median latency of a request to one node, to estimate that of many shards. 0 is the core time of a query." name:"p50" env:"ADASTREAM_P50" default:"0"`
	P99 time.Duration `group:"Measured latency:" help:"Measured 99th percentile of the same. 0 is twice --p50." name:"p99" env:"ADASTREAM_P99" default:"0"`

	PriceMachineHour   float64 `group:"Prices:" help:"Price per hour of a machine of --cores and --memory-gib, in any currency. Without prices the plan has no cost." placeholder:"PRICE"`
	PriceGiBMonth      float64 `group:"Prices:" help:"Price of a GiB stored for a month." name:"price-gib-month" placeholder:"PRICE"`
	PriceMillionWrites float64 `group:"Prices:" help:"Price of a million PUT and LIST requests." placeholder:"PRICE"`
	PriceMillionReads  float64 `group:"Prices:" help:"Price of a million GET requests." placeholder:"PRICE"`

	Explain bool `help:"Print the formula of each figure."`
	JSON    bool `help:"Print the plan as JSON, with formulas."`
}

// Validate refuses what a spec takes for the default; the parser of flags asks it.
func (c *planCommand) Validate() error {
	return errors.Join(cli.Positive("--shards", c.Shards), cli.Positive("--lists-per-row", c.ListsPerRow))
}

func (c *planCommand) Run() error {
	wish, err := c.wish()
	if err != nil {
		return cli.Usage(err)
	}
	plan := capacity.Of(wish)
	if c.JSON {
		return printJSON(plan)
	}
	return printPlan(os.Stdout, plan, c.Explain)
}

// wish is what the flags ask for.
func (c *planCommand) wish() (capacity.Wish, error) {
	ladder := c.Ladder
	if c.Dims != 0 {
		if c.Dims < 16 || c.Dims%16 != 0 {
			return capacity.Wish{}, fmt.Errorf("--dims %d: allowed: multiples of 16; for others give --ladder", c.Dims)
		}
		ladder = []int{c.Dims / 4, c.Dims / 2, c.Dims}
	}
	wish := capacity.Wish{Rows: c.Rows, Ladder: ladder, Float16: c.Vectors == "float16", IDBytes: c.IDBytes, AttributeBytes: c.AttributeBytes, ListsPerRow: c.ListsPerRow,
		Rotate: c.Prefix == "rotate", Updates: c.Updates, Partitions: c.Partitions, Shards: c.Shards, Loads: c.Loads, QPS: c.QPS, Recall: c.Recall, Batched: c.Batched, Originals: c.Originals,
		Cores: c.Cores, Memory: int64(c.MemoryGiB * (1 << 30)), Busy: c.Busy, FlushAge: c.FlushAge, PublishEvery: c.PublishEvery, PollEvery: c.PollEvery,
		KeepFor: c.KeepFor, StoreLatency: c.StoreLatency, Retention: c.Retention, P50: c.P50, P99: c.P99,
		Prices: capacity.Prices{MachineHour: c.PriceMachineHour, GiBMonth: c.PriceGiBMonth, MillionWrites: c.PriceMillionWrites, MillionReads: c.PriceMillionReads}}
	return wish, wish.Validate()
}

func printPlan(to io.Writer, plan *capacity.Plan, explain bool) error {
	if n := plan.Wish.Shards; n > 1 {
		fmt.Fprintf(to, "per shard, of %d with %d rows each; requests and costs are for all:\n\n", n, (plan.Wish.Rows+int64(n)-1)/int64(n))
	}
	out := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	of := ""
	for _, f := range plan.Figures {
		head := ""
		if f.Of != of {
			head, of = f.Of, f.Of
		}
		fmt.Fprintf(out, "%s\t%s\t%s", head, f.Name, amount(f.Value, f.Unit))
		if explain {
			fmt.Fprintf(out, "\t%s", f.Formula)
		}
		fmt.Fprintln(out)
	}
	err := out.Flush()
	first := plan.Limits[0]
	if plan.Fits() {
		fmt.Fprintf(to, "\nit fits; the first limit: %s, at %.3g times this: %s\n", first.Name, first.Headroom, first.Detail)
	}
	for _, l := range plan.Limits {
		if l.Headroom < 1 {
			fmt.Fprintf(to, "\none shard is not enough: %s is %.2g of what is needed: %s\n", l.Name, l.Headroom, l.Detail)
		}
	}
	if !plan.Fits() {
		if n := capacity.ShardsFor(plan.Wish); n > 0 {
			fmt.Fprintf(to, "\nit fits with --shards=%d, see docs/sharding.md\n", n)
		}
	}
	if explain {
		for _, l := range plan.Limits {
			fmt.Fprintf(to, "  %-18s %8.3g times  %s\n", l.Name, l.Headroom, l.Detail)
		}
	}
	_, err2 := fmt.Fprintln(to, "bytes are counted; times and cores are extrapolated from one machine and its data, accurate to a factor of two or three: see docs/capacity.md")
	return errors.Join(err, err2)
}

// amount is a figure for people.
func amount(v float64, unit capacity.Unit) string {
	switch unit {
	case capacity.Bytes, capacity.BytesRate:
		suffix := strings.TrimPrefix(string(unit), "bytes")
		for _, step := range []struct {
			name string
			size float64
		}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
			if v >= step.size {
				return fmt.Sprintf("%.1f %s%s", v/step.size, step.name, suffix)
			}
		}
		return fmt.Sprintf("%.0f B%s", v, suffix)
	case capacity.Seconds:
		switch {
		case v < 0.001:
			return fmt.Sprintf("%.0f us", v*1e6)
		case v < 1:
			return fmt.Sprintf("%.3g ms", v*1e3)
		}
		return fmt.Sprintf("%.3g s", v)
	case capacity.Money:
		return fmt.Sprintf("%.2f", v)
	case capacity.Share:
		return fmt.Sprintf("%.6g", v)
	case capacity.Rate:
		return fmt.Sprintf("%.3g/s", v)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.4g", v), ".0")
}
