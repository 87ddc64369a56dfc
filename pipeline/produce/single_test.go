package produce

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/schemas"
)

// What Single makes is read as what it was made of, whatever the messages of an index are like.
func TestSingle(t *testing.T) {
	vector := []float32{0.5, -0.25, 1, 0}
	for i, block := range []string{
		`{"format":"json"}`,
		`{"format":"json","op":"meta.op","encoder":"meta.model","id":"meta.id","key":"$"}`,
		`{"format":"json","op":"__deleted","deletes":["true","1"],"vector":"e","vector_bytes":"float16"}`,
		`{"format":"json","envelope":"debezium","id":"pk.sku","vector":"e","vector_bytes":"float32","encoder":"$.source.model","version":"rev"}`,
	} {
		m, err := schemas.ParseMessages([]byte(block))
		if err != nil {
			t.Fatal(err)
		}
		spec := schemas.Spec{Name: "n", Ladder: []int{4}, Encoder: "e", Topic: schemas.Topic{Name: "t", Partitions: 7}, Messages: m}.WithDefaults()
		if err := spec.Validate(); err != nil {
			t.Fatal(err)
		}
		d, err := ingest.NewDecoder(&spec, avx.Generic, ingest.Limits{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, remove := range []bool{false, true} {
			message, err := Single(&spec, "a-1", vector, remove)
			if err != nil {
				t.Fatal(err)
			}
			for _, value := range [][]byte{message.Value, nil} { // and its key alone deletes
				rows, deletes := segment.NewRows(&spec), []segment.Tombstone(nil)
				if err := d.Decode(ingest.Message{Key: message.Key, Value: value}, rows, &deletes, func(q ingest.Quarantined) { t.Errorf("%s: %v", block, q.Fault) }); err != nil {
					t.Fatal(err)
				}
				switch deleted := remove || value == nil; {
				case deleted && (len(deletes) != 1 || deletes[0].ID != "a-1"), !deleted && (!slices.Equal(rows.IDs, []string{"a-1"}) || !bytes.Equal(rows.Vectors, segment.BytesOf(vector))):
					t.Errorf("%d, delete %v: %s became %v and %v", i, deleted, value, rows.IDs, deletes)
				}
			}
			if want := source.PartitionOf("a-1", 7); message.Partition != want {
				t.Errorf("partition %d, want %d", message.Partition, want)
			}
		}
	}
	spec := schemas.Spec{Messages: &schemas.Messages{Format: schemas.MessagesAvro}, Topic: schemas.Topic{Partitions: 1}}
	want := `messages of the index spec: format "avro", framing "", allowed: json without framing, others need a schema`
	if _, err := Single(&spec, "a", vector, false); err == nil || fmt.Sprint(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
}
