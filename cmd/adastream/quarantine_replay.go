package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/quarantine"
	"github.com/adastream/adastream/pipeline/registry"
	"github.com/adastream/adastream/schemas"
)

// quarantineChoice are the flags that choose some of what was refused.
type quarantineChoice struct {
	Partition  int    `help:"Only this partition. -1 is all." default:"-1"`
	Offset     int64  `help:"Only the message at this offset. -1 is all." default:"-1"`
	Row        *int32 `help:"Only this row of the message."`
	Reason     string `help:"Only what was refused for this reason." placeholder:"REASON"`
	Everything bool   `help:"Everything in quarantine. Not with another choice."`
}

// find reads what is chosen and not resolved yet. It may be much, but no more than what an operator looks through.
func (c *quarantineChoice) find(ctx context.Context, index *commit.Log) ([]ingest.Quarantined, error) {
	some := c.Partition >= 0 || c.Offset >= 0 || c.Reason != ""
	switch {
	case some == c.Everything:
		return nil, cli.Usage(errors.New("choose by --partition, --offset or --reason, or everything by --everything alone"))
	case c.Offset >= 0 && c.Partition < 0:
		return nil, cli.Usage(fmt.Errorf("--offset %d: needs --partition", c.Offset))
	case c.Row != nil && c.Offset < 0:
		return nil, cli.Usage(fmt.Errorf("--row %d: needs --offset", *c.Row))
	}
	partitions, err := chosenPartitions(index, c.Partition)
	if err != nil {
		return nil, err
	}
	var found []ingest.Quarantined
	for _, p := range partitions {
		resolved, err := index.Resolved(ctx, p)
		if err != nil {
			return nil, err
		}
		for q, err := range quarantine.Items(ctx, index, p) {
			if err != nil {
				return nil, err
			}
			if r := resolved[quarantine.PlaceOf(q)]; c.takes(q) && (r == nil || !r.Final()) {
				q.Payload = slices.Clone(q.Payload) // keeps no more than itself
				found = append(found, q)
			}
		}
	}
	if len(found) == 0 {
		return nil, cli.Usage(errors.New("none of what is chosen is still in quarantine, neither replayed nor dropped: see `adastream quarantine ls --all`"))
	}
	return found, nil
}

func (c *quarantineChoice) takes(q ingest.Quarantined) bool {
	return (c.Offset < 0 || c.Offset == q.Offset) && (c.Row == nil || *c.Row == q.Row) && (c.Reason == "" || c.Reason == q.Reason)
}

type quarantineReplayCommand struct {
	cli.Index
	cli.Kafka    `group:"Kafka:"`
	cli.Registry `group:"Avro messages:"`
	quarantineChoice
	handling
	From        string `help:"File with the corrected payload: a whole message as the index reads it, such as show --raw writes. Exactly one message or row must be chosen." placeholder:"FILE"`
	EvenIfNewer bool   `help:"Replay rows even if they replace a newer version of their ID. Without this flag the rows of the newest generation are read to find such versions."`
	Dir         string `help:"Directory for temporary copies of the rows read. Default: the directory for temporary files." type:"path" placeholder:"DIR"`
	To          int    `help:"Partition to produce to, if the correction moved the ID to another. -1 is the original partition, or that of the ID for rows loaded from a file." default:"-1"`
}

func (c *quarantineReplayCommand) Run(ctx context.Context, l *cli.Logging) error {
	index, err := c.OpenIndex(ctx, l.Logger(), cli.Wait{})
	if err != nil {
		return err
	}
	chosen, err := c.find(ctx, index)
	if err != nil {
		return err
	}
	if c.From != "" {
		if len(chosen) > 1 {
			return cli.Usage(fmt.Errorf("--from: %d messages and rows match, allowed: one, chosen by --partition, --offset and --row", len(chosen)))
		}
		if chosen[0].Payload, err = os.ReadFile(c.From); err != nil {
			return cli.Usage(fmt.Errorf("--from: %w", err))
		}
	}
	client, err := c.Kafka.Client(index.Spec().Topic.Name, l.Logger())
	if err != nil {
		return err
	}
	defer client.Close()
	level, err := cli.Level(l.Logger())
	if err != nil {
		return err
	}
	known, err := c.Registry.Client()
	if err != nil {
		return err
	}
	by, err := operator()
	if err != nil {
		return err
	}
	replayer := &quarantine.Replayer{Index: index, Source: client, Schemas: known, Level: level, By: by}
	if !c.EvenIfNewer {
		if replayer.Versions, err = c.versions(ctx, index, level, known, chosen); err != nil {
			return err
		}
	}
	return c.each(ctx, chosen, 1, schemas.Replayed, func(q ingest.Quarantined) error {
		to := c.To
		if to < 0 {
			var err error
			if to, err = replayer.Home(ctx, q); err != nil {
				return err
			}
		}
		err := replayer.Replay(ctx, q, to)
		if errors.Is(err, quarantine.ErrNewer) {
			err = fmt.Errorf("%w: --even-if-newer replaces it, drop keeps it", err)
		}
		return err
	})
}

// versions looks in the index for the ids of what is to be replayed.
func (c *quarantineReplayCommand) versions(ctx context.Context, index *commit.Log, level avx.Level, known *registry.Client, chosen []ingest.Quarantined) (quarantine.Versions, error) {
	cache, remove, err := copies(c.Dir, index)
	if err != nil {
		return nil, err
	}
	defer remove()
	payloads := make([][]byte, len(chosen))
	for i, q := range chosen {
		payloads[i] = q.Payload
	}
	return quarantine.ReadVersions(ctx, index, cache, level, known, payloads)
}

type quarantineDropCommand struct {
	cli.Index
	quarantineChoice
	handling
	Why        string `help:"Reason, for the record." required:""`
	Unfinished bool   `help:"Also drop what an unfinished replay may have produced. Whether it is in the log stays unknown."`
}

func (c *quarantineDropCommand) Run(ctx context.Context, l *cli.Logging) error {
	index, err := c.OpenIndex(ctx, l.Logger(), cli.Wait{})
	if err != nil {
		return err
	}
	chosen, err := c.find(ctx, index)
	if err != nil {
		return err
	}
	by, err := operator()
	if err != nil {
		return err
	}
	return c.each(ctx, chosen, dropsAtOnce, schemas.Dropped, func(q ingest.Quarantined) error {
		return quarantine.Drop(ctx, index, quarantine.PlaceOf(q), by, c.Why, c.Unfinished)
	})
}

// dropsAtOnce: each takes two requests to the store, and of a flood by the row there are thousands, none of which is about another one.
const dropsAtOnce = 16

// handled is what became of what was chosen, as scripts read it.
type handled struct {
	Done   int           `json:"done"`
	Failed int           `json:"failed"`
	Items  []handledItem `json:"items"` // in order; fewer than were chosen if it was interrupted
}

type handledItem struct {
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Row       int32  `json:"row"` // -1: the message as a whole
	State     string `json:"state,omitempty"`
	Fault     string `json:"fault,omitempty"`
}

// handling is how to say what became of what was chosen.
type handling struct {
	JSON bool `help:"Print the outcome of each as JSON."`
}

// each does something with all that is chosen, so many at a time, and says of each in order what became of it.
func (h handling) each(ctx context.Context, chosen []ingest.Quarantined, atOnce int, done string, do func(ingest.Quarantined) error) error {
	all := handled{Items: []handledItem{}}
	err := all.each(ctx, chosen, atOnce, done, do, func(at commit.Place, fault error) {
		switch {
		case h.JSON:
		case fault != nil:
			fmt.Printf("BAD  %v\n", fault)
		default:
			fmt.Printf("ok   %v: %s\n", at, done)
		}
	})
	if h.JSON {
		err = errors.Join(err, printJSON(all))
	}
	return err
}

func (h *handled) each(ctx context.Context, chosen []ingest.Quarantined, atOnce int, done string, do func(ingest.Quarantined) error, say func(commit.Place, error)) error {
	for some := range slices.Chunk(chosen, atOnce) {
		if err := ctx.Err(); err != nil {
			return err
		}
		faults := make([]error, len(some))
		var g errgroup.Group
		for i, q := range some {
			g.Go(func() error { faults[i] = do(q); return nil })
		}
		_ = g.Wait() // each has its own
		for i, q := range some {
			if faults[i] != nil && ctx.Err() != nil { // interrupted
				continue
			}
			h.add(q, done, faults[i])
			say(quarantine.PlaceOf(q), faults[i])
		}
		if err := errors.Join(faults...); err != nil && ctx.Err() != nil {
			return err
		}
	}
	if h.Failed > 0 {
		return fmt.Errorf("%d of %d were not %s", h.Failed, len(chosen), done)
	}
	return nil
}

func (h *handled) add(q ingest.Quarantined, done string, fault error) {
	item := handledItem{Partition: q.Partition, Offset: q.Offset, Row: q.Row, State: done}
	if fault != nil {
		item.State, item.Fault = "", fault.Error()
		h.Failed++
	} else {
		h.Done++
	}
	h.Items = append(h.Items, item)
}
