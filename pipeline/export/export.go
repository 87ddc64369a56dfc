// Package export writes the live rows of a generation as files that others read.
//
// What is made is a directory. It is written under another name beside the one that is asked for, and renamed when all of it is
// there and synced, so a directory of that name is whole. Rows come in the order in which the parts of the generation hold them, each id
// once, one part at a time: memory is that of some batches, and the copies on disk are of two parts at most, but for what
// searches or goes by lists, which needs all parts at once.
package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/replica"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Format is what the rows are written as.
type Format string

// Formats of exports.
const (
	Parquet Format = "parquet" // one file, rows.parquet
	Arrow   Format = "arrow"   // IPC files of bounded size
	Npy     Format = "npy"     // vectors.npy of numpy, and ids
	Fvecs   Format = "fvecs"   // vectors.fvecs of float32, the width before each row, and ids
	Fbin    Format = "fbin"    // vectors.fbin of float32, the number of rows and the width before all, and ids
	Faiss   Format = "faiss"   // index.faiss, a flat index, and ids

	FaissIVFPQ Format = "faiss-ivfpq" // index.faiss, with the lists and codes of the generation, and ids
)

// Formats are all of them.
func Formats() []Format { return []Format{Parquet, Arrow, Npy, Fvecs, Fbin, Faiss, FaissIVFPQ} }

// table reports whether the format has columns.
func (f Format) table() bool { return f == Parquet || f == Arrow }

// Options of Run. Log, To and Format are required.
type Options struct {
	Log        *commit.Log
	Generation int64    // 0: what is served, of an epoch too
	To         string   // directory that is made
	Format     Format   //
	Columns    []string // of tables, in this order; none is id, version, attributes, vector
	Dims       int      // of vectors, a level of the ladder; 0 is all
	Limit      int64    // rows at most, 0 for all
	Queries    string   // file of vectors whose exact neighbours are written too, empty for none
	K          int      // neighbours of each
	Dir        string   // for copies of parts while it runs, empty: that for temporary files
	GroupBytes int      // of a row group of Parquet before compression, 0 for 64 MiB; it is in memory until it is written
	FileBytes  int      // of an Arrow file, 0 for 256 MiB
	Level      avx.Level
	Threads    int // of exact search, 0 is 1

	Progress func(done, of int64) // rows; nil is not told
}

// Validate returns all faults of the options but those that only the index can tell.
func (o *Options) Validate() error {
	var faults []error
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !slices.Contains(Formats(), o.Format) {
		bad("format %q, allowed: %v", o.Format, Formats())
	}
	if len(o.Columns) > 0 && !o.Format.table() {
		bad("columns %s: go with formats %s and %s", strings.Join(o.Columns, ", "), Parquet, Arrow)
	}
	if o.Limit < 0 {
		bad("limit %d, allowed: at least 1, or 0 for all rows", o.Limit)
	}
	if o.Generation < 0 {
		bad("generation %d, allowed: at least 1, or 0 for what is served", o.Generation)
	}
	if o.Queries != "" && o.K < 1 {
		bad("k %d, allowed: at least 1", o.K)
	}
	if o.Queries != "" && o.Dims != 0 {
		bad("dims %d: neighbours are those by all dimensions", o.Dims)
	}
	if o.GroupBytes < 0 || o.FileBytes < 0 {
		bad("row groups of %d and files of %d bytes, allowed: at least 1, or 0 for %d and %d", o.GroupBytes, o.FileBytes, groupBytes, fileBytes)
	}
	if o.Format == FaissIVFPQ && o.Dims != 0 {
		bad("dims %d: codes are of all dimensions", o.Dims)
	}
	if o.To == "" {
		bad("no directory to write to")
	}
	return errors.Join(faults...)
}

// Report says what was written. It stands in the directory too, as _export.json.
type Report struct {
	Format     Format           `json:"format"`
	Index      string           `json:"index"`
	Shard      int              `json:"shard"` // of the index, which has this generation of it
	Encoder    string           `json:"encoder"`
	Metric     schemas.Metric   `json:"metric"`
	Generation int64            `json:"generation"`
	Epoch      string           `json:"epoch,omitempty"`
	Checkpoint map[string]int64 `json:"checkpoint"`
	Rows       int64            `json:"rows"`
	Dims       int              `json:"dims"`
	Labels     string           `json:"labels,omitempty"` // of a FAISS index: ids, or rows
	Files      []string         `json:"files"`
}

// reportFile begins so that who reads a directory of tables passes it over.
const reportFile = "_export.json"

// writer takes the batches of an export in order.
type writer interface {
	write(b *batch) error
	close() error
}

// export is one run.
type export struct {
	Options
	index   *commit.Log // that of the generation: of an epoch, its own
	m       *schemas.Manifest
	columns columns
	dims    int
	rows    int64
	out     string // where it is written
	report  *Report
}

// Run exports. If To exists the error wraps os.ErrExist, and nothing is changed; if the generation does not, or is collected meanwhile,
// store.ErrNotFound.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(o.To); err == nil {
		return nil, fmt.Errorf("%s: %w: name another one, or remove it", o.To, os.ErrExist)
	}
	e := &export{Options: o}
	if err := e.prepare(ctx); err != nil {
		return nil, err
	}
	var err error
	if e.out, err = os.MkdirTemp(filepath.Dir(o.To), "."+filepath.Base(o.To)+"-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(e.out)
	if err := e.run(ctx); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = replica.Missing(ctx, e.index, e.m.Generation, err)
		}
		return nil, err
	}
	if err := os.Chmod(e.out, 0o755); err != nil { // of temporary ones it is narrower
		return nil, err
	}
	return e.report, os.Rename(e.out, o.To)
}

// prepare finds the generation, and what of it is wanted.
func (e *export) prepare(ctx context.Context) (err error) {
	e.index = e.Log
	generation, epoch := e.Generation, ""
	if generation == 0 {
		served, err := e.Log.Follow(ctx, nil)
		if err != nil {
			return err
		}
		if served == nil {
			return fmt.Errorf("no generation is served yet: %w", store.ErrNotFound)
		}
		e.index, generation, epoch = served.Index, served.Own.Generation, served.Record.Epoch
	}
	if e.m, err = replica.Kept(ctx, e.index, generation); err != nil {
		return err
	}
	spec := e.index.Spec()
	if e.dims = spec.Dim(); e.Dims != 0 {
		if !slices.Contains(spec.Ladder, e.Dims) {
			return fmt.Errorf("dims %d, allowed: a level of the ladder, %v", e.Dims, spec.Ladder)
		}
		if spec.Rotates() && e.Dims != spec.Dim() {
			return fmt.Errorf("dims %d: the index rotates, a prefix of its originals means nothing, allowed: %d", e.Dims, spec.Dim())
		}
		e.dims = e.Dims
	}
	if e.columns, err = columnsOf(spec, e.Columns, e.dims); err != nil {
		return err
	}
	if e.rows = e.m.LiveRows; e.Limit > 0 {
		e.rows = min(e.rows, e.Limit)
	}
	e.report = &Report{Format: e.Format, Index: spec.Name, Shard: e.index.Shard(), Encoder: spec.Encoder, Metric: spec.Metric, Generation: generation, Epoch: epoch,
		Checkpoint: e.m.Checkpoint, Rows: e.rows, Dims: e.dims}
	return nil
}

func (e *export) run(ctx context.Context) error {
	if err := e.write(ctx); err != nil {
		return err
	}
	if e.Queries != "" {
		if err := e.truth(ctx); err != nil {
			return err
		}
	}
	return e.end()
}

func (e *export) write(ctx context.Context) error {
	if e.Format == FaissIVFPQ {
		return e.ivf(ctx)
	}
	w, err := e.writer()
	if err != nil {
		return err
	}
	if err := e.each(ctx, w.write); err != nil {
		_ = w.close() // what it wrote is removed
		return err
	}
	return w.close()
}

func (e *export) writer() (writer, error) {
	switch e.Format {
	case Parquet:
		return newParquet(e)
	case Arrow:
		return newArrow(e), nil
	case Faiss:
		return newFaiss(e)
	default:
		return newMatrix(e)
	}
}

// end writes what the directory has.
func (e *export) end() error {
	found, err := os.ReadDir(e.out)
	if err != nil {
		return err
	}
	for _, f := range found {
		e.report.Files = append(e.report.Files, f.Name())
	}
	text, err := json.MarshalIndent(e.report, "", "  ")
	if err != nil {
		return err
	}
	f, err := e.create(reportFile)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	return errors.Join(err, f.close())
}

// count32 is a number of rows for a format that has 32 bits for it.
func count32(n int64) (uint32, error) {
	if n > math.MaxUint32 {
		return 0, fmt.Errorf("%d rows, allowed in this format: %d", n, uint32(math.MaxUint32))
	}
	return uint32(n), nil
}
