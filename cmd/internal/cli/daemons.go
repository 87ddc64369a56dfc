package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/adastream/adastream/pipeline/access"
	"github.com/adastream/adastream/pipeline/commit"
)

// Query are the flags of a query node.
type Query struct {
	Store        `group:"Object store:"`
	Shards       `group:"Object store:"`
	Cache        `group:"Cache:"`
	Listen       string        `help:"Address of the query API, and of the page for people at /ui." default:"127.0.0.1:8080"`
	OpsListen    string        `help:"Address of /livez, /readyz and /metrics." default:"127.0.0.1:9093"`
	Peers        []string      `help:"Where shards that are not served here, or here too, are served: N=URL, separated by commas; several of one shard are its replicas. Searches ask one node of each shard, and carry the token of who asked." placeholder:"N=URL"`
	MergeOnly    bool          `help:"Serve no shard: only merge what the nodes of --peers find, and keep nothing on disk."`
	PeersCA      string        `help:"PEM file of certificate authorities to trust for https peers, instead of the system's." name:"peers-ca" type:"existingfile" placeholder:"FILE"`
	PeersCert    string        `help:"PEM file of the certificate to show to https peers that ask for one, with --peers-key; both are read again when they change." name:"peers-cert" type:"existingfile" placeholder:"FILE"`
	PeersKey     string        `help:"PEM file of the private key of --peers-cert." name:"peers-key" type:"existingfile" placeholder:"FILE"`
	PollEvery    time.Duration `help:"Time between two looks at the channel." default:"250ms"`
	MaxRunning   int           `help:"Queries that run at a time; others wait." default:"64"`
	MaxWaiting   int           `help:"Requests that may wait, for their turn or for a processor; more are refused with 429 before they are read. 0 is 16 times --max-running." default:"0"`
	Timeout      time.Duration `help:"Longest time of a query, waiting included." default:"5s"`
	DegradeTo    float64       `help:"Recall that queries get at least when they had to wait longer than --degrade-after, or come when half of --max-waiting wait; 0 keeps to what they ask for until they are refused." default:"0"`
	DegradeAfter time.Duration `help:"Wait for a slot after which a query is degraded." default:"20ms"`
	MemoryBytes  *int64        `help:"Memory that the generation that is served and the next one may want together, originals aside; one that does not fit is not taken. 0 is no limit. Default: nine tenths of what the container, or the machine, allows." placeholder:"BYTES"`
	MaxBehind    time.Duration `help:"A node that has served an older generation than the channel names for longer is not ready, if it is for a reason of its own; set it above the time that a whole index takes to fetch. 0 is never." default:"0s"`
	Originals    string        `help:"Where original vectors are: local is on this machine, twice the bytes; remote is in the object store, of which the few that a query needs are read, in milliseconds; none is nowhere: an exact search compares int8 rows." enum:"local,remote,none" default:"local"`
	MeasureShare float64       `help:"Share of one core for comparing answers with exact search; 0 measures nothing." default:"0.01"`
	Drain        time.Duration `help:"Time that running queries get to end at SIGTERM." default:"10s"`
	Access       `group:"Who may ask:"`
	Logging      `group:"Log and configuration:"`
}

// Validate joins faults of q; the parser of flags asks it.
func (q Query) Validate() error {
	var memory error
	if q.MemoryBytes != nil {
		memory = Bound("--memory-bytes", *q.MemoryBytes)
	}
	return errors.Join(memory, Positive("--poll-every", q.PollEvery), Positive("--max-running", q.MaxRunning), Positive("--timeout", q.Timeout), Positive("--degrade-after", q.DegradeAfter))
}

// Served picks the shards that are served here: none by a node that only merges.
func (q Query) Served(all []*commit.Log) ([]*commit.Log, error) {
	switch {
	case !q.MergeOnly:
		return q.Of(all)
	case len(q.Shard) > 0:
		return nil, Usage(errors.New("--merge-only and --shard: one or the other"))
	case len(all) == 1:
		return nil, Usage(errors.New("--merge-only: the index has one shard, there is nothing to merge"))
	}
	return nil, nil
}

// PeersTLS is how peers of https are reached, and the files of it that are to be followed.
func (q Query) PeersTLS() (config *tls.Config, files []access.Reloaded, err error) {
	if config, err = clientTLS("peers", q.PeersCA, "", ""); err != nil {
		return nil, nil, Usage(err)
	}
	switch {
	case (q.PeersCert == "") != (q.PeersKey == ""):
		return nil, nil, Usage(errors.New("--peers-cert and --peers-key: one goes with the other"))
	case q.PeersCert == "":
		return config, nil, nil
	}
	shown, err := access.OpenCertificate(q.PeersCert, q.PeersKey, "")
	if err != nil {
		return nil, nil, Usage(fmt.Errorf("--peers-cert, --peers-key: %w", err))
	}
	config.GetClientCertificate = shown.Show
	return config, []access.Reloaded{shown}, nil
}

// Builder are the flags of a builder.
type Builder struct {
	Store        `group:"Object store:"`
	Shards       `group:"Object store:"`
	Cache        `group:"Cache:"`
	PublishEvery time.Duration `help:"Shortest time between two generations." default:"250ms"`
	MinTrainRows int           `help:"Live rows before a first model is trained; until then search is exact." default:"8192"`
	Threads      int           `help:"Threads of training, merging and measuring; 0 is half of the CPUs." default:"0"`
	KeepFor      time.Duration `help:"How long generations are kept for going back: all of the last ten minutes, then one for each ten minutes. The newest and the served one always are." default:"24h"`
	CollectEvery time.Duration `help:"Time between two collections of garbage: what no kept generation needs is removed from the store; 0 is never." default:"1h"`
	OpsListen    string        `help:"Address of /livez, /readyz and /metrics." default:"127.0.0.1:9092"`
	Logging      `group:"Log and configuration:"`
}

// Validate joins faults of b; the parser of flags asks it.
func (b Builder) Validate() error {
	return errors.Join(Positive("--publish-every", b.PublishEvery), Positive("--min-train-rows", b.MinTrainRows))
}

// Ingestor are the flags of an ingestor.
type Ingestor struct {
	Kafka        `group:"Kafka:"`
	Store        `group:"Object store:"`
	Registry     `group:"Avro messages:"`
	Group        string        `help:"Consumer group that shares out the partitions; default: adastream-<index>." placeholder:"NAME"`
	FlushAge     time.Duration `help:"Longest time that a row waits for its segment to be cut." default:"300ms"`
	FlushRows    int           `help:"Most rows of a segment." default:"65536"`
	FlushBytes   int64         `help:"Most bytes of messages of a segment; the default is 32 MiB." default:"33554432"`
	AcceptGap    bool          `help:"Go on after data that retention removed before it was read, and record the gap."`
	AcceptPoison bool          `help:"Go on when nearly all that a partition brings is refused, and quarantine it."`
	OpsListen    string        `help:"Address of /livez, /readyz and /metrics." default:"127.0.0.1:9091"`
	Logging      `group:"Log and configuration:"`
}

// Validate joins faults of i; the parser of flags asks it.
func (i Ingestor) Validate() error {
	return errors.Join(Positive("--flush-age", i.FlushAge), Positive("--flush-rows", i.FlushRows), Positive("--flush-bytes", i.FlushBytes))
}
