package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/schemas"
)

// What was acknowledged is told of each file, up to the one that failed.
func TestProduceJSON(t *testing.T) {
	topic := sourcetest.Topic(t, 2, nil)
	file := func(name string, body []byte) string {
		name = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(name, body, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	rows := payloadOf(t, `[{"id":"a","vector":[1,2,3,4,5,6,7,8]},{"id":"b","vector":[1,2,3,4,5,6,7,8]}]`)
	two := file("two.arrows", rows)
	const endOfStream = 8
	cut := file("cut.arrows", append(rows[:len(rows)-endOfStream:len(rows)-endOfStream], "\xff\xff\xff\xff rubbish"...))
	c := &channelTest{T: t}
	command := &produceCommand{Kafka: cli.Kafka{Brokers: topic.Options().Brokers}, Topic: topic.Options().Topic, Rows: 10, JSON: true, Files: []string{two, two}}

	var got produced
	described(t, "produce", c.output(command), &got)
	if want := (producedFile{File: two, Rows: 2}); got.Topic != command.Topic || got.Rows != 4 || len(got.Files) != 2 || got.Files[0] != want || got.Files[1] != want {
		t.Errorf("%+v", got)
	}

	command.Files = []string{two, cut, two}
	out, err := c.outputOf(command)
	got = produced{}
	described(t, "produce", out, &got)
	if err == nil || got.Rows != 4 || len(got.Files) != 2 || got.Files[1].Rows != 2 || got.Files[1].Fault != err.Error() || !strings.Contains(err.Error(), "after 2 rows were acknowledged") {
		t.Errorf("%+v, %v", got, err)
	}
}

// A topic that takes small messages only, as those that init did not make, gets more of them.
func TestProduceToATopicOfSmallMessages(t *testing.T) {
	topic := sourcetest.Topic(t, 2, map[string]string{"max.message.bytes": "20000"})
	c := &channelTest{T: t}
	command := &produceCommand{Kafka: cli.Kafka{Brokers: topic.Options().Brokers}, Topic: topic.Options().Topic, Rows: 8192, Encoder: "e", Files: []string{jsonRows(t, "rows", 2000, nil)}}
	command.ID, command.Vector = "id", "vector"
	if out := c.output(command); !strings.Contains(out, "rows.jsonl: 2000 rows acknowledged\n") {
		t.Error(out)
	}
	for p := range 2 {
		b, err := topic.Bounds(t.Context(), p)
		if err != nil || b.End < 4 || b.End > 16 { // 1,000 rows of 64 bytes and more
			t.Errorf("partition %d: %d messages, %v", p, b.End, err)
		}
	}
}

// jsonRows is n rows of 16 values as JSON lines, of which some may be bad.
func jsonRows(t *testing.T, name string, n int, bad map[int]string) string {
	t.Helper()
	var lines strings.Builder
	for i := range n {
		vector := "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]"
		number := fmt.Sprint(i)
		if b, ok := bad[i]; ok {
			if n, attribute := strings.CutPrefix(b, "n="); attribute {
				number = n
			} else {
				vector = b
			}
		}
		fmt.Fprintf(&lines, `{"id": "%s %d", "vector": %s, "n": %s}`+"\n", name, i, vector, number)
	}
	path := filepath.Join(t.TempDir(), name+".jsonl")
	if err := os.WriteFile(path, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Who produces with the store is told what became of the rows, by the commits of the index.
func TestProduceTellsWhatWasRefused(t *testing.T) {
	tt := newTripTest(t, "cosine", func(f *specFlags) { f.Shards = 2 })
	zero := "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]"
	good, bad := jsonRows(t, "good", 300, nil), jsonRows(t, "bad", 300, map[int]string{7: zero, 70: zero, 200: "null"})
	command := func(files ...string) *produceCommand {
		c := &produceCommand{Kafka: tt.kafka, Store: tt.storage.Store, Wait: time.Minute, Rows: 100, Encoder: "e", Files: files}
		c.ID, c.Vector = "id", "vector"
		return c
	}
	stop := tt.start()
	out, err := tt.outputOf(command(good))
	if err != nil || !strings.Contains(out, "good.jsonl: 300 rows acknowledged\n300 rows taken, 0 refused\n") {
		t.Errorf("%v: %s", err, out)
	}

	c := command(bad, good)
	c.JSON = true
	out, err = tt.outputOf(c)
	if err == nil || err.Error() != "3 of 600 rows are not in the index" {
		t.Errorf("%v", err)
	}
	var got produced
	described(t, "produce", out, &got)
	if o := got.Outcome; got.Topic != tt.flags.Topic || o == nil || o.Taken != 597 || o.Refused != 3 || o.Lost != 0 || o.Waiting != 0 || len(o.Reasons) != 2 ||
		o.Reasons[0].Reason != schemas.ReasonZero || o.Reasons[0].Rows != 2 || o.Reasons[0].Detail == "" || o.Reasons[1].Reason != schemas.ReasonDims || o.Reasons[1].Rows != 1 {
		t.Errorf("%+v", got.Outcome)
	}

	out, err = tt.outputOf(command(bad))
	if want := regexp.MustCompile(`297 rows taken, 3 refused\n  2  zero_vector  as partition \d, offset \d+, row \d+: .*\n  1  dims +as partition \d, .*\neach of them: adastream quarantine ls --store=` + regexp.QuoteMeta(tt.storage.Store) + ` --shard=[01]\n`); err == nil || !want.MatchString(out) {
		t.Errorf("%v: %s", err, out)
	}

	// Of a value of another kind its own row is refused, and no other.
	kinds := jsonRows(t, "kinds", 300, map[int]string{7: "n=1.5", 70: `n="seventy"`, 71: "n=null", 200: "n=true"})
	c = command(kinds)
	c.JSON = true
	out, err = tt.outputOf(c)
	got = produced{}
	described(t, "produce", out, &got)
	if o := got.Outcome; err == nil || o.Taken != 297 || len(o.Reasons) != 2 || o.Reasons[0].Reason != schemas.ReasonSchema || o.Reasons[0].Rows != 2 || o.Reasons[1].Reason != schemas.ReasonAttribute || o.Reasons[1].Rows != 1 {
		t.Errorf("%v: %+v", err, o)
	}

	c = command(good)
	c.Encoder = "f"
	if out, err = tt.outputOf(c); err == nil || !strings.Contains(err.Error(), `its vectors are of the encoder "f", the index is for "e"`) {
		t.Errorf("another encoder: %v: %s", err, out)
	}
	c = command(good)
	c.Topic = "another"
	if out, err = tt.outputOf(c); err == nil || !strings.Contains(err.Error(), "--topic another: the index in --store reads "+tt.flags.Topic) {
		t.Errorf("another topic: %v: %s", err, out)
	}
	c = command(good)
	c.Store, c.Topic = "", tt.flags.Topic
	if out, err = tt.outputOf(c); err != nil || !strings.HasSuffix(out, "see `adastream quarantine ls --store=...`, or produce with --store\n") {
		t.Errorf("without the store: %v: %s", err, out)
	}
	stop()

	c = command(good) // of which nobody will hear
	c.Wait = 200 * time.Millisecond
	if out, err = tt.outputOf(c); err == nil || !strings.Contains(err.Error(), "is committed up to offset") || !strings.Contains(err.Error(), "is an ingestor running") || !strings.Contains(out, "0 rows taken, 0 refused, 300 not committed yet\n") {
		t.Errorf("without an ingestor: %v: %s", err, out)
	}
}

// A flood stops the ingestor: who waits is told what it refused until then, and where to look.
func TestProduceAFlood(t *testing.T) {
	tt := newTripTest(t, "cosine", func(f *specFlags) { f.Partitions = 1 })
	stop := tt.start()
	defer stop()
	bad := map[int]string{}
	for i := range 3000 {
		bad[i] = "[1,2,3]"
	}
	c := &produceCommand{Kafka: tt.kafka, Store: tt.storage.Store, Wait: 3 * time.Second, Rows: 100, Encoder: "e", Files: []string{jsonRows(t, "flood", 3000, bad)}}
	c.ID, c.Vector = "id", "vector"
	out, err := tt.outputOf(c)
	if err == nil || !strings.Contains(err.Error(), "an ingestor stops a partition of which nearly all is refused") || !regexp.MustCompile(`0 rows taken, [12]\d\d\d refused, [12]\d\d\d not committed yet\n  [12]\d\d\d  dims `).MatchString(out) {
		t.Errorf("%v: %s", err, out)
	}
}
