package load

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/adastream/adastream/pipeline/files"
)

// blockRows are the rows that a part has in one piece of a file, if there are fewer files than parts: block b, counted over all files, is
// of part b mod parts. It is also the most that is decoded at a time. It never changes: a load that was begun goes on by it.
const blockRows = 4096

// rows reads the rows of a part.
type rows struct {
	files       []string
	open        func(name string, firstID, skip int64) (*files.Reader, error)
	part, parts int
	encoder     string           // that all files have to have
	read        func()           // is told of each file that was read to its end
	passed      int64            // rows of the part that are not wanted, from its start
	skipped     func(rows int64) // is told of those of them that were not even read

	numbers map[int]int64 // of each file that was opened, how many ids it numbers

	block  int64 // of all files, if they are read by blocks: rows before the next one
	number int64 // of the next row of the part
}

// whole says whether parts have files rather than blocks.
func (r *rows) whole() bool { return len(r.files) >= r.parts }

// each calls yield with pieces of the part in their order, and the number that their first row has in the part.
func (r *rows) each(ctx context.Context, yield func(file string, batch arrow.RecordBatch, number int64) error) error {
	for i, name := range r.files {
		if !r.has(i) {
			continue
		}
		if err := r.file(ctx, i, yield); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.read()
	}
	return nil
}

// has reports whether the part reads file i.
func (r *rows) has(i int) bool { return !r.whole() || i%r.parts == r.part }

// count is how many files the part reads.
func (r *rows) count() (n int) {
	for i := range r.files {
		if r.has(i) {
			n++
		}
	}
	return n
}

func (r *rows) file(ctx context.Context, i int, yield func(string, arrow.RecordBatch, int64) error) (err error) {
	in, err := r.reader(i)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if err := CheckEncoder(in, r.encoder); err != nil {
		return err
	}
	if n := in.Skipped(); n > 0 {
		r.number, r.block = r.number+n, r.block+n
		r.skipped(n)
	}
	for {
		batch, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for from := int64(0); from < batch.NumRows(); {
			if err := ctx.Err(); err != nil {
				return err
			}
			to := min(batch.NumRows(), from+blockRows-r.block%blockRows)
			if r.whole() || r.block/blockRows%int64(r.parts) == int64(r.part) {
				slice := batch.NewSlice(from, to)
				err := yield(r.files[i], slice, r.number)
				slice.Release()
				if err != nil {
					return err
				}
				r.number += to - from
			}
			r.block += to - from
			from = to
		}
	}
}

// CheckEncoder fails if a file's vectors are not of the encoder that an index is for.
func CheckEncoder(in *files.Reader, want string) error {
	switch encoder := in.Encoder(); encoder {
	case want:
		return nil
	case "":
		return errors.New("the file does not name the encoder of its vectors: say it with --encoder")
	default:
		return fmt.Errorf("its vectors are of the encoder %q, the index is for %q", encoder, want)
	}
}

// reader opens a file. Those whose rows are numbered go on where the file before ends, whoever reads that.
func (r *rows) reader(i int) (*files.Reader, error) {
	skip := int64(0)
	if r.whole() { // else rows of other parts are between
		skip = max(0, r.passed-r.number)
	}
	in, err := r.open(r.files[i], 0, skip)
	if err != nil {
		return nil, err
	}
	r.remember(i, in)
	if !in.Numbered() || i == 0 {
		return in, nil
	}
	if err := in.Close(); err != nil {
		return nil, err
	}
	first := int64(0)
	for before, name := range r.files[:i] {
		if err := r.look(before); err != nil {
			return nil, fmt.Errorf("file before it: %s: %w", name, err)
		}
		first += r.numbers[before]
	}
	return r.open(r.files[i], first, skip)
}

// look makes known how many numbers a file takes. To open it may be to download it, so that is done once.
func (r *rows) look(i int) error {
	if _, known := r.numbers[i]; known {
		return nil
	}
	in, err := r.open(r.files[i], 0, 0)
	if err != nil {
		return err
	}
	r.remember(i, in)
	return in.Close()
}

func (r *rows) remember(i int, in *files.Reader) {
	if r.numbers == nil {
		r.numbers = map[int]int64{}
	}
	r.numbers[i] = 0
	if in.Numbered() {
		r.numbers[i] = in.Rows()
	}
}

// Known is what is known of a file beforehand.
type Known struct {
	Name string // without folders
	Size int64
}

// Input is a sum of what is known of files, in their order, and of what says how they are read: a load that was begun goes on with
// the same.
func Input(known []Known, options string) string {
	sum := sha256.New()
	for _, k := range known {
		fmt.Fprintf(sum, "%q %d\n", k.Name, k.Size)
	}
	fmt.Fprintf(sum, "%q\n", options)
	return hex.EncodeToString(sum.Sum(nil))
}
