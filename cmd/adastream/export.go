package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/schollz/progressbar/v3"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/export"
)

type exportCommand struct {
	cli.Index
	Format     string   `help:"Format: parquet, arrow, npy, fvecs, fbin, faiss or faiss-ivfpq. All but the first two get a separate file of IDs." required:"" placeholder:"FORMAT"`
	Generation int64    `help:"Generation. Default: the served one, also of an epoch." placeholder:"N"`
	Columns    []string `help:"Columns of parquet and arrow. Default: ID, version, all attributes, vector." placeholder:"NAME"`
	Dims       int      `help:"Export only the first D dimensions, a level of the ladder." placeholder:"D"`
	Limit      int64    `help:"Export at most N rows, the first in stored order." placeholder:"N"`
	Truth      string   `help:"File of query vectors, in any input format. The row numbers of their nearest exported rows, by brute force, go to neighbours.npy and their scores to scores.npy." type:"existingfile" placeholder:"FILE"`
	K          int      `help:"Neighbours per query of --truth." short:"k" default:"100"`
	Dir        string   `help:"Directory for temporary copies: two parts of the generation, or all of it with --truth or faiss-ivfpq. Default: the directory for temporary files." type:"path" placeholder:"DIR"`
	JSON       bool     `help:"Print a summary of the export as JSON."`
	To         string   `arg:"" help:"Output directory, which must not exist yet." type:"path"`
}

func (c *exportCommand) Run(ctx context.Context, l *cli.Logging) error {
	level, err := cli.Level(l.Logger())
	if err != nil {
		return err
	}
	tell, end := told("rows", progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("rows"))
	o := export.Options{
		Generation: c.Generation, To: c.To, Format: export.Format(c.Format), Columns: c.Columns, Dims: c.Dims, Limit: c.Limit,
		Queries: c.Truth, K: c.K, Dir: c.Dir, Level: level, Threads: runtime.GOMAXPROCS(0), Progress: tell,
	}
	if err := o.Validate(); err != nil {
		return cli.Usage(err)
	}
	if o.Log, err = c.ReadIndex(ctx, l.Logger(), cli.Wait{}); err != nil {
		return err
	}
	report, err := export.Run(ctx, o)
	end()
	if errors.Is(err, os.ErrExist) {
		return cli.Usage(err)
	}
	if err != nil {
		return absent(err)
	}
	if c.JSON {
		return printJSON(report)
	}
	fmt.Printf("%s: %d rows of generation %d: %s\n", c.To, report.Rows, report.Generation, strings.Join(report.Files, ", "))
	return nil
}
