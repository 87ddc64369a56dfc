package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"time"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

type snapshotPromoteCommand struct {
	cli.Store
	Generation int64  `arg:"" optional:"" help:"Generation, of which the quality gate may think what it likes."`
	Epoch      string `help:"Instead of a generation: serve what the index in epochs/NAME of the store serves, from now on. Its encoder becomes the one that queries need." placeholder:"NAME"`
	Reason     string `help:"Why, for the record." default:"promoted by hand"`
}

func (c *snapshotPromoteCommand) Run(ctx context.Context, l *cli.Logging) error {
	if (c.Epoch != "") == (c.Generation != 0) {
		return cli.Usage(errors.New("generation and --epoch: one of them says what to serve"))
	}
	return act(ctx, c.Store, l, c.decide)
}

// decide also unpins: builders go on from there, but for an epoch.
func (c *snapshotPromoteCommand) decide(context.Context, *commit.Log, look) (schemas.Channel, error) {
	return schemas.Channel{Generation: c.Generation, Epoch: c.Epoch, Reason: c.Reason}, nil
}

type snapshotPinCommand struct {
	cli.Store
	Generation int64  `arg:"" optional:"" help:"Generation."`
	Current    bool   `help:"The generation that is served."`
	Reason     string `help:"Why, for the record." required:""`
}

func (c *snapshotPinCommand) Run(ctx context.Context, l *cli.Logging) error {
	if c.Current == (c.Generation != 0) {
		return cli.Usage(errors.New("generation and --current: one of them says what to pin"))
	}
	return act(ctx, c.Store, l, c.decide)
}

func (c *snapshotPinCommand) decide(_ context.Context, _ *commit.Log, at look) (schemas.Channel, error) {
	generation := c.Generation
	if c.Current {
		if at.now == nil {
			return schemas.Channel{}, cli.Usage(errors.New("--current: nothing is served yet"))
		}
		if at.now.Epoch != "" {
			return schemas.Channel{}, cli.Usage(fmt.Errorf("--current: epoch %s is served: pin a generation of it in its own store, which is epochs/%s in this one", at.now.Epoch, at.now.Epoch))
		}
		generation = at.now.Generation
	}
	return schemas.Channel{Generation: generation, Pinned: true, Reason: c.Reason}, nil
}

type snapshotUnpinCommand struct {
	cli.Store
	Reason string `help:"Why, for the record." default:"unpinned by hand"`
}

func (c *snapshotUnpinCommand) Run(ctx context.Context, l *cli.Logging) error {
	return act(ctx, c.Store, l, c.decide)
}

func (c *snapshotUnpinCommand) decide(_ context.Context, _ *commit.Log, at look) (schemas.Channel, error) {
	if at.now == nil || !at.now.Pinned {
		return schemas.Channel{}, cli.Usage(errors.New("the channel is not pinned: see `adastream snapshot ls`"))
	}
	return schemas.Channel{Generation: at.now.Generation, Reason: c.Reason}, nil
}

type snapshotRollbackCommand struct {
	cli.Store
	Generation int64  `arg:"" optional:"" help:"Generation, older than the one that is served; default: the last older one that was, or what was served before the epoch that is."`
	Reason     string `help:"Why, for the record." required:""`
}

func (c *snapshotRollbackCommand) Run(ctx context.Context, l *cli.Logging) error {
	return act(ctx, c.Store, l, c.decide)
}

// decide pins the generation that it goes back to: a builder would promote its newest one at once. What was served before an
// epoch is not pinned, unless it was: nobody but an operator promotes the epoch again.
func (c *snapshotRollbackCommand) decide(ctx context.Context, index *commit.Log, at look) (schemas.Channel, error) {
	back := schemas.Channel{Generation: c.Generation, Pinned: true, Reason: c.Reason}
	switch {
	case at.now == nil:
		return back, cli.Usage(errors.New("nothing is served yet"))
	case at.now.Epoch != "" && c.Generation == 0:
		before, err := servedBefore(ctx, index, at.now, "nothing but epoch "+at.now.Epoch, func(c *schemas.Channel) bool { return c.Epoch != at.now.Epoch })
		if err != nil {
			return back, err
		}
		back.Generation, back.Epoch, back.Pinned = before.Generation, before.Epoch, before.Pinned
		return back, nil
	case at.now.Epoch == "" && c.Generation >= at.now.Generation:
		return back, cli.Usage(fmt.Errorf("generation %d: it is not older than %d, which is served: use promote or pin", c.Generation, at.now.Generation))
	case c.Generation != 0:
		return back, nil
	case at.again: // the one to leave is now the one before
		return back, fmt.Errorf("generation %d was promoted meanwhile by %s: say which generation to go back to", at.now.Generation, at.now.By)
	}
	before, err := servedBefore(ctx, index, at.now, fmt.Sprintf("no generation older than %d", at.now.Generation),
		func(c *schemas.Channel) bool { return c.Epoch == "" && c.Generation < at.now.Generation })
	if err != nil {
		return back, err
	}
	back.Generation = before.Generation
	return back, nil
}

// servedBefore is the last record before the present one that is good to go back to, and whose generation is kept; other says
// what there was else.
func servedBefore(ctx context.Context, index *commit.Log, now *schemas.Channel, other string, good func(*schemas.Channel) bool) (*schemas.Channel, error) {
	collection, err := index.Collection(ctx)
	if err != nil {
		return nil, err
	}
	var sequences []int64
	for sequence, err := range index.Promotions(ctx) {
		if err != nil {
			return nil, err
		}
		if sequence < now.Sequence {
			sequences = append(sequences, sequence)
		}
	}
	for _, sequence := range slices.Backward(sequences) {
		c, err := index.Promotion(ctx, sequence)
		if errors.Is(err, store.ErrNotFound) {
			continue // collected since
		}
		if err != nil {
			return nil, err
		}
		if good(c) && (c.Epoch != "" || collection == nil || collection.Keeps(c.Generation)) {
			return c, nil
		}
	}
	return nil, cli.Usage(fmt.Errorf("%s was ever served and is kept", other))
}

// look is what an operator sees of the channel.
type look struct {
	now   *schemas.Channel // newest record, nil for none
	again bool             // a builder was first with it, after an earlier look
}

// act adds the record to the channel that decide makes of a look at it, and says what it changed. A builder that promotes
// at the same moment is no hindrance: decide is asked again. Another operator is: what he wanted has to be known first.
func act(ctx context.Context, from cli.Store, l *cli.Logging, decide func(context.Context, *commit.Log, look) (schemas.Channel, error)) error {
	index, err := from.OpenIndex(ctx, l.Logger(), nil)
	if err != nil {
		return err
	}
	by, err := operator()
	if err != nil {
		return err
	}
	for again := false; ; again = true {
		now, err := index.Channel(ctx, 0)
		if err != nil {
			return err
		}
		if again && now.ByOperator() {
			return fmt.Errorf("somebody was first: serving %s: see `adastream snapshot ls`", described(now))
		}
		c, err := decide(ctx, index, look{now, again})
		if err != nil {
			return err
		}
		if err := c.Validate(); err != nil {
			return cli.Usage(err)
		}
		m, text, err := resolve(ctx, index, &c)
		if err != nil {
			return err
		}
		if now != nil && now.Epoch != c.Epoch {
			_, was, err := resolve(ctx, index, now)
			if err != nil { // that may be why it is left
				was = err.Error()
			}
			fmt.Printf("from %s\n  to %s\n", was, text)
		}
		c.By = by
		made, err := index.Promote(ctx, now, c)
		if errors.Is(err, schemas.ErrFenced) {
			continue
		}
		if err != nil {
			return err
		}
		report(made, now, m)
		return nil
	}
}

// resolve finds the generation that a record serves, and says what it is.
func resolve(ctx context.Context, index *commit.Log, c *schemas.Channel) (*schemas.Manifest, string, error) {
	to, err := index.Resolve(ctx, c)
	if errors.Is(err, store.ErrNotFound) {
		return nil, "", cli.Usage(fmt.Errorf("%w: make it with `adastream init --store=.../epochs/%s`, and feed and build it", err, c.Epoch))
	}
	if err != nil {
		return nil, "", err
	}
	m, err := to.Manifest(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return nil, "", cli.Usage(fmt.Errorf("%s: there is none: see `adastream snapshot ls`", to))
	}
	if err != nil {
		return nil, "", err
	}
	spec := to.Index.Spec()
	return m, fmt.Sprintf("%s: encoder %s, %d dimensions, %d rows", to, spec.Encoder, spec.Dim(), m.LiveRows), nil
}

// report says what a record changed.
func report(made, before *schemas.Channel, m *schemas.Manifest) {
	was := "the first"
	if before != nil {
		was = fmt.Sprintf("before: %s", described(before))
	}
	fmt.Printf("serving %s; %s\n", described(made), was)
	if q := m.Quality; q != nil && !q.Promoted {
		fmt.Printf("against the quality gate: %s\n", q.Reason)
	}
}

func described(c *schemas.Channel) string {
	text := fmt.Sprintf("generation %d", c.Generation)
	if c.Epoch != "" {
		text = "epoch " + c.Epoch
	}
	if c.Pinned {
		text += ", pinned"
	}
	return fmt.Sprintf("%s, by %s at %s: %s", text, c.By, c.Created.Format(time.RFC3339), c.Reason)
}

// operator is user@host of this process.
func operator() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("who is acting: %w", err)
	}
	name := "uid-" + strconv.Itoa(os.Getuid()) // in a container without a user database
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return name + "@" + host, nil
}
