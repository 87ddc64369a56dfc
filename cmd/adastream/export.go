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
	Format     string   `help:"parquet, arrow, npy, fvecs, fbin, faiss or faiss-ivfpq; all but the first two have ids in a file beside." required:"" placeholder:"FORMAT"`
	Generation int64    `help:"Generation; default: the one that is served, of an epoch too." placeholder:"N"`
	Columns    []string `help:"Columns of parquet and arrow; default: id, version, all attributes, vector." placeholder:"NAME"`
	Dims       int      `help:"Only the first dimensions of vectors, a level of the ladder." placeholder:"D"`
	Limit      int64    `help:"Rows at most: the first ones, in the order in which they are stored." placeholder:"N"`
	Truth      string   `help:"File of vectors in any format that is read, as .npy; the numbers of the exported rows that are nearest to each, by brute force, go to neighbours.npy, and scores.npy." type:"existingfile" placeholder:"FILE"`
	K          int      `help:"Neighbours for --truth." short:"k" default:"100"`
	Dir        string   `help:"Directory for copies while it runs, of two parts of the generation, with --truth and of faiss-ivfpq of all; default: that for temporary files." type:"path" placeholder:"DIR"`
	JSON       bool     `help:"Print what was written as JSON."`
	To         string   `arg:"" help:"Directory that is made. It must not be there." type:"path"`
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
