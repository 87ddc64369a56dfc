package docs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"net/http/httptest"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/cmd/adastream/sample"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/schemas"
)

// rows writes the files of rows that pages name: words of the sample, guitar among them, as rows.arrow; the same by another encoder as
// rows-mini-3.arrow; two rows of partition 3 that are refused as broken.arrow, and the first of them mended as row-mended.arrows.
func (s *session) rows() {
	s.Helper()
	r, err := ipc.NewFileReader(bytes.NewReader(sample.Words))
	if err != nil {
		s.Fatal(err)
	}
	defer r.Close()
	var ids, classes []string
	var vectors [][]float32
	const from, to = 5000, 8000 // fewer than what a model is trained with
	at := 0
	for n := range r.NumRecords() {
		b, err := r.RecordBatch(n)
		if err != nil {
			s.Fatal(err)
		}
		class := b.Column(1).(*array.Dictionary)
		list := b.Column(2).(*array.FixedSizeList)
		values := list.ListValues().(*array.Float16)
		for i := 0; i < int(b.NumRows()); i, at = i+1, at+1 {
			if at < from || at >= to {
				continue
			}
			ids = append(ids, b.Column(0).(*array.String).Value(i))
			classes = append(classes, class.Dictionary().(*array.String).Value(class.GetValueIndex(i)))
			start, end := list.ValueOffsets(i)
			v := make([]float32, 0, end-start)
			for j := start; j < end; j++ {
				v = append(v, values.Value(int(j)).Float32())
			}
			vectors = append(vectors, v)
		}
	}
	s.file("rows.arrow", message("my-model/1", 256, ids, classes, vectors))
	s.file("rows-mini-3.arrow", message("mini/3", 128, ids, classes, vectors))

	var bad []string
	for i := 0; len(bad) < 2; i++ {
		if id := fmt.Sprint("bad-", i); source.PartitionOf(id, 6) == 3 {
			bad = append(bad, id)
		}
	}
	s.file("broken.arrow", message("my-model/1", 256, bad, classes, [][]float32{{float32(math.NaN())}, make([]float32, 256)}))
	mended := message("my-model/1", 256, bad[:1], classes, vectors)
	defer mended.Release()
	var stream bytes.Buffer
	w := ipc.NewWriter(&stream, ipc.WithSchema(mended.Schema()))
	if err := errors.Join(w.Write(mended), w.Close()); err != nil {
		s.Fatal(err)
	}
	s.write("row-mended.arrows", stream.Bytes())
}

// message has a row for each id, with the first dim values of its vector, and 0 where there are fewer.
func message(encoder string, dim int, ids, classes []string, vectors [][]float32) arrow.RecordBatch {
	md := arrow.MetadataFrom(map[string]string{schemas.MetaEncoder: encoder})
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.String},
		{Name: "class", Type: arrow.BinaryTypes.String},
		{Name: "lang", Type: arrow.BinaryTypes.String},
		{Name: "price", Type: arrow.PrimitiveTypes.Float64},
		{Name: "vector", Type: arrow.FixedSizeListOf(int32(dim), arrow.PrimitiveTypes.Float32)},
	}, &md))
	defer b.Release()
	list := b.Field(4).(*array.FixedSizeListBuilder)
	for i, id := range ids {
		b.Field(0).(*array.StringBuilder).Append(id)
		b.Field(1).(*array.StringBuilder).Append(classes[i])
		b.Field(2).(*array.StringBuilder).Append([]string{"en", "de"}[i%2])
		b.Field(3).(*array.Float64Builder).Append(float64(i % 50))
		list.Append(true)
		v := append(vectors[i][:len(vectors[i]):len(vectors[i])], make([]float32, dim)...)
		list.ValueBuilder().(*array.Float32Builder).AppendValues(v[:dim], nil)
	}
	return b.NewRecordBatch()
}

func (s *session) file(name string, b arrow.RecordBatch) {
	s.Helper()
	defer b.Release()
	var out bytes.Buffer
	w, err := ipc.NewFileWriter(&out, ipc.WithSchema(b.Schema()))
	if err != nil {
		s.Fatal(err)
	}
	if err := errors.Join(w.Write(b), w.Close()); err != nil {
		s.Fatal(err)
	}
	s.write(name, out.Bytes())
}

// certificate writes one for 127.0.0.1, and its key.
func (s *session) certificate() {
	s.Helper()
	lent := httptest.NewTLSServer(nil)
	defer lent.Close()
	key, err := x509.MarshalPKCS8PrivateKey(lent.TLS.Certificates[0].PrivateKey)
	if err != nil {
		s.Fatal(err)
	}
	s.write("tls.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: lent.Certificate().Raw}))
	s.write("tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}
