package source_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
)

// ledger notes who runs which partitions.
type ledger struct {
	t       *testing.T
	mu      sync.Mutex
	owned   map[string][]int // of members whose run is going on
	runs    map[string]int   // how many runs of a member are going on
	changed chan struct{}
	members map[string]*member
}

// member is one Join of the group.
type member struct {
	stop context.CancelFunc
	done chan error
	last *source.Assignment
}

func newLedger(t *testing.T) *ledger {
	return &ledger{t: t, owned: map[string][]int{}, runs: map[string]int{}, members: map[string]*member{}, changed: make(chan struct{}, 1)}
}

// join starts a member with a client of its own.
func (l *ledger) join(name, group string, o source.Options) {
	l.t.Helper()
	c, err := source.New(o)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(l.t.Context())
	m := &member{stop: stop, done: make(chan error, 1)}
	l.members[name] = m
	go func() {
		defer c.Close()
		m.done <- c.Join(ctx, group, func(ctx context.Context, a *source.Assignment) {
			l.begin(name, a)
			<-ctx.Done()
			l.end(name)
		})
	}()
	l.t.Cleanup(func() { l.leave(name) })
}

func (l *ledger) begin(name string, a *source.Assignment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs[name]++
	if l.runs[name] != 1 {
		l.t.Errorf("%s has %d generations at once", name, l.runs[name])
	}
	l.owned[name] = a.Partitions
	l.members[name].last = a
	l.signal()
}

func (l *ledger) end(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs[name]--
	delete(l.owned, name)
	l.signal()
}

func (l *ledger) signal() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// leave stops a member; a second call does nothing.
func (l *ledger) leave(name string) {
	l.t.Helper()
	m := l.members[name]
	m.stop()
	select {
	case err, ok := <-m.done:
		if ok && !errors.Is(err, context.Canceled) {
			l.t.Errorf("%s: join returned %v", name, err)
		}
		if ok {
			close(m.done)
		}
	case <-time.After(patience):
		l.t.Errorf("%s does not leave", name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs[name] != 0 {
		l.t.Errorf("%s still runs after join returned", name)
	}
}

// settle waits until every one of n partitions is owned by exactly one member
// and the members own as many as want says, in any order.
func (l *ledger) settle(n int, want ...int) {
	l.t.Helper()
	slices.Sort(want)
	timeout := time.After(patience)
	for {
		l.mu.Lock()
		var all, sizes []int
		for _, ps := range l.owned {
			all = append(all, ps...)
			sizes = append(sizes, len(ps))
		}
		l.mu.Unlock()
		slices.Sort(all)
		slices.Sort(sizes)
		whole := len(all) == n && len(slices.Compact(slices.Clone(all))) == n
		if whole && slices.Equal(sizes, want) {
			return
		}
		select {
		case <-l.changed:
		case <-timeout:
			l.t.Fatalf("partitions %v in shares of %v, want %d in shares of %v", all, sizes, n, want)
		}
	}
}

func groupOptions(c *source.Client) source.Options {
	o := c.Options()
	o.SessionTimeout = 6 * time.Second
	o.WatchInterval = 100 * time.Millisecond
	return o
}

func TestGroupSharesPartitions(t *testing.T) {
	c := sourcetest.Topic(t, 6, nil)
	o := groupOptions(c)
	group := "group-" + uuid.NewString()
	l := newLedger(t)

	l.join("a", group, o)
	l.settle(6, 6)
	l.join("b", group, o)
	l.settle(6, 3, 3)
	l.join("c", group, o)
	l.settle(6, 2, 2, 2)
	l.leave("a")
	l.settle(6, 3, 3)
	l.join("d", group, o)
	l.settle(6, 2, 2, 2)
	l.leave("b")
	l.leave("c")
	l.settle(6, 6)
}

// Members that have nothing to do stay in the group and do not disturb it.
func TestGroupWithMoreMembersThanPartitions(t *testing.T) {
	c := sourcetest.Topic(t, 1, nil)
	o := groupOptions(c)
	group := "group-" + uuid.NewString()
	generations := make(chan *source.Assignment, 1000)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			// run returns at once: with kafka-go alone each return makes
			// the member join again, and the group never comes to rest.
			err := c.Join(ctx, group, func(_ context.Context, a *source.Assignment) { generations <- a })
			if !errors.Is(err, context.Canceled) {
				t.Errorf("join returned %v", err)
			}
		})
	}
	// Both members see the generation of two.
	timeout := time.After(patience)
	for owners, idle := 0, 0; owners == 0 || idle == 0; {
		select {
		case a := <-generations:
			if len(a.Partitions) > 0 {
				owners++
			} else {
				idle++
			}
		case <-timeout:
			t.Fatal("no generation with an idle member")
		}
	}
	// Then the group rests; at most the owner's part of this generation is
	// still to come.
	rest := time.After(2 * o.SessionTimeout / 10)
	for resting := true; resting; {
		select {
		case a := <-generations:
			if a.Generation > 3 {
				t.Fatalf("generation %d: the group keeps rebalancing", a.Generation)
			}
		case <-rest:
			resting = false
		}
	}
	stop()
	wg.Wait()
}

func TestGroupPicksUpAddedPartitions(t *testing.T) {
	c := sourcetest.Topic(t, 2, nil)
	o := groupOptions(c)
	group := "group-" + uuid.NewString()
	l := newLedger(t)
	l.join("a", group, o)
	l.join("b", group, o)
	l.settle(2, 1, 1)
	admin := kafka.Client{Addr: kafka.TCP(o.Brokers...), Transport: &kafka.Transport{}}
	res, err := admin.CreatePartitions(testContext(t), &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: o.Topic, Count: 6}},
	})
	if err := errors.Join(err, res.Errors[o.Topic]); err != nil {
		t.Fatal(err)
	}
	l.settle(6, 3, 3)
}

// A broker that was just started, or does not know a new topic yet, answers the leader of the group that there is no such topic. The
// library shares out nothing then, and the group would be idle until its next rebalance.
func TestGroupWhoseLeaderDidNotFindTheTopic(t *testing.T) {
	cl := cluster(t)
	var asked atomic.Int32
	cl.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cl.KeepControl()
		r := req.(*kmsg.MetadataRequest)
		// Leaders ask in a version of their own.
		if r.Version != 6 || asked.Add(1) > 1 {
			return nil, nil, false
		}
		res := r.ResponseKind().(*kmsg.MetadataResponse)
		unknown := kmsg.NewMetadataResponseTopic()
		unknown.Topic, unknown.ErrorCode = kmsg.StringPtr("t"), int16(kafka.UnknownTopicOrPartition)
		res.Topics = append(res.Topics, unknown)
		return res, nil, true
	})
	l := newLedger(t)
	l.join("a", "group", source.Options{Brokers: cl.ListenAddrs(), Topic: "t", SessionTimeout: 6 * time.Second, WatchInterval: 100 * time.Millisecond})
	l.settle(1, 1)
	if asked.Load() < 2 {
		t.Errorf("the leader has asked %d times: this test has missed it", asked.Load())
	}
}

func TestCommitIsSeenByDashboards(t *testing.T) {
	c := sourcetest.Topic(t, 2, nil)
	o := groupOptions(c)
	group := "group-" + uuid.NewString()
	l := newLedger(t)
	l.join("a", group, o)
	l.settle(2, 2)
	a := l.members["a"].last
	if a.Group != group || a.Member == "" || a.Generation < 1 {
		t.Errorf("assignment %+v", a)
	}
	if err := a.Commit(map[int]int64{0: 17, 1: 4}); err != nil {
		t.Fatal(err)
	}
	admin := kafka.Client{Addr: kafka.TCP(o.Brokers...), Transport: &kafka.Transport{}}
	res, err := admin.OffsetFetch(testContext(t), &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{o.Topic: {0, 1}}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[int]int64{}
	for _, p := range res.Topics[o.Topic] {
		got[p.Partition] = p.CommittedOffset
	}
	if got[0] != 17 || got[1] != 4 {
		t.Errorf("committed %v", got)
	}
	l.leave("a")
	if err := a.Commit(map[int]int64{0: 18}); !errors.Is(err, source.ErrTransient) {
		t.Errorf("commit after the generation ended: %v", err)
	}
}

// Join outlives what goes wrong, and says so.
func TestJoinReportsAndRecovers(t *testing.T) {
	// A topic that never was; one just deleted may still be seen for a while.
	o := source.Options{Brokers: sourcetest.Brokers(t), Topic: "test-" + uuid.NewString(), SessionTimeout: 6 * time.Second}
	states := make(chan error, 100)
	waiting := o
	waiting.OnState = func(err error) { states <- err }
	late, err := source.New(waiting)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	done := make(chan error, 1)
	go func() {
		done <- late.Join(t.Context(), "group-"+uuid.NewString(), func(ctx context.Context, _ *source.Assignment) { <-ctx.Done() })
	}()
	await := func(want string, ok func(error) bool) {
		t.Helper()
		timeout := time.After(patience)
		for {
			select {
			case err := <-states:
				if ok(err) {
					return
				}
			case <-timeout:
				t.Fatalf("no state: %s", want)
			}
		}
	}
	await("the topic is missing", func(err error) bool { return errors.Is(err, kafka.UnknownTopicOrPartition) })
	sourcetest.TopicOn(t, o, 1, nil)
	await("joined", func(err error) bool { return err == nil })
	late.Close()
	if err := <-done; !errors.Is(err, source.ErrClosed) {
		t.Errorf("join of a closed client: %v", err)
	}
}

func TestJoinRefusesEmptyGroup(t *testing.T) {
	c := sourcetest.Topic(t, 1, nil)
	err := c.Join(testContext(t), "", func(context.Context, *source.Assignment) {})
	if err == nil || errors.Is(err, source.ErrTransient) {
		t.Errorf("got %v", err)
	}
}

func ExampleClient_Join() {
	c, err := source.New(source.Options{Brokers: []string{"localhost:9092"}, Topic: "embeddings"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	err = c.Join(ctx, "adastream-ingest", func(ctx context.Context, a *source.Assignment) {
		var wg sync.WaitGroup
		for _, p := range a.Partitions {
			wg.Go(func() {
				var next int64 // from the commit chain, not from Kafka
				for ctx.Err() == nil {
					b, err := c.Fetch(ctx, p, next, time.Second)
					if errors.Is(err, source.ErrTransient) {
						continue // after a pause
					}
					if err != nil {
						return
					}
					next = b.Next
					// Write a segment, commit it, and only then:
					_ = a.Commit(map[int]int64{p: next})
				}
			})
		}
		wg.Wait()
	})
	fmt.Println(err)
}

// heard counts the lines of a log with a message.
type heard struct {
	slog.Handler
	message string
	lines   *atomic.Int64
}

func (h heard) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.message {
		h.lines.Add(1)
	}
	return nil
}

// A member that finds no broker, or no topic, says so once, however often it tries.
func TestNoGenerationIsToldOnce(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	lines, tries := &atomic.Int64{}, make(chan error)
	c := client(t, source.Options{Brokers: []string{ln.Addr().String()}, Topic: "t",
		Logger:  slog.New(heard{slog.NewTextHandler(io.Discard, nil), "no group generation", lines}),
		OnState: func(err error) { tries <- err }})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Join(ctx, "g", func(context.Context, *source.Assignment) {}) }()
	for range 4 {
		if err := <-tries; err == nil {
			t.Error("a generation without a broker")
		}
	}
	if n := lines.Load(); n != 1 {
		t.Errorf("%d lines for 4 tries, want 1", n)
	}
	stop()
	for {
		select {
		case <-tries:
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Join = %v", err)
			}
			return
		}
	}
}
