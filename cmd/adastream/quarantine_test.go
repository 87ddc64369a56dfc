package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/produce"
	"github.com/adastream/adastream/schemas"
)

// payloadOf is a stream of rows in JSON with an id, a vector of 8 values and a title.
func payloadOf(t *testing.T, rows string) []byte {
	t.Helper()
	md := arrow.MetadataFrom(map[string]string{schemas.MetaEncoder: "mini"})
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "vector", Type: arrow.FixedSizeListOf(8, arrow.PrimitiveTypes.Float32), Nullable: true},
		{Name: "title\x1b[2J", Type: arrow.BinaryTypes.String, Nullable: true},
	}, &md)
	batch, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := produce.Encode(batch)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

var spaces = regexp.MustCompile(` +`)

func TestShowQuarantined(t *testing.T) {
	row := payloadOf(t, `[{"id":null,"vector":[1,2,3,4,5,6,7.5,8],"title\u001b[2J":"a\nb"}]`)
	many := payloadOf(t, `[{"id":"`+strings.Repeat("x", 200)+`"}`+strings.Repeat(`,{"id":"1"}`, 8)+`]`)
	for name, c := range map[string]struct {
		row     int32
		payload []byte
		want    []string
		not     []string
	}{
		"a row": {3, row, []string{"docs, partition 2, offset 77, row 3\n", "reason null_id\n", "timestamp 2023-11-14T22:13:20.123Z\n", " bytes, 1 rows\n",
			" id utf8 null\n", "[1, 2, 3, 4, 5, 6, ...] of 8\n", `"title\x1b[2J"`, `"a\nb"`}, []string{"\x1b", "7.5"}},
		"a message": {ingest.WholeMessage, many, []string{"offset 77, message\n", " bytes, 9 rows\n", `xxx"...`, "... and 4 more rows\n"}, []string{strings.Repeat("x", 121)}},
		"rubbish":   {ingest.WholeMessage, []byte("rub\x1bbish" + strings.Repeat("-", 100)), []string{"108 bytes, not to be read: malformed: ", `"rub\x1bbish---`, `"...`}, []string{"\x1b"}},
		"nothing":   {ingest.WholeMessage, nil, []string{"0 bytes, not to be read: malformed: "}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			q := ingest.Quarantined{Topic: "docs", Partition: 2, Offset: 77, Row: c.row, Fault: ingest.Fault{Reason: schemas.ReasonNullID, Detail: "id is null"}, Timestamp: 1_700_000_000_123, Payload: c.payload}
			if err := showQuarantined(&out, q); err != nil {
				t.Fatal(err)
			}
			narrow := spaces.ReplaceAllString(out.String(), " ")
			for _, want := range c.want {
				if !strings.Contains(narrow, want) {
					t.Errorf("does not say %q:\n%s", want, &out)
				}
			}
			for _, not := range c.not {
				if strings.Contains(out.String(), not) {
					t.Errorf("says %q:\n%s", not, &out)
				}
			}
		})
	}
}
