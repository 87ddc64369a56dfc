package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/eval"
	"github.com/adastream/adastream/index/mrl"
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
	r, err := files.Columns(name)
	if err != nil {
		return t, fmt.Errorf("%s: %w", name, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
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
		at, err := one(batch, name)
		if err != nil {
			return err
		}
		c, err := appendVectors(t.Columns[name], batch.Column(at))
		if err != nil {
			return fmt.Errorf("column %q: %w", name, err)
		}
		t.Columns[name] = c
	}
	if l.label == "" {
		return nil
	}
	at, err := one(batch, l.label)
	if err != nil {
		return err
	}
	labels := batch.Column(at)
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

// one is the place of a column that must be there once.
func one(batch arrow.RecordBatch, name string) (int, error) {
	found := batch.Schema().FieldIndices(name)
	if len(found) == 1 {
		return found[0], nil
	}
	var names []string
	for _, f := range batch.Schema().Fields() {
		names = append(names, f.Name)
	}
	return 0, fmt.Errorf("column %q: there are %d, there must be exactly one of: %s", name, len(found), strings.Join(names, ", "))
}

// appendVectors appends lists, all of one width.
func appendVectors(c eval.Column, vectors arrow.Array) (eval.Column, error) {
	lists, ok := vectors.(array.ListLike)
	if !ok || lists.NullN() > 0 {
		return c, fmt.Errorf("type %s with %d nulls, allowed: lists of floats, without nulls", vectors.DataType(), vectors.NullN())
	}
	var unit []float32
	for i := range lists.Len() {
		first, end := lists.ValueOffsets(i)
		if c.Dim == 0 {
			c.Dim = int(end - first)
		}
		if int(end-first) != c.Dim {
			return c, fmt.Errorf("a vector of %d values, others have %d", end-first, c.Dim)
		}
		if unit == nil {
			unit = make([]float32, c.Dim)
		}
		switch values := lists.ListValues().(type) {
		case *array.Float16:
			for _, half := range values.Values()[first:end] {
				c.Values = append(c.Values, half.Float32())
			}
		case *array.Float32:
			c.Values = append(c.Values, values.Float32Values()[first:end]...)
		case *array.Float64:
			for _, v := range values.Float64Values()[first:end] {
				c.Values = append(c.Values, float32(v))
			}
		default:
			return c, fmt.Errorf("type %s, allowed: lists of floats", vectors.DataType())
		}
		row := c.Values[len(c.Values)-c.Dim:]
		if n := float64(mrl.Normalize(avx.Generic, unit[:c.Dim], row)); n == 0 || math.IsInf(n, 0) || math.IsNaN(n) { // else systems say so, one after another
			return c, fmt.Errorf("vector %d has no direction or a value that is not finite, leave its row out", len(c.Values)/c.Dim-1)
		}
	}
	return c, nil
}
