package embedded_test

import (
	"context"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/embedded"
)

func start(t *testing.T, o embedded.Options) (*embedded.Broker, *source.Client) {
	t.Helper()
	b, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	c, err := source.New(source.Options{Brokers: []string{b.Addr()}, Topic: "t"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return b, c
}

func TestRestartKeepsTopic(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	o := embedded.Options{Dir: t.TempDir()}
	b, c := start(t, o)
	if err := c.CreateTopic(ctx, 3, 1, nil); err != nil {
		t.Fatal(err)
	}
	// Above Kafka's own limit of 1 MiB.
	big := make([]byte, 20<<20)
	p := c.NewProducer(source.ProducerOptions{})
	if err := p.Send(ctx, source.Message{Partition: 2, Value: []byte("a")}, source.Message{Partition: 2, Value: big}); err != nil {
		t.Fatal(err)
	}
	before, err := c.Topic(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	b.Close()

	_, c = start(t, o)
	after, err := c.Topic(ctx)
	if err != nil || after != before {
		t.Errorf("identity %+v, before %+v, %v", after, before, err)
	}
	ids, err := c.Partitions(ctx)
	if err != nil || len(ids) != 3 {
		t.Errorf("partitions %v, %v", ids, err)
	}
	a, err := c.Fetch(ctx, 2, 0, time.Second)
	if err != nil || a.Next != 1 || string(a.Records[0].Value) != "a" {
		t.Errorf("first record: next %d, %v", a.Next, err)
	}
	got, err := c.Fetch(ctx, 2, 1, time.Second)
	if err != nil || got.Next != 2 || len(got.Records[0].Value) != len(big) {
		t.Errorf("second record: next %d, %v", got.Next, err)
	}
}

func TestPortIsTaken(t *testing.T) {
	b, _ := start(t, embedded.Options{})
	var port int
	for _, d := range b.Addr()[len("127.0.0.1:"):] {
		port = 10*port + int(d-'0')
	}
	if _, err := embedded.Start(embedded.Options{Port: port}); err == nil {
		t.Error("started twice on one port")
	}
}

func TestOptionsValidate(t *testing.T) {
	for _, o := range []embedded.Options{{Port: -1}, {Port: 1 << 16}, {MaxMessageBytes: -1}, {MaxMessageBytes: 1 << 31}} {
		if _, err := embedded.Start(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
