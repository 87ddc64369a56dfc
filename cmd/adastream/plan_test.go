package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/index/capacity"
)

func TestPlanForPeople(t *testing.T) {
	w := capacity.Defaults()
	w.Rows, w.Ladder, w.Updates = 1_000_000, []int{64, 128, 256}, 100
	print := func(w capacity.Wish, explain bool) string {
		var out strings.Builder
		if err := printPlan(&out, capacity.Of(w), explain); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	short, long := print(w, false), print(w, true)
	if !strings.Contains(short, "it fits; the first limit: ") || strings.Contains(short, "one shard is not enough") {
		t.Errorf("it says\n%s", short)
	}
	for _, f := range capacity.Of(w).Figures {
		if f.Formula == "" || !strings.Contains(long, f.Formula) || !strings.Contains(short, amount(f.Value, f.Unit)) {
			t.Errorf("%s, %s: %s by %q is not in\n%s", f.Of, f.Name, amount(f.Value, f.Unit), f.Formula, long)
		}
	}
	w.Rows *= 1000
	if large := print(w, false); strings.Contains(large, "it fits;") || !strings.Contains(large, "it fits with --shards=") || !strings.Contains(large, "one shard is not enough: query node memory is ") {
		t.Errorf("of a thousand times the rows it says\n%s", large)
	}
	w.Shards, w.Partitions = 100, 100
	if shards := print(w, false); !strings.HasPrefix(shards, "per shard, of 100 with 10000000 rows each; requests and costs are for all:\n") || !strings.Contains(shards, "it fits; ") {
		t.Errorf("of 100 shards it says\n%s", shards)
	}
}

// What is not said is what capacity takes for granted, and what the daemons do when they are not told either.
func TestPlanDefaults(t *testing.T) {
	defaults := func(flags any, args ...string) {
		t.Helper()
		parser, err := kong.New(flags, kong.Vars{"cache_dir": t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(args); err != nil {
			t.Fatal(err)
		}
	}
	var c planCommand
	defaults(&c, "--rows=1000", "--dims=64")
	got, err := c.wish()
	if err != nil {
		t.Fatal(err)
	}
	want := capacity.Defaults()
	want.Rows, want.Ladder = 1000, []int{16, 32, 64}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("without flags the wish is\n%+v, that of capacity\n%+v", got, want)
	}

	var ingestor cli.Ingestor
	defaults(&ingestor, "--store=s", "--brokers=b:1")
	var builder cli.Builder
	defaults(&builder, "--store=s")
	var query cli.Query
	defaults(&query, "--store=s")
	if want.FlushAge != ingestor.FlushAge || want.PublishEvery != builder.PublishEvery || want.KeepFor != builder.KeepFor || want.PollEvery != query.PollEvery || want.Originals != query.Originals {
		t.Errorf("the daemons have %v, %v, %v, %v, originals %s; the plan %+v", ingestor.FlushAge, builder.PublishEvery, builder.KeepFor, query.PollEvery, query.Originals, want)
	}
}
