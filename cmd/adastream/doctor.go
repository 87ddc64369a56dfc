package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

type doctorCommand struct {
	cli.Store `group:"Object store:"`
	cli.Kafka `group:"Kafka:"`
	JSON      bool          `help:"Print the checks as JSON."`
	Produce   bool          `help:"Send a test row with the ID adastream-doctor and null attributes, wait until it is part of the index, and delete it again, after a failure too if possible."`
	Search    bool          `help:"Search on a query node: with --produce for the test row, otherwise for any."`
	Within    time.Duration `help:"Timeout for the test row to be searchable, and again for it to be gone." default:"60s"`
	cli.Node  `group:"Query node, for --search:"`
}

// checkup is what has been checked so far.
type checkup struct {
	json   bool
	Checks []finding `json:"checks"`
}

type finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Text  string `json:"text"` // what is wrong, or how it is

	Seconds float64 `json:"seconds,omitempty"` // that it took, where that says something
}

func (c *checkup) check(what string, err error, good string) bool {
	return c.found(finding{Check: what, OK: err == nil, Text: good}, err)
}

// timed is a check that took since a time.
func (c *checkup) timed(what string, err error, good string, since time.Time) bool {
	took := time.Since(since).Round(time.Millisecond)
	return c.found(finding{Check: what, OK: err == nil, Text: fmt.Sprintf("after %v: %s", took, good), Seconds: took.Seconds()}, err)
}

func (c *checkup) found(f finding, err error) bool {
	mark := "ok  "
	if err != nil {
		f.Text, mark = err.Error(), "BAD "
	}
	c.Checks = append(c.Checks, f)
	if !c.json {
		fmt.Printf("%s %-34s %s\n", mark, f.Check, f.Text)
	}
	return f.OK
}

// end fails if any check did.
func (c *checkup) end() error {
	if c.json {
		if err := printJSON(c); err != nil {
			return err
		}
	}
	failed := 0
	for _, f := range c.Checks {
		if !f.OK {
			failed++
		}
	}
	switch failed {
	case 0:
		return nil
	case 1:
		return errors.New("1 check failed")
	}
	return fmt.Errorf("%d checks failed", failed)
}

// clockSlack is how far this machine's clock and the store's may be apart: lags and ages are shown in seconds.
const clockSlack = 2 * time.Second

// Run makes each check, goes on after a failed one as far as it can, and fails if any did.
func (c *doctorCommand) Run(ctx context.Context, l *cli.Logging) error {
	done := &checkup{json: c.JSON}
	check := done.check
	if c.Within <= 0 {
		return cli.Usage(fmt.Errorf("--within %v: must be positive", c.Within))
	}
	b, err := c.Store.Bucket(ctx, l.Logger())
	if err != nil {
		return err
	}
	err = cli.Patiently(ctx, func(ctx context.Context) error { return store.Probe(ctx, b) })
	if check("store honours put-if-absent", err, b.String()) {
		skew, err := clockSkew(ctx, b)
		if err == nil && skew.Abs() > clockSlack {
			err = fmt.Errorf("this machine's clock is %v off the store's, allowed: %v; set up time synchronisation", skew.Round(time.Millisecond), clockSlack)
		}
		check("clock matches the store's", err, fmt.Sprintf("within %v", skew.Abs().Round(time.Millisecond)))
	}
	var shards []*commit.Log
	err = cli.Patiently(ctx, func(ctx context.Context) (err error) { shards, err = commit.OpenShards(ctx, b); return err })
	if !check("index", cli.NoIndex(b, err), "spec is valid") {
		return done.end()
	}
	spec := shards[0].Spec()
	client, err := c.Kafka.Client(spec.Topic.Name, l.Logger())
	if err != nil {
		return err
	}
	defer client.Close()
	same, err := compareTopic(ctx, client, spec)
	check("topic matches the index", err, fmt.Sprintf("%s, %s", spec.Topic.Name, counted(spec.Topic.Partitions, "partition")))
	if same {
		kept, err := keeps(ctx, client, spec)
		check("topic retention", err, kept)
		lag, err := chainLag(ctx, client, shards)
		check("log has all uncommitted offsets", err, lag)
	}
	ofTrip := spec.ShardOf(tripPartition(spec))
	var served *schemas.Channel // by the shard that the row of a trip belongs to
	for _, index := range shards {
		now := done.generation(ctx, index)
		if index.Shard() == ofTrip {
			served = now
		}
	}
	if err := c.trip(ctx, done, shards[ofTrip], served, l.Logger()); err != nil {
		return err
	}
	return done.end()
}

// generation checks what a shard has published and promoted, and returns the newest record of its channel, nil for none.
func (c *checkup) generation(ctx context.Context, index *commit.Log) *schemas.Channel {
	check := c.check
	if index.Spec().Shards > 1 {
		check = func(what string, err error, good string) bool {
			return c.check(fmt.Sprintf("%s of shard %d", what, index.Shard()), err, good)
		}
	}
	now, err := index.Channel(ctx, 0)
	if err != nil {
		check("channel", err, "")
	} else if now != nil && now.Epoch != "" {
		text, err := resolve(ctx, index, now)
		if err == nil {
			err = lacking(ctx, index, now)
		}
		check("served epoch", err, text)
	} else if now != nil {
		check("served", lacking(ctx, index, now), now.String())
	}
	m, err := index.LatestRecord(ctx, 0)
	good := "none yet: is a builder running?"
	if m != nil {
		good = fmt.Sprintf("%d, %s, %s%s", m.Generation, counted(m.LiveRows, "live row"), oldness(m.Created, "builder"), strayed(m))
	}
	if err == nil {
		var waits string
		waits, err = unfolded(ctx, index, m)
		good += waits
	}
	check("newest generation", err, good)
	if m != nil && m.Quality != nil && !m.Quality.Promoted {
		good, err := heldBack(m, now)
		check("quality gate", err, good)
	}
	refused, err := refusals(ctx, index, m)
	check("quarantine", err, refused)
	return now
}

// strayed tells of producers that do not partition by id, whose versions are in no order but that of their clocks.
func strayed(m *schemas.Manifest) string {
	if m.Moved == 0 {
		return ""
	}
	return fmt.Sprintf("; %s came from a different partition than the one before: a producer does not partition by ID", counted(m.Moved, "version"))
}

// unfolded says since when commits have been waiting for the builder, or nothing if none do.
func unfolded(ctx context.Context, index *commit.Log, m *schemas.Manifest) (string, error) {
	oldest := time.Time{}
	for _, p := range index.Partitions() {
		next := int64(0)
		if m != nil {
			next = commit.CheckpointOf(m, p)
		}
		commits, err := index.Since(ctx, p, next, 1)
		if errors.Is(err, schemas.ErrFenced) { // a newer generation has it, and it was collected
			continue
		}
		if err != nil {
			return "", err
		}
		if len(commits) > 0 && (oldest.IsZero() || commits[0].Created.Before(oldest)) {
			oldest = commits[0].Created
		}
	}
	if oldest.IsZero() {
		return "", nil
	}
	if age := time.Since(oldest); age < -clockSlack {
		return fmt.Sprintf("; commits are waiting for the builder, the oldest is %s", oldness(oldest, "ingestor")), nil
	}
	return fmt.Sprintf("; commits have been waiting for the builder for %v", max(time.Since(oldest), 0).Round(time.Second)), nil
}

// oldness says how old a record is. Its time is that of who wrote it, whose clock may be another one; that one's own doctor would say so, and
// nobody asks there.
func oldness(created time.Time, writer string) string {
	age := time.Since(created).Round(time.Second)
	if age < -clockSlack {
		return fmt.Sprintf("written %v in the future: the clock of its %s is ahead, synchronise it", -age, writer)
	}
	return fmt.Sprintf("%v old", max(age, 0))
}

// refusals says what the newest commits that refused something did refuse, of each partition a few. That it is there is no fault: who
// looks for rows that do not come has to be told.
func refusals(ctx context.Context, index *commit.Log, m *schemas.Manifest) (string, error) {
	counts, last := map[string]int{}, time.Time{}
	for _, p := range index.Partitions() {
		reached := int64(0)
		if m != nil {
			reached = commit.CheckpointOf(m, p)
		}
		commits, err := index.Refusing(ctx, p, reached, 5)
		if err != nil {
			return "", err
		}
		for _, c := range commits {
			for reason, n := range c.Quarantined {
				counts[reason] += n
			}
			if c.Created.After(last) {
				last = c.Created
			}
		}
	}
	if len(counts) == 0 {
		return "nothing was refused", nil
	}
	var reasons []string
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		reasons = append(reasons, fmt.Sprintf("%d for %s", counts[reason], reason))
	}
	return fmt.Sprintf("recently refused: %s; the last %v ago: see `adastream quarantine ls`", strings.Join(reasons, ", "), time.Since(last).Round(time.Second)), nil
}

// heldBack fails with the reason why a generation is held back, unless an operator has promoted it all the same. Now is the
// newest record of the channel, nil if there is none.
func heldBack(m *schemas.Manifest, now *schemas.Channel) (good string, err error) {
	if now == nil || now.Generation != m.Generation {
		return "", errors.New(m.Quality.Reason)
	}
	return fmt.Sprintf("overruled by %s: %s", now.By, m.Quality.Reason), nil
}

// clockSkew is this machine's time less the store's, as seen when an object is made.
func clockSkew(ctx context.Context, b store.Bucket) (time.Duration, error) {
	key := fmt.Sprintf("probe/clock-%d", time.Now().UnixNano())
	before := time.Now()
	if err := b.PutIfAbsent(ctx, key, []byte(key)); err != nil {
		return 0, err
	}
	defer func() { _ = b.Delete(context.WithoutCancel(ctx), key) }() // a leftover does no harm
	after := time.Now()
	info, err := b.Stat(ctx, key)
	if err != nil {
		return 0, err
	}
	// Stores tell whole seconds; anything within the second that the put took place in is no skew.
	if first := before.Truncate(time.Second); !info.Modified.Before(first) && !info.Modified.After(after) {
		return 0, nil
	}
	return after.Sub(info.Modified), nil
}

// compareTopic compares the topic with the spec, and says whether offsets of the index's partitions mean what they did: also where others were added.
func compareTopic(ctx context.Context, client *source.Client, spec *schemas.Spec) (same bool, err error) {
	partitions, err := client.Partitions(ctx)
	if err != nil {
		return false, err
	}
	identity, err := client.Topic(ctx)
	if err != nil {
		return false, err
	}
	var faults []string
	differ := func(what string, is, want any) {
		faults = append(faults, fmt.Sprintf("%s is %v, the index has %v", what, is, want))
	}
	if spec.Topic.Cluster != "" && identity.Cluster != spec.Topic.Cluster {
		differ("cluster", identity.Cluster, spec.Topic.Cluster)
	}
	if spec.Topic.ID != "" && identity.TopicID != spec.Topic.ID {
		differ("topic id", identity.TopicID, spec.Topic.ID)
	}
	same = len(partitions) >= spec.Topic.Partitions && len(faults) == 0
	if len(partitions) != spec.Topic.Partitions {
		differ("number of partitions", len(partitions), spec.Topic.Partitions)
	}
	if len(faults) > 0 {
		return same, errors.New(strings.Join(faults, "; "))
	}
	return same, nil
}

// keeps says for how long the topic keeps what comes, and fails if it is compacted though its messages are many rows: all that have one key
// but the newest are gone then, and no gap is seen. The right to ask is not one that an index needs.
func keeps(ctx context.Context, client *source.Client, spec *schemas.Spec) (string, error) {
	config, err := client.TopicConfig(ctx, "cleanup.policy", "retention.ms")
	if errors.Is(err, source.ErrDenied) {
		return "unknown: this user lacks the right DescribeConfigs", nil
	}
	if err != nil {
		return "", err
	}
	policy := config["cleanup.policy"]
	if strings.Contains(policy, "compact") && spec.ReadsArrow() {
		return "", fmt.Errorf("cleanup.policy=%s: compaction keeps only the newest message of a key, and a message has many rows, so rows are lost without a gap; set it to delete", policy)
	}
	if !strings.Contains(policy, "delete") {
		return "cleanup.policy=" + policy, nil
	}
	ms, err := strconv.ParseInt(config["retention.ms"], 10, 64)
	if err != nil || ms < 0 {
		return "for as long as retention.bytes allows", nil
	}
	return fmt.Sprintf("for %v", time.Duration(ms)*time.Millisecond), nil
}

// chainLag says how many offsets are in the log and not committed, and fails if some of them are gone.
func chainLag(ctx context.Context, client *source.Client, shards []*commit.Log) (string, error) {
	spec, lag, last := shards[0].Spec(), int64(0), time.Time{}
	for p := range spec.Topic.Partitions {
		head, err := shards[spec.ShardOf(p)].Head(ctx, p, 0)
		if err != nil {
			return "", err
		}
		bounds, err := client.Bounds(ctx, p)
		if err != nil {
			return "", err
		}
		switch {
		case head.Last != nil && head.Next < bounds.Start:
			return "", fmt.Errorf("partition %d: retention removed offsets [%d, %d) before they were committed: start the ingestor with --accept-gap to continue without them", p, head.Next, bounds.Start)
		case head.Next > bounds.End:
			return "", fmt.Errorf("partition %d: offsets up to %d are committed, but the log ends at %d: was the topic deleted and recreated?", p, head.Next, bounds.End)
		}
		lag += bounds.End - max(head.Next, bounds.Start)
		if head.Last != nil && head.Last.Created.After(last) {
			last = head.Last.Created
		}
	}
	text := counted(lag, "offset") + " not committed yet"
	switch {
	case lag == 0:
	case last.IsZero():
		text += "; nothing is committed at all: is an ingestor running, and what does its /readyz say?"
	default: // who sees an old one asks the ingestors
		text += "; the last commit is " + oldness(last, "ingestor")
	}
	return text, nil
}
