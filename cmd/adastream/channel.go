package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/schemas"
)

type snapshotPromoteCommand struct {
	cli.Index
	moveOutput
	Generation int64  `arg:"" optional:"" help:"Generation to serve, even one that the quality gate holds back."`
	Epoch      string `help:"Serve the index in epochs/NAME of the store instead of a generation, and follow it from now on. Queries then need its encoder." placeholder:"NAME"`
	Reason     string `help:"Reason, for the record." default:"promoted by hand"`
}

func (c *snapshotPromoteCommand) Run(ctx context.Context, l *cli.Logging) error {
	if (c.Epoch != "") == (c.Generation != 0) {
		return cli.Usage(errors.New("generation and --epoch: set exactly one of them"))
	}
	return c.act(ctx, c.Index, l, commit.Move{Verb: commit.VerbPromote, Generation: c.Generation, Epoch: c.Epoch, Reason: c.Reason})
}

type snapshotPinCommand struct {
	cli.Index
	moveOutput
	Generation int64  `arg:"" optional:"" help:"Generation to pin."`
	Current    bool   `help:"Pin the generation that is served now."`
	Reason     string `help:"Reason, for the record." required:""`
}

func (c *snapshotPinCommand) Run(ctx context.Context, l *cli.Logging) error {
	if c.Current == (c.Generation != 0) {
		return cli.Usage(errors.New("generation and --current: set exactly one of them"))
	}
	return c.act(ctx, c.Index, l, commit.Move{Verb: commit.VerbPin, Generation: c.Generation, Reason: c.Reason})
}

type snapshotUnpinCommand struct {
	cli.Index
	moveOutput
	Reason string `help:"Reason, for the record." default:"unpinned by hand"`
}

func (c *snapshotUnpinCommand) Run(ctx context.Context, l *cli.Logging) error {
	return c.act(ctx, c.Index, l, commit.Move{Verb: commit.VerbUnpin, Reason: c.Reason})
}

type snapshotRollbackCommand struct {
	cli.Index
	moveOutput
	Generation int64  `arg:"" optional:"" help:"Generation to go back to, older than the served one. Default: the one served before, or, while an epoch is served, what was served before it."`
	Reason     string `help:"Reason, for the record." required:""`
}

func (c *snapshotRollbackCommand) Run(ctx context.Context, l *cli.Logging) error {
	return c.act(ctx, c.Index, l, commit.Move{Verb: commit.VerbRollback, Generation: c.Generation, Reason: c.Reason})
}

// moveOutput is how to say what a move changed.
type moveOutput struct {
	JSON bool `help:"Print the new record and the previous one as JSON: MoveAnswer in schemas/openapi.yaml."`
}

// act moves the channel, and says what that changed.
func (o moveOutput) act(ctx context.Context, from cli.Index, l *cli.Logging, m commit.Move) error {
	index, err := from.OpenIndex(ctx, l.Logger(), cli.Wait{})
	if err != nil {
		return err
	}
	if m.By, err = operator(); err != nil {
		return err
	}
	moved, err := index.Move(ctx, m)
	if err != nil {
		return usage(err)
	}
	if o.JSON {
		return printJSON(moveAnswer{moved.Made, moved.Before, against(moved)})
	}
	if moved.Before != nil && moved.Before.Epoch != moved.Made.Epoch {
		if err := reportEpoch(ctx, index, moved); err != nil {
			return err
		}
	}
	report(moved)
	return nil
}

// usage makes a move that cannot be made a fault of the call.
func usage(err error) error {
	var bad *commit.MoveError
	if errors.As(err, &bad) {
		return cli.Usage(err)
	}
	return err
}

// reportEpoch says what queries were answered from, and are now.
func reportEpoch(ctx context.Context, index *commit.Log, moved *commit.Moved) error {
	was, err := resolve(ctx, index, moved.Before)
	if err != nil { // that may be why it is left
		was = err.Error()
	}
	text, err := resolve(ctx, index, moved.Made)
	if err != nil {
		return err
	}
	fmt.Printf("from %s\n  to %s\n", was, text)
	return nil
}

// resolve says what the generation is that a record serves.
func resolve(ctx context.Context, index *commit.Log, c *schemas.Channel) (string, error) {
	to, m, err := index.Goal(ctx, c)
	if err != nil {
		return "", usage(err)
	}
	spec := to.Index.Spec()
	return fmt.Sprintf("%s: encoder %s, %d dimensions, %d rows", to, spec.Encoder, spec.Dim(), m.LiveRows), nil
}

// moveAnswer is a move as scripts read it, here as from a query node.
type moveAnswer struct {
	Serving *schemas.Channel `json:"serving"`
	Before  *schemas.Channel `json:"before,omitempty"`
	Against string           `json:"against,omitempty"`
}

// against is what the quality gate says against what is served now.
func against(moved *commit.Moved) string {
	if q := moved.Manifest.Quality; q != nil && !q.Promoted {
		return q.Reason
	}
	return ""
}

// report says what a record changed.
func report(moved *commit.Moved) {
	was := "the first"
	if moved.Before != nil {
		was = fmt.Sprintf("before: %s", moved.Before)
	}
	fmt.Printf("serving %s; %s\n", moved.Made, was)
	if reason := against(moved); reason != "" {
		fmt.Printf("despite the quality gate: %s\n", reason)
	}
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
