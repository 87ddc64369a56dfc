package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
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
