package main

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/adastream/adastream/client"
	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
)

// indexed makes an index from a file as standalone does, produces the file to it, or what else c says, and returns what is searched then: each row with
// its vector and attributes.
func indexed(t *testing.T, file string, c produceCommand, rows int) []string {
	t.Helper()
	brokers := sourcetest.Brokers(t)
	api, topic := freeAddress(t), "files-"+uuid.NewString()
	tt := &tripTest{channelTest: &channelTest{T: t}, node: cli.Node{URL: "http://" + api}, command: standaloneCommand{
		Dir: t.TempDir(), Brokers: brokers, Listen: api, OpsListen: freeAddress(t),
		specFlags: specFlags{Name: "n", Topic: topic, From: file, FromFile: c.fileFlags, Encoder: c.Encoder, Metric: "ip", Partitions: 2, Replication: 1, TargetRecall: 0.9},
	}}
	topicClient, err := cli.Kafka{Brokers: brokers}.Client(topic, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer topicClient.Close()
	defer sourcetest.DeleteTopic(t, topicClient)
	defer tt.start()()
	c.Kafka, c.Topic, c.Rows = cli.Kafka{Brokers: brokers}, topic, 16
	if c.Files == nil {
		c.Files = []string{file}
	}
	if err := c.Run(t.Context(), &cli.Logging{}); err != nil {
		t.Fatal(err)
	}
	node, err := tt.node.Client()
	if err != nil {
		t.Fatal(err)
	}
	q := client.Query{Vector: []float32{1, 2, 3, 4, 5, 6, 7, 9}, IncludeVector: true, How: client.How{K: 100, Exact: true}}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		a, err := node.Search(t.Context(), q)
		if err != nil || len(a.Hits) < rows {
			continue
		}
		var all []string
		for _, hit := range a.Hits {
			all = append(all, fmt.Sprintf("%s %v %v %v", hit.ID, hit.Score, hit.Vector, hit.Attributes))
		}
		slices.Sort(all)
		return all
	}
	t.Fatalf("%s: its %d rows are not found within a minute", file, rows)
	return nil
}

var seen = regexp.MustCompile(`seen:\S+ `)

// A file of any format, produced, is the index that its rows as an Arrow file are.
func TestProduceFormats(t *testing.T) {
	const dir = "../../pipeline/files/testdata"
	want := indexed(t, filepath.Join(dir, "rows.arrow"), produceCommand{}, 39)
	if len(want) != 39 || !strings.Contains(want[0], "item-0 1.859375 [-0.984375 -0.76") || !strings.Contains(want[0], "class:red new:true price:0 ") {
		t.Fatalf("%d rows, the first: %s", len(want), want[0])
	}
	for _, c := range []struct {
		name string
		by   produceCommand
	}{
		{"list.parquet", produceCommand{}},
		{"half.parquet", produceCommand{}},
		{"binary.parquet", produceCommand{Encoder: "e/1"}},
		{"rows.jsonl", produceCommand{Encoder: "e/1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := indexed(t, filepath.Join(dir, c.name), c.by, 39)
			want := slices.Clone(want)
			if !strings.Contains(got[0], "seen:") { // a format without timestamps
				for i := range want {
					want[i] = seen.ReplaceAllString(want[i], "")
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("rows:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// A file whose encoder nobody names is not sent: its rows would all be refused.
func TestProduceNeedsEncoder(t *testing.T) {
	tt := newTripTest(t, "cosine")
	c := produceCommand{Kafka: tt.kafka, Topic: tt.flags.Topic, Rows: 100, Files: []string{"../../pipeline/files/testdata/binary.parquet"}}
	if err := c.Run(t.Context(), &cli.Logging{}); err == nil || !strings.Contains(err.Error(), "--encoder") {
		t.Errorf("%v", err)
	}
}

// Vectors of a matrix are those of the other formats, under their lines or numbers, which go on from file to file.
func TestProduceMatrices(t *testing.T) {
	const dir = "../../pipeline/files/testdata/"
	vectors := func(rows []string) (all []string) { // with their scores, by id; item-11 has one only here
		for _, row := range rows {
			if row, _, _ = strings.Cut(row, " map["); !strings.HasPrefix(row, "item-11 ") {
				all = append(all, row)
			}
		}
		return all
	}
	want := vectors(indexed(t, dir+"rows.arrow", produceCommand{}, 39))
	for _, name := range []string{"f4.npy", "f2.npy", "rows.fvecs", "rows.fbin"} {
		c := produceCommand{Encoder: "e", IDs: dir + "ids.txt"}
		if got := vectors(indexed(t, dir+name, c, 40)); !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant:\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if got := indexed(t, dir+"rows.u8bin", produceCommand{Encoder: "e", FirstID: 1000, Files: []string{dir + "rows.bvecs", dir + "rows.u8bin"}}, 80); len(got) != 80 ||
		!strings.HasPrefix(got[0], "1000 ") || !strings.HasPrefix(got[79], "1079 ") {
		t.Errorf("numbered: %d rows, from %s to %s", len(got), got[0], got[len(got)-1])
	}
	c := produceCommand{Rows: 1, IDs: dir + "ids.txt", Files: []string{"a.npy", "b.npy"}}
	if err := c.Run(t.Context(), &cli.Logging{}); err == nil || !strings.Contains(err.Error(), "--ids "+dir+"ids.txt: needs exactly one file, got 2") {
		t.Errorf("%v", err)
	}
}
