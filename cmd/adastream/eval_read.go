package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/index/eval"
	"github.com/adastream/adastream/pipeline/files"
)

// labelled reads tables whose labels are numbered alike.
type labelled struct {
	label   string   // column; empty = none
	columns []string // of vectors
	classes map[string]int32
}

// read reads a file.
func (l *labelled) read(name string) (t eval.Table, err error) {
	f, err := os.Open(name)
	if err != nil {
		return t, err
	}
	defer f.Close()
	r, err := files.Arrow(f)
	if err != nil {
		return t, fmt.Errorf("%s: %w", name, err)
	}
	t.Columns = map[string]eval.Column{}
	for {
		batch, err := r.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err == nil {
			err = l.append(&t, batch)
		}
		if err != nil {
			return t, fmt.Errorf("%s: %w", name, err)
		}
	}
}

func (l *labelled) append(t *eval.Table, batch arrow.RecordBatch) error {
	t.N += int(batch.NumRows())
	for _, name := range l.columns {
		found := batch.Schema().FieldIndices(name)
		if len(found) != 1 {
			return fmt.Errorf("column %q: there are %d, there must be exactly one", name, len(found))
		}
		c, err := appendVectors(t.Columns[name], batch.Column(found[0]))
		if err != nil {
			return fmt.Errorf("column %q: %w", name, err)
		}
		t.Columns[name] = c
	}
	if l.label == "" {
		return nil
	}
	found := batch.Schema().FieldIndices(l.label)
	if len(found) != 1 {
		return fmt.Errorf("column %q: there are %d, there must be exactly one", l.label, len(found))
	}
	labels := batch.Column(found[0])
	for i := range labels.Len() {
		class := labels.ValueStr(i) // of any type: what is written alike is one class
		number, ok := l.classes[class]
		if !ok {
			number = int32(len(l.classes))
			l.classes[class] = number
		}
		t.Labels = append(t.Labels, number)
	}
	return nil
}

func appendVectors(c eval.Column, vectors arrow.Array) (eval.Column, error) {
	list, ok := vectors.(*array.FixedSizeList)
	if !ok || list.NullN() > 0 {
		return c, fmt.Errorf("type %s with %d nulls, allowed: fixed_size_list of float16 or float32 without nulls", vectors.DataType(), vectors.NullN())
	}
	c.Dim = int(list.DataType().(*arrow.FixedSizeListType).Len())
	first, end := list.Offset()*c.Dim, (list.Offset()+list.Len())*c.Dim
	switch values := list.ListValues().(type) {
	case *array.Float16:
		for _, half := range values.Values()[first:end] {
			c.Values = append(c.Values, half.Float32())
		}
	case *array.Float32:
		c.Values = append(c.Values, values.Float32Values()[first:end]...)
	default:
		return c, fmt.Errorf("type %s, allowed: fixed_size_list of float16 or float32", vectors.DataType())
	}
	return c, nil
}
