package source

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	// joinBackoff is the pause after a failed attempt to join. A fresh
	// broker answers the first ones with GroupCoordinatorNotAvailable.
	joinBackoff = 500 * time.Millisecond
	// rebalanceTimeout is how long the group waits for a member whose run
	// function has not returned yet.
	rebalanceTimeout = 30 * time.Second
	// leaveTimeout is how long Join waits for the broker's goodbye.
	leaveTimeout = 5 * time.Second
)

// Assignment is what a member of a group works on during one generation.
type Assignment struct {
	// Group and Member name the group and this member of it; Generation is
	// the group's count of rebalances.
	Group, Member string
	Generation    int
	// Partitions are the ids assigned to this member, ascending. There are
	// none when the group has more members than the topic has partitions.
	Partitions []int

	topic string
	gen   *kafka.Generation
	done  <-chan struct{}
}

// Commit stores offsets, by partition, as the group's positions: for each the
// next offset to be read. Nothing in Adastream reads them: they are for lag
// dashboards and autoscalers, so they are written after our own commit, and an
// error deserves a log line at most. It is safe for concurrent use; after the
// generation has ended it fails with [ErrTransient].
func (a *Assignment) Commit(offsets map[int]int64) error {
	select {
	case <-a.done:
		return fmt.Errorf("commit offsets of group %s: %w", a.Group,
			&fault{ErrTransient, fmt.Errorf("generation %d has ended", a.Generation)})
	default:
	}
	if len(offsets) == 0 {
		return nil
	}
	if err := a.gen.CommitOffsets(map[string]map[int]int64{a.topic: offsets}); err != nil {
		return fmt.Errorf("commit offsets of group %s: %w", a.Group, classify(err))
	}
	return nil
}

// Join is a member of a consumer group until ctx ends, whose error it returns;
// with an invalid group name or a closed client it returns at once.
//
// For every generation of the group it calls run with the partitions assigned
// to this member. The context of run ends on a rebalance and with ctx. The next
// generation starts only after run has returned, so within one member
// generations never overlap; run has to return promptly, within half a minute,
// or the group goes on without this member. A run that returns early leaves the
// member idle, but in the group, until the next rebalance.
//
// Between members there is no such promise: one that was paused or cut off may
// go on for a while with partitions that were given to another. The commit
// chain makes that harmless.
//
// Faults do not end Join. It tries again and tells Options.Logger and
// Options.OnState, about membership alone: that the topic was deleted meanwhile,
// Fetch tells. Partitions that were added, or that the leader of the group was
// not told of, are noticed (Options.WatchInterval) and shared out by a rebalance.
func (c *Client) Join(ctx context.Context, group string, run func(ctx context.Context, a *Assignment)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })()

	leader := &leader{topic: c.o.Topic}
	config := c.groupConfig(group, leader)
	if err := config.Validate(); err != nil {
		return fmt.Errorf("join group %q: %w", group, err)
	}
	without := &absence{}
	total, err := c.awaitTopic(ctx, without)
	if err != nil {
		return err
	}
	cg, err := kafka.NewConsumerGroup(config)
	if err != nil {
		return fmt.Errorf("join group %q: %w", group, err)
	}
	// Closing is what ends the running generation when ctx does: if run's
	// context ended first, the library could join once more only to leave.
	left := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(left)
		cg.Close() // always nil
	})
	for ctx.Err() == nil {
		gen, err := cg.Next(ctx)
		switch {
		case err == nil:
			*without = absence{}
			total = c.runGeneration(ctx, gen, leader.shared(total), run)
		case ctx.Err() == nil:
			c.report(without, fmt.Errorf("join group %q: %w", group, classify(err)))
		}
	}
	timeout := time.NewTimer(leaveTimeout)
	defer timeout.Stop()
	select {
	case <-left:
	case <-timeout.C:
		c.o.Logger.Warn("the group did not answer when this member left", "group", group)
	}
	return context.Cause(ctx)
}

// leader shares partitions out where this member is the group's leader, and notes how many of the topic it was told of. A broker that
// has just been started, or does not know a new topic yet, may have told of none, or of too few; the library takes that as it is.
type leader struct {
	kafka.RangeGroupBalancer
	topic string
	told  atomic.Pointer[int]
}

func (l *leader) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	n := 0
	for _, p := range partitions {
		if p.Topic == l.topic {
			n++
		}
	}
	l.told.Store(&n)
	return l.RangeGroupBalancer.AssignGroups(members, partitions)
}

// shared is how many partitions were shared out last, as far as this member knows: known, unless it has shared them out since it was asked.
func (l *leader) shared(known int) int {
	if n := l.told.Swap(nil); n != nil {
		return *n
	}
	return known
}

func (c *Client) groupConfig(group string, balancer kafka.GroupBalancer) kafka.ConsumerGroupConfig {
	return kafka.ConsumerGroupConfig{
		ID:      group,
		Brokers: c.o.Brokers,
		Topics:  []string{c.o.Topic},
		Dialer: &kafka.Dialer{
			ClientID:      c.o.ClientID,
			Timeout:       c.o.DialTimeout,
			DualStack:     true,
			SASLMechanism: c.o.SASL,
			// Not closed with the client: the group is told of our leaving.
			DialFunc: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := (&net.Dialer{Timeout: c.o.DialTimeout}).DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return c.secure(ctx, conn, address)
			},
		},
		GroupBalancers:    []kafka.GroupBalancer{balancer},
		HeartbeatInterval: c.o.SessionTimeout / 10,
		SessionTimeout:    c.o.SessionTimeout,
		RebalanceTimeout:  rebalanceTimeout,
		JoinGroupBackoff:  joinBackoff,
		Timeout:           c.o.RequestTimeout,
		// The library's own watch for added partitions ends the generation
		// whenever it cannot read the topic, which without a pause makes an
		// endless run of rebalances of a deleted topic. See watchPartitions.
		WatchPartitionChanges: false,
		Logger: kafka.LoggerFunc(func(format string, args ...any) {
			c.o.Logger.Debug(fmt.Sprintf(format, args...), "group", group)
		}),
		ErrorLogger: kafka.LoggerFunc(func(format string, args ...any) {
			c.o.Logger.Debug(fmt.Sprintf(format, args...), "group", group)
		}),
	}
}

// awaitTopic waits until the topic exists and returns its number of partitions.
func (c *Client) awaitTopic(ctx context.Context, without *absence) (int, error) {
	for {
		ids, err := c.Partitions(ctx)
		if err == nil {
			return len(ids), nil
		}
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		c.report(without, err)
		if err := sleep(ctx, joinBackoff); err != nil {
			return 0, context.Cause(ctx)
		}
	}
}

// runGeneration calls run and returns when both run and the generation have
// ended. total is the number of partitions that the group shared out, as far as
// this member knows; the one known at the end is returned.
func (c *Client) runGeneration(ctx context.Context, gen *kafka.Generation, total int, run func(context.Context, *Assignment)) int {
	finished := make(chan struct{})
	gen.Start(func(ended context.Context) {
		defer close(finished)
		if ended.Err() != nil {
			return // over before it was handed to us
		}
		// Ends with the generation and not with ctx: see Join.
		rctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(ended, cancel)()

		a := &Assignment{
			Group:      gen.GroupID,
			Member:     gen.MemberID,
			Generation: int(gen.ID),
			topic:      c.o.Topic,
			gen:        gen,
			done:       ended.Done(),
		}
		for _, p := range gen.Assignments[c.o.Topic] {
			a.Partitions = append(a.Partitions, p.ID)
		}
		slices.Sort(a.Partitions)
		c.o.Logger.Info("group generation started",
			"group", a.Group, "generation", a.Generation, "member", a.Member, "partitions", a.Partitions)
		c.o.OnState(nil)

		returned := make(chan struct{})
		go func() {
			defer close(returned)
			run(rctx, a)
		}()
		// Returning from this function makes the member join again, so an
		// early return of run must not: members without partitions would
		// keep the whole group rebalancing.
		total = c.watchPartitions(rctx, total)
		cancel()
		<-returned
	})
	// The library does not wait for functions that start after the end of
	// the generation, so we do.
	<-finished
	return total
}

// watchPartitions returns when ctx ends, or when the topic no longer has total
// partitions, and returns how many it has. A change has to be seen twice: by
// then the leader of the group sees it as well.
func (c *Client) watchPartitions(ctx context.Context, total int) int {
	tick := time.NewTicker(c.o.WatchInterval)
	defer tick.Stop()
	last := total
	for {
		select {
		case <-ctx.Done():
			return total
		case <-tick.C:
		}
		ids, err := c.Partitions(ctx)
		if err != nil {
			continue // the heartbeat decides whether we are still a member
		}
		n := len(ids)
		if n != total && n == last {
			c.o.Logger.Info("number of partitions changed", "topic", c.o.Topic, "from", total, "to", n)
			return n
		}
		last = n
	}
}

// absenceEvery is how often the log tells that a member still has no generation.
const absenceEvery = time.Minute

// absence is what was told of a member since it had its last generation.
type absence struct {
	told  time.Time // zero: nothing yet
	count int       // faults since
}

// report tells why this member has no generation: the log at once and then
// once a minute, as it tries every half second.
func (c *Client) report(without *absence, err error) {
	without.count++
	if now := time.Now(); without.told.IsZero() || now.Sub(without.told) >= absenceEvery {
		c.o.Logger.Warn("no group generation", "times", without.count, "error", err)
		*without = absence{told: now}
	}
	c.o.OnState(err)
}
