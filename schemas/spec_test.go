package schemas

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func validSpec() Spec {
	return Spec{
		Format: SpecFormat, Name: "words", Metric: Cosine, Ladder: []int{64, 128, 256}, Encoder: "mini 2", Vectors: Float16,
		Attributes: []Attribute{{"title", AttributeString}, {"seen", AttributeTimestamp}, {"n", AttributeInt}, {"x", AttributeFloat}, {"ok", AttributeBool}},
		Topic:      Topic{Name: "embeddings", Cluster: "c-1", ID: "t-1", Partitions: 3},
		Shards:     1, Defaults: Defaults{TargetRecall: 0.95},
	}
}

// specFaults are the specs that Validate refuses, with its whole message: the field, the value and what is allowed.
var specFaults = map[string]struct {
	change     func(*Spec)
	want       string
	schemaToo  bool // the JSON schema refuses it as well; what it cannot express, it says in its description
	noDocument bool // there is no JSON of it
}{
	"format":         {func(s *Spec) { s.Format = 2 }, "format: 2 is not known here, allowed: 1; a later version of Adastream wrote it: upgrade this one", true, false},
	"no name":        {func(s *Spec) { s.Name = "" }, `name: "", allowed: 1 to 128 letters, digits, '.', '_', '-', starting with a letter or digit`, true, false},
	"name with path": {func(s *Spec) { s.Name = "a/b" }, `name: "a/b", allowed: 1 to 128 letters, digits, '.', '_', '-', starting with a letter or digit`, true, false},
	"name with dot":  {func(s *Spec) { s.Name = ".a" }, `name: ".a", allowed: 1 to 128 letters, digits, '.', '_', '-', starting with a letter or digit`, true, false},
	"long name": {func(s *Spec) { s.Name = strings.Repeat("n", 129) },
		`name: "` + strings.Repeat("n", 129) + `", allowed: 1 to 128 letters, digits, '.', '_', '-', starting with a letter or digit`, true, false},
	"metric":      {func(s *Spec) { s.Metric = "l2" }, `metric: "l2", allowed: cosine, ip`, true, false},
	"vectors":     {func(s *Spec) { s.Vectors = "int8" }, `vectors: "int8", allowed: float16, float32`, true, false},
	"empty level": {func(s *Spec) { s.Ladder = []int{} }, "ladder: 0 levels, allowed: 1 to 16 ascending widths such as [64,128,256]", true, false},
	"many levels": {func(s *Spec) {
		s.Ladder = nil
		for i := range 17 {
			s.Ladder = append(s.Ladder, 4*(i+1))
		}
	}, "ladder: 17 levels, allowed: 1 to 16 ascending widths such as [64,128,256]", true, false},
	"width of 0":         {func(s *Spec) { s.Ladder = []int{0, 64} }, "ladder: [0 64], allowed: ascending multiples of 4 from 4 to 8192", true, false},
	"width not by 4":     {func(s *Spec) { s.Ladder = []int{64, 66} }, "ladder: [64 66], allowed: ascending multiples of 4 from 4 to 8192", true, false},
	"too wide":           {func(s *Spec) { s.Ladder = []int{64, 8196} }, "ladder: [64 8196], allowed: ascending multiples of 4 from 4 to 8192", true, false},
	"level twice":        {func(s *Spec) { s.Ladder = []int{64, 64} }, "ladder: [64 64], allowed: ascending multiples of 4 from 4 to 8192", true, false},
	"falling ladder":     {func(s *Spec) { s.Ladder = []int{128, 64} }, "ladder: [128 64], allowed: ascending multiples of 4 from 4 to 8192", false, false},
	"no encoder":         {func(s *Spec) { s.Encoder = "" }, `encoder: "", allowed: 1 to 128 characters that name the model and its version`, true, false},
	"many attributes":    {func(s *Spec) { s.Attributes = manyAttributes(65) }, "attributes: 65, allowed: at most 64", true, false},
	"attribute by space": {func(s *Spec) { s.Attributes[0].Name = "a b" }, `attributes: name "a b", allowed: letters, digits, '_', '.', '-', starting with a letter or '_'`, true, false},
	"attribute by digit": {func(s *Spec) { s.Attributes[0].Name = "1a" }, `attributes: name "1a", allowed: letters, digits, '_', '.', '-', starting with a letter or '_'`, true, false},
	"attribute unnamed":  {func(s *Spec) { s.Attributes[0].Name = "" }, `attributes: name "", allowed: letters, digits, '_', '.', '-', starting with a letter or '_'`, true, false},
	"attribute id":       {func(s *Spec) { s.Attributes[0].Name = "id" }, `attributes: name "id" is a column of every message, choose another`, true, false},
	"attribute vector":   {func(s *Spec) { s.Attributes[0].Name = "vector" }, `attributes: name "vector" is a column of every message, choose another`, true, false},
	"attribute op":       {func(s *Spec) { s.Attributes[0].Name = "op" }, `attributes: name "op" is a column of every message, choose another`, true, false},
	"attribute version":  {func(s *Spec) { s.Attributes[0].Name = "version" }, `attributes: name "version" is a column of every message, choose another`, true, false},
	"attribute twice":    {func(s *Spec) { s.Attributes[1].Name = "title" }, `attributes: name "title" is there twice`, false, false},
	"attribute type":     {func(s *Spec) { s.Attributes[0].Type = "string" }, `attributes: type "string" of "title", allowed: utf8, bool, int64, float64, timestamp`, true, false},
	"no topic":           {func(s *Spec) { s.Topic.Name = "" }, "topic.name: empty, allowed: the name of the Kafka topic that feeds the index", true, false},
	"no partitions":      {func(s *Spec) { s.Topic.Partitions = 0 }, "topic.partitions: 0, allowed: 1 to 100000", true, false},
	"many partitions":    {func(s *Spec) { s.Topic.Partitions = 100_001 }, "topic.partitions: 100001, allowed: 1 to 100000", true, false},
	"no shards":          {func(s *Spec) { s.Shards = 0 }, "shards: 0, allowed: 1 to 3; each has a partition of the topic at least", true, false},
	"empty shards":       {func(s *Spec) { s.Shards = 7 }, "shards: 7, allowed: 1 to 3; each has a partition of the topic at least", false, false},
	"many shards":        {func(s *Spec) { s.Topic.Partitions, s.Shards = 2000, 1025 }, "shards: 1025, allowed: 1 to 1024; each has a partition of the topic at least", true, false},
	"many loads":         {func(s *Spec) { s.Loads = 100_001 }, "loads: 100001, allowed: 1 to 100000 (or absent, which is none)", true, false},
	"loads of shards":    {func(s *Spec) { s.Loads, s.Shards = 50_000, 2 }, "loads: 50000 in each of 2 shards beside 3 partitions, allowed: 100000 in all", false, false},
	"lists per row":      {func(s *Spec) { s.ListsPerRow = 3 }, "lists_per_row: 3, allowed: 1, 2 (or absent, which is 2)", true, true},
	"prefix":             {func(s *Spec) { s.Prefix = "pca" }, `prefix: "pca", allowed: native, rotate (or absent, which is native)`, true, false},
	"too wide to rotate": {func(s *Spec) { s.Ladder, s.Prefix = []int{64, 4100}, PrefixRotate }, "prefix: rotate of 4100 dimensions, allowed: up to 4096", false, false},
	"recall of 0":        {func(s *Spec) { s.Defaults.TargetRecall = 0 }, "defaults.target_recall: 0, allowed: more than 0 and less than 1", true, false},
	"recall of 1":        {func(s *Spec) { s.Defaults.TargetRecall = 1 }, "defaults.target_recall: 1, allowed: more than 0 and less than 1", true, false},
	"recall of NaN":      {func(s *Spec) { s.Defaults.TargetRecall = math.NaN() }, "defaults.target_recall: NaN, allowed: more than 0 and less than 1", false, true},
}

func manyAttributes(n int) []Attribute {
	attributes := make([]Attribute, n)
	for i := range attributes {
		attributes[i] = Attribute{"a" + strings.Repeat("x", i), AttributeInt}
	}
	return attributes
}

func TestSpecValidate(t *testing.T) {
	schema := compile(t, "spec")
	for name, test := range specFaults {
		t.Run(name, func(t *testing.T) {
			s := validSpec()
			test.change(&s)
			if err := s.Validate(); err == nil || err.Error() != test.want {
				t.Errorf("Validate =\n%v, want\n%s", err, test.want)
			}
			if test.noDocument {
				return
			}
			body := mustEncode(t, s)
			if _, err := ParseSpec(body); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("ParseSpec = %v", err)
			}
			if err := validate(t, schema, body); (err != nil) != test.schemaToo {
				t.Errorf("the schema says %v, want a fault: %v", err, test.schemaToo)
			}
		})
	}
	for name, change := range map[string]func(*Spec){
		"full":              func(*Spec) {},
		"one level":         func(s *Spec) { s.Ladder = []int{4} },
		"widest":            func(s *Spec) { s.Ladder = []int{8192} },
		"no attributes":     func(s *Spec) { s.Attributes = nil },
		"64 attributes":     func(s *Spec) { s.Attributes = manyAttributes(64) },
		"anonymous topic":   func(s *Spec) { s.Topic.Cluster, s.Topic.ID = "", "" },
		"inner product":     func(s *Spec) { s.Metric, s.Vectors = InnerProduct, Float32 },
		"loads":             func(s *Spec) { s.Loads, s.Shards = 49_998, 2 },
		"native prefixes":   func(s *Spec) { s.Prefix = PrefixNative },
		"rotated prefixes":  func(s *Spec) { s.Prefix, s.Ladder = PrefixRotate, []int{64, 4096} },
		"attribute by dots": func(s *Spec) { s.Attributes[0].Name = "_a.b-c" },
	} {
		t.Run(name, func(t *testing.T) {
			s := validSpec()
			change(&s)
			body := mustEncode(t, s)
			got, err := ParseSpec(body)
			if err != nil || !reflect.DeepEqual(*got, s) {
				t.Errorf("ParseSpec = %+v, %v, want %+v", got, err, s)
			}
			if err := validate(t, schema, body); err != nil {
				t.Errorf("the schema refuses it: %v", err)
			}
		})
	}
}

// Partitions of loads follow those of the topic, and are of the shard that they are for.
func TestSpecPartitions(t *testing.T) {
	s := validSpec()
	s.Topic.Partitions, s.Shards = 5, 3
	without := [][]int{{0, 3}, {1, 4}, {2}}
	for shard, want := range without {
		if got := s.PartitionsOf(shard); !slices.Equal(got, want) || s.EndPartition() != 5 || s.IsLoad(5) || s.HasPartition(5) {
			t.Errorf("without loads shard %d has %v of %d, want %v", shard, got, s.EndPartition(), want)
		}
	}
	s.Loads = 2
	all := map[int]bool{}
	for shard, loads := range [][]int{{6, 9}, {7, 10}, {8, 11}} {
		want := slices.Concat(without[shard], loads)
		if got, topic := s.PartitionsOf(shard), s.TopicPartitionsOf(shard); !slices.Equal(got, want) || !slices.Equal(topic, without[shard]) {
			t.Errorf("shard %d has %v, %v of the topic, want %v, %v", shard, got, topic, want, without[shard])
		}
		for part, p := range loads {
			if !s.IsLoad(p) || s.ShardOf(p) != shard || s.LoadPartition(part, shard) != p {
				t.Errorf("partition %d: of loads %v, of shard %d", p, s.IsLoad(p), s.ShardOf(p))
			}
		}
		for _, p := range want {
			all[p] = true
		}
	}
	for p := -1; p < 14; p++ {
		if s.HasPartition(p) != all[p] || s.IsLoad(p) != (all[p] && p > 5) {
			t.Errorf("partition %d: there %v, of loads %v", p, s.HasPartition(p), s.IsLoad(p))
		}
	}
	if s.EndPartition() != 12 {
		t.Errorf("partitions end at %d, want 12", s.EndPartition())
	}
}

func TestSpecFaultsAreAllReported(t *testing.T) {
	err := (&Spec{}).Validate()
	if err == nil {
		t.Fatal("the zero spec is valid")
	}
	for _, field := range []string{"format", "name", "metric", "vectors", "ladder", "encoder", "topic.name", "topic.partitions", "shards", "defaults.target_recall"} {
		if !strings.Contains("\n"+err.Error(), "\n"+field+":") {
			t.Errorf("no word about %s in\n%v", field, err)
		}
	}
}

func TestSpecWithDefaults(t *testing.T) {
	s := Spec{Name: "words", Ladder: []int{64}, Encoder: "mini 2", Topic: Topic{Name: "embeddings", Partitions: 3}}.WithDefaults()
	if err := s.Validate(); err != nil {
		t.Errorf("what has no default was given, and still: %v", err)
	}
	if s.Metric != Cosine || s.Vectors != Float32 || s.Shards != 1 || s.Defaults.TargetRecall != 0.95 || s.Dim() != 64 {
		t.Errorf("defaults: %+v", s)
	}
	full := validSpec()
	if got := full.WithDefaults(); !reflect.DeepEqual(got, full) {
		t.Errorf("WithDefaults changed %+v to %+v", full, got)
	}
}

func mustEncode(t testing.TB, v any) []byte {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return body
}
