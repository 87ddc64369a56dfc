package export

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/adastream/adastream/index/mrl"
	"github.com/adastream/adastream/schemas"
)

// Files of FAISS are what its write_index writes: each index begins with four letters and a header, all little-endian, numbers of
// elements as 64 bits before them. An inner product is its metric 0; cosine is the same of unit vectors, and a transform before the
// index scales queries too.

const faissFile = "index.faiss"

// faissIO writes what FAISS reads. The first error stays.
type faissIO struct {
	w   io.Writer
	err error
}

func (f *faissIO) put(values ...any) {
	for _, v := range values {
		if f.err == nil {
			f.err = binary.Write(f.w, binary.LittleEndian, v)
		}
	}
}

func (f *faissIO) name(four string) { f.put([]byte(four)) }

// header is that of any index of inner products.
func (f *faissIO) header(four string, dims int, rows int64) {
	const unused, trained, innerProduct = int64(1 << 20), true, int32(0)
	f.name(four)
	f.put(int32(dims), rows, unused, unused, trained, innerProduct)
}

// normalize is a transform that scales to unit length.
func (f *faissIO) normalize(dims int) {
	f.name("VNrm")
	f.put(float32(2), int32(dims), int32(dims), true)
}

// faiss writes a flat index.
type faiss struct {
	e    *export
	file *file
	io   *faissIO
	ids  *idFiles
}

func newFaiss(e *export) (writer, error) {
	f, err := e.create(faissFile)
	if err != nil {
		return nil, err
	}
	w := &faiss{e: e, file: f, io: &faissIO{w: f}}
	if w.ids, err = e.newIDs(); err != nil {
		return nil, errors.Join(err, f.close())
	}
	w.io.header("IxMp", e.dims, e.rows)
	if e.index.Spec().Metric == schemas.Cosine {
		w.io.header("IxPT", e.dims, e.rows)
		w.io.put(int32(1)) // transform
		w.io.normalize(e.dims)
	}
	w.io.header("IxFI", e.dims, e.rows)
	w.io.put(uint64(e.rows) * uint64(e.dims)) // in units of four bytes
	if w.io.err != nil {
		return nil, errors.Join(w.io.err, w.close())
	}
	return w, nil
}

func (w *faiss) write(b *batch) error {
	cosine := w.e.index.Spec().Metric == schemas.Cosine
	for i := range b.rows {
		if err := w.ids.write(b.id(i)); err != nil {
			return err
		}
		if v := b.vectors[i*w.e.dims:][:w.e.dims]; cosine {
			mrl.Normalize(w.e.Level, v, v)
		}
	}
	w.io.put(b.vectors)
	return w.io.err
}

// close writes the labels.
func (w *faiss) close() error {
	integers, err := w.ids.close()
	if err == nil {
		err = w.e.labels(w.io, integers && w.ids.least >= 0)
	}
	return errors.Join(err, w.file.close())
}

// labels writes those of an IndexIDMap, for rows by their number: their ids, if all can be labels, which -1 is not, or the numbers.
func (e *export) labels(out *faissIO, ids bool) error {
	e.report.Labels = "rows"
	out.put(uint64(e.rows))
	if ids {
		e.report.Labels = "ids"
		return errors.Join(out.err, e.copyIDs(out.w))
	}
	for row := range e.rows {
		out.put(row)
	}
	return out.err
}

// copyIDs copies the values of ids.npy, which are labels as they are.
func (e *export) copyIDs(to io.Writer) error {
	f, err := os.Open(filepath.Join(e.out, idIntegers))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(-8*e.rows, io.SeekEnd); err != nil {
		return fmt.Errorf("%s: %w", idIntegers, err)
	}
	_, err = io.Copy(to, f)
	return err
}
