package export

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// file is one that is being written.
type file struct {
	*bufio.Writer
	f *os.File
}

func (e *export) create(name string) (*file, error) {
	f, err := os.Create(filepath.Join(e.out, name))
	if err != nil {
		return nil, err
	}
	return &file{bufio.NewWriterSize(f, 1<<20), f}, nil
}

// close makes the file last.
func (f *file) close() error { return errors.Join(f.Flush(), f.f.Sync(), f.f.Close()) }

// floats writes values in little endian.
func floats(w io.Writer, values []float32) error {
	return binary.Write(w, binary.LittleEndian, values)
}

// npyHeader begins a file of numpy.
func npyHeader(w io.Writer, descr string, shape ...int64) error {
	dims := ""
	for _, n := range shape {
		dims += strconv.FormatInt(n, 10) + ", "
	}
	if len(shape) > 1 {
		dims = strings.TrimSuffix(dims, ", ")
	} else {
		dims = strings.TrimSuffix(dims, " ")
	}
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, dims)
	const before, align = 10, 64
	text += strings.Repeat(" ", (align-(before+len(text)+1)%align)%align) + "\n"
	_, err := fmt.Fprintf(w, "\x93NUMPY\x01\x00%c%c%s", len(text)&0xff, len(text)>>8, text)
	return err
}

// idFiles are ids.txt, a line each, and ids.npy if all are integers.
type idFiles struct {
	e        *export
	lines    *file
	integers *file // nil after an id that is none
	least    int64
}

const (
	idLines    = "ids.txt"
	idIntegers = "ids.npy"
)

func (e *export) newIDs() (*idFiles, error) {
	ids := &idFiles{e: e}
	var err error
	if ids.lines, err = e.create(idLines); err != nil {
		return nil, err
	}
	if ids.integers, err = e.create(idIntegers); err != nil {
		return nil, errors.Join(err, ids.lines.close())
	}
	return ids, npyHeader(ids.integers, "<i8", e.rows)
}

func (ids *idFiles) write(id string) error {
	if strings.ContainsAny(id, "\r\n") {
		return fmt.Errorf("id %q: it has a line end, and %s has an id a line: take the format %s or %s", id, idLines, Parquet, Arrow)
	}
	if _, err := ids.lines.WriteString(id + "\n"); err != nil {
		return err
	}
	if ids.integers == nil {
		return nil
	}
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != id { // 007 is another id than 7
		integers := ids.integers
		ids.integers = nil
		return errors.Join(integers.f.Close(), os.Remove(integers.f.Name()))
	}
	ids.least = min(ids.least, n)
	_, err = ids.integers.Write(binary.LittleEndian.AppendUint64(ids.integers.AvailableBuffer(), uint64(n)))
	return err
}

// close reports whether all ids are integers.
func (ids *idFiles) close() (integers bool, err error) {
	err = ids.lines.close()
	if ids.integers == nil {
		return false, err
	}
	return true, errors.Join(err, ids.integers.close())
}

// matrixWriter writes vectors, and ids beside them.
type matrixWriter struct {
	e    *export
	file *file
	ids  *idFiles
}

func newMatrix(e *export) (writer, error) {
	f, err := e.create("vectors." + string(e.Format))
	if err != nil {
		return nil, err
	}
	w := &matrixWriter{e: e, file: f}
	if w.ids, err = e.newIDs(); err == nil {
		err = w.begin()
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *matrixWriter) begin() error {
	switch w.e.Format {
	case Npy:
		return npyHeader(w.file, "<f4", w.e.rows, int64(w.e.dims))
	case Fbin:
		n, err := count32(w.e.rows)
		if err != nil {
			return err
		}
		return binary.Write(w.file, binary.LittleEndian, []uint32{n, uint32(w.e.dims)})
	}
	return nil
}

func (w *matrixWriter) write(b *batch) error {
	for i := range b.rows {
		if err := w.ids.write(b.id(i)); err != nil {
			return err
		}
		if w.e.Format == Fvecs {
			if err := binary.Write(w.file, binary.LittleEndian, uint32(w.e.dims)); err != nil {
				return err
			}
			if err := floats(w.file, b.vectors[i*w.e.dims:][:w.e.dims]); err != nil {
				return err
			}
		}
	}
	if w.e.Format == Fvecs {
		return nil
	}
	return floats(w.file, b.vectors)
}

func (w *matrixWriter) close() error {
	err := w.file.close()
	if w.ids != nil {
		_, also := w.ids.close()
		err = errors.Join(err, also)
	}
	return err
}

// matrixOf writes a matrix of numpy that is in memory.
func (e *export) matrixOf(name, descr string, rows, width int, values any) error {
	f, err := e.create(name)
	if err != nil {
		return err
	}
	err = npyHeader(f, descr, int64(rows), int64(width))
	if err == nil {
		err = binary.Write(f, binary.LittleEndian, values)
	}
	return errors.Join(err, f.close())
}

// nothing stands where there are fewer neighbours than asked for.
const nothing = -1

var lowest = float32(math.Inf(-1))
