package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/quarantine"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/schemas"
)

// produceIndex is the index whose commits say what became of what is produced.
type produceIndex struct {
	shards []*commit.Log
	fate   *quarantine.Fate
}

// index opens that of --store, nil without it, and takes the topic from it. What its ingestors would refuse altogether is not sent.
func (c *produceCommand) index(ctx context.Context, log *slog.Logger) (*produceIndex, error) {
	if c.Store == "" {
		if c.StoreCA != "" {
			return nil, cli.Usage(errors.New("--store-ca: needs --store"))
		}
		return nil, nil
	}
	shards, err := cli.Store{Store: c.Store, StoreCA: c.StoreCA}.ReadShards(ctx, log, cli.Wait{})
	if err != nil {
		return nil, err
	}
	spec := shards[0].Spec()
	if c.Topic == "" {
		c.Topic = spec.Topic.Name
	}
	switch {
	case c.Topic != spec.Topic.Name:
		return nil, cli.Usage(fmt.Errorf("--topic %s: the index in --store reads %s; one that is to follow it, an epoch, is in epochs/NAME of that place", c.Topic, spec.Topic.Name))
	case !spec.ReadsArrow():
		return nil, cli.Usage(fmt.Errorf("--store: the index reads messages of %s, and what is produced here is Arrow", spec.Messages.Format))
	}
	return &produceIndex{shards: shards}, nil
}

func (p *produceIndex) spec() *schemas.Spec { return p.shards[0].Spec() }

// begin notes where the chains are before anything is sent.
func (p *produceIndex) begin(ctx context.Context, client *source.Client, log *slog.Logger) error {
	if _, err := compareTopic(ctx, client, p.spec()); err != nil {
		return fmt.Errorf("topic %s is not that of the index in --store: %w", p.spec().Topic.Name, err)
	}
	return cli.Wait{}.Until(ctx, log, "commits cannot be read, will try again", func(ctx context.Context) (err error) {
		p.fate, err = quarantine.NewFate(ctx, p.shards)
		return err
	})
}

// outcome waits for it. The error says that something was refused, or that not all is known.
func (p *produceIndex) outcome(ctx context.Context, patience time.Duration) (*producedOutcome, error) {
	bar, end := progress("commits", p.fate.Outcome().Sent, progressbar.OptionShowCount(), progressbar.OptionSetItsString("rows"))
	err := p.fate.Await(ctx, patience, func(o quarantine.Outcome) { _ = bar.Set64(o.Sent - o.Unsettled()) })
	end()
	o := newOutcome(p.fate.Outcome())
	if errors.Is(err, quarantine.ErrUnsettled) {
		why := "is an ingestor running, and what does its /readyz say?"
		if o.Refused > o.Taken {
			why = "an ingestor stops a partition of which nearly all is refused, and its /readyz says so"
		}
		err = fmt.Errorf("%w (--wait): %s", err, why)
	}
	if bad := o.Refused + o.Lost; bad > 0 {
		err = errors.Join(fmt.Errorf("%d of %d rows are not in the index", bad, p.fate.Outcome().Sent), err)
	}
	return o, err
}

// producedOutcome is what became of rows, as scripts read it.
type producedOutcome struct {
	Taken   int64             `json:"taken"`
	Refused int64             `json:"refused"`
	Lost    int64             `json:"lost"`    // to retention, before they were read
	Waiting int64             `json:"waiting"` // in no commit yet
	Reasons []producedRefusal `json:"reasons"` // of Refused, the most frequent first
}

type producedRefusal struct {
	Reason string `json:"reason"`
	Rows   int64  `json:"rows"`

	// The first of them.
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Row       int32  `json:"row"` // -1: the message as a whole
	Detail    string `json:"detail"`
}

func newOutcome(o quarantine.Outcome) *producedOutcome {
	out := &producedOutcome{Taken: o.Taken, Refused: o.Refused, Lost: o.Lost, Waiting: o.Unsettled(), Reasons: []producedRefusal{}}
	for _, r := range o.Reasons {
		out.Reasons = append(out.Reasons, producedRefusal{r.First.Reason, r.Rows, r.First.Partition, r.First.Offset, r.First.Row, r.First.Detail})
	}
	return out
}

// print says it to people.
func (o *producedOutcome) print(store string, spec *schemas.Spec) {
	fmt.Printf("%d rows taken, %d refused", o.Taken, o.Refused)
	if o.Lost > 0 {
		fmt.Printf(", %d lost to retention", o.Lost)
	}
	if o.Waiting > 0 {
		fmt.Printf(", %d not committed yet", o.Waiting)
	}
	fmt.Println()
	if o.Refused == 0 {
		return
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, r := range o.Reasons {
		fmt.Fprintf(t, "  %d\t%s\tas partition %d, offset %d, %s: %s\n", r.Rows, quoted(r.Reason), r.Partition, r.Offset, rowName(r.Row), escaped(r.Detail))
	}
	_ = t.Flush()
	shard := ""
	if spec.Shards > 1 {
		shard = fmt.Sprintf(" --shard=%d", spec.ShardOf(int(o.Reasons[0].Partition)))
	}
	fmt.Printf("each of them: adastream quarantine ls --store=%s%s\n", store, shard)
}
