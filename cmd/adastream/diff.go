package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/schollz/progressbar/v3"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/diff"
	"github.com/adastream/adastream/pipeline/store"
)

type snapshotDiffCommand struct {
	cli.Index
	Dir  string `help:"Directory for temporary copies, as large as the rows of all changed parts. Default: the directory for temporary files." type:"path" placeholder:"DIR"`
	JSON bool   `help:"Print one JSON object per ID and line."`
	From int64  `arg:"" help:"First generation. 0 is the newest."`
	To   int64  `arg:"" help:"Second generation, older or newer. 0 is the newest."`
}

// changed is a change as scripts read it.
type changed struct {
	ID        string `json:"id"`
	Op        string `json:"op"`
	New       bool   `json:"new,omitempty"`
	Version   *int64 `json:"version,omitempty"`
	Partition *int32 `json:"partition,omitempty"`
	Offset    *int64 `json:"offset,omitempty"`
	Row       *int32 `json:"row,omitempty"`
}

func (c *snapshotDiffCommand) Run(ctx context.Context, l *cli.Logging) error {
	index, err := c.ReadIndex(ctx, l.Logger(), cli.Wait{})
	if err != nil {
		return err
	}
	for _, g := range []*int64{&c.From, &c.To} {
		if *g != 0 {
			continue
		}
		newest, err := index.Latest(ctx, 0)
		if err != nil {
			return err
		}
		if newest != nil {
			*g = newest.Generation
		}
	}
	cache, remove, err := copies(c.Dir, index)
	if err != nil {
		return err
	}
	defer remove()
	tell, end := told("read", progressbar.OptionShowBytes(true))
	out := bufio.NewWriter(os.Stdout)
	var added, replaced, deleted int
	err = diff.Run(ctx, diff.Options{Log: index, Cache: cache, Progress: tell}, c.From, c.To, func(d diff.Change) error {
		switch {
		case d.Deleted:
			deleted++
		case d.New:
			added++
		default:
			replaced++
		}
		if !c.JSON {
			_, err := fmt.Fprintln(out, d)
			return err
		}
		return json.NewEncoder(out).Encode(asChanged(d))
	})
	end()
	if err := errors.Join(err, out.Flush()); err != nil {
		return absent(err)
	}
	l.Logger().Info("difference", "from", c.From, "to", c.To, "new", added, "replaced", replaced, "deleted", deleted)
	return nil
}

func asChanged(d diff.Change) changed {
	if d.Deleted {
		return changed{ID: d.ID, Op: "delete"}
	}
	o := d.Order
	return changed{d.ID, "upsert", d.New, &o.Version, &o.Partition, &o.Offset, &o.Row}
}

// copies is a cache for the objects of an index that is gone after remove.
func copies(in string, index *commit.Log) (cache *store.Cache, remove func(), err error) {
	dir, err := os.MkdirTemp(in, "adastream-")
	if err != nil {
		return nil, nil, cli.Usage(fmt.Errorf("--dir: %w", err))
	}
	remove = func() { os.RemoveAll(dir) }
	if cache, err = store.NewCache(dir, index.Bucket(), store.CacheOptions{}); err != nil {
		remove()
		return nil, nil, err
	}
	return cache, remove, nil
}

// absent makes a generation that is not there a fault of the call.
func absent(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return cli.Usage(fmt.Errorf("%w: see `adastream snapshot ls`", err))
	}
	return err
}
