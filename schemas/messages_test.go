package schemas

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestMessagesValidate(t *testing.T) {
	schema := compile(t, "spec")
	json := func(change func(*Messages)) func(*Spec) {
		return func(s *Spec) {
			s.Messages = &Messages{Format: MessagesJSON}
			change(s.Messages)
		}
	}
	many := map[string]string{}
	for i := range 65 {
		many[strconv.Itoa(i)] = "x"
	}
	for name, test := range map[string]struct {
		change    func(*Spec)
		want      string
		schemaToo bool
	}{
		"no format":            {json(func(m *Messages) { m.Format = "" }), `messages.format: "", allowed: arrow, json, avro`, true},
		"format":               {json(func(m *Messages) { m.Format = "protobuf" }), `messages.format: "protobuf", allowed: arrow, json, avro`, true},
		"Arrow and more":       {json(func(m *Messages) { m.Format, m.ID = MessagesArrow, "x" }), "messages.format: arrow with more members, allowed: it alone", false},
		"framing":              {json(func(m *Messages) { m.Framing = "glue" }), `messages.framing: "glue", allowed: confluent`, true},
		"envelope":             {json(func(m *Messages) { m.Envelope = "maxwell" }), `messages.envelope: "maxwell", allowed: debezium`, true},
		"vector bytes":         {json(func(m *Messages) { m.VectorBytes = "float64" }), `messages.vector_bytes: "float64", allowed: float16, float32`, true},
		"tombstones":           {json(func(m *Messages) { m.Tombstones = "keep" }), `messages.tombstones: "keep", allowed: delete, ignore`, true},
		"op in an envelope":    {json(func(m *Messages) { m.Envelope, m.Op = EnvelopeDebezium, "x" }), `messages.op: "x", allowed: absent, the envelope says`, false},
		"deletes of nothing":   {json(func(m *Messages) { m.Deletes = []string{"x"} }), `messages.deletes: ["x"], allowed: up to 16 values of the field that op names`, false},
		"an empty delete":      {json(func(m *Messages) { m.Op, m.Deletes = "x", []string{""} }), `messages.deletes: [""], allowed`, true},
		"many deletes":         {json(func(m *Messages) { m.Op, m.Deletes = "x", slices.Repeat([]string{"d"}, 17) }), "messages.deletes: [", true},
		"unknown attribute":    {json(func(m *Messages) { m.Attributes = map[string]string{"size": "x"} }), `messages.attributes: "size" is no attribute of the index, allowed: title, seen, n, x, ok`, false},
		"unit of a text":       {json(func(m *Messages) { m.Units = map[string]string{"title": "s"} }), `messages.units: "title" is no timestamp of the index, allowed: attributes of the type timestamp`, false},
		"unit":                 {json(func(m *Messages) { m.Units = map[string]string{"seen": "days"} }), `messages.units: "days", allowed: s, ms, us, ns`, true},
		"schemas of JSON":      {json(func(m *Messages) { m.Schemas = map[string]string{"1": "x"} }), "messages.schemas: 1 with the format json, allowed: up to 64 with the format avro", false},
		"many schemas":         {json(func(m *Messages) { m.Format, m.Schemas = MessagesAvro, many }), "messages.schemas: 65 with the format avro", true},
		"schema id":            {json(func(m *Messages) { m.Format, m.Schemas = MessagesAvro, map[string]string{"07": "x"} }), `messages.schemas: id "07", allowed: 0 to 2147483647`, true},
		"schema id beyond":     {json(func(m *Messages) { m.Format, m.Schemas = MessagesAvro, map[string]string{"2147483648": "x"} }), `messages.schemas: id "2147483648", allowed`, false},
		"empty schema":         {json(func(m *Messages) { m.Format, m.Schemas = MessagesAvro, map[string]string{"7": ""} }), "messages.schemas: 0 bytes of schema 7, allowed: 1 to 1048576", true},
		"path":                 {json(func(m *Messages) { m.ID = "a..b" }), `messages.id: path "a..b", allowed: names of fields with dots between them, up to 256 bytes; $. before them goes with an envelope`, true},
		"long path":            {json(func(m *Messages) { m.Vector = strings.Repeat("v", 257) }), "messages.vector: path ", true},
		"path of an attribute": {json(func(m *Messages) { m.Attributes = map[string]string{"n": "."} }), `messages.attributes.n: path ".", allowed`, true},
		"envelope without one": {json(func(m *Messages) { m.Version = "$.source.lsn" }), `messages.version: path "$.source.lsn", allowed`, false},
		"through another":      {json(func(m *Messages) { m.ID, m.Version = "a", "a.b" }), `messages.version: path "a.b" and the path "a" of id, allowed: none that leads through the value of another`, false},
		"through the row":      {json(func(m *Messages) { m.Envelope, m.Version = EnvelopeDebezium, "$.after" }), `messages.version: path "$.after" and the path "id" of id, allowed`, false},
		"through the op":       {json(func(m *Messages) { m.Envelope, m.Version = EnvelopeDebezium, "$.op.x" }), `messages.envelope: path "$.op" and the path "$.op.x" of version, allowed`, false},
		"key":                  {json(func(m *Messages) { m.Key = "a." }), `messages.key: path "a.", allowed: names of fields with dots between them, up to 256 bytes, or $ for a key that is one value`, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := validSpec()
			test.change(&s)
			if err := s.Validate(); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("Validate =\n%v, want\n%s", err, test.want)
			}
			if err := validate(t, schema, mustEncode(t, s)); (err != nil) != test.schemaToo {
				t.Errorf("the schema says %v, want a fault: %v", err, test.schemaToo)
			}
		})
	}
	for name, m := range map[string]*Messages{
		"none":  nil,
		"Arrow": {Format: MessagesArrow},
		"JSON":  {Format: MessagesJSON},
		"all of JSON": {Format: MessagesJSON, Framing: FramingConfluent, ID: "a.b", Vector: "e", VectorBytes: Float16, Version: "r", Encoder: "m", Op: "o", Deletes: []string{"d"},
			Attributes: map[string]string{"title": "a.c", "n": "a.b"}, Units: map[string]string{"seen": "us"}, Key: "$", Tombstones: TombstonesIgnore},
		"all of Avro": {Format: MessagesAvro, Envelope: EnvelopeDebezium, ID: "sku", Version: "$.source.lsn", Key: "sku", Tombstones: TombstonesDelete, Schemas: map[string]string{"0": `"int"`, "2147483647": `"long"`}},
	} {
		s := validSpec()
		s.Messages = m
		body := mustEncode(t, s)
		got, err := ParseSpec(body)
		if err != nil || !reflect.DeepEqual(*got, s) {
			t.Errorf("%s: ParseSpec = %+v, %v, want %+v", name, got, err, s)
		}
		if err := validate(t, schema, body); err != nil {
			t.Errorf("%s: the schema refuses it: %v", name, err)
		}
	}
}
