package cli

import (
	"crypto/tls"
	"crypto/x509"
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
	Listen       string        `help:"Address of the query API and of the web page at /ui." default:"127.0.0.1:8080" group:"Ports:"`
	OpsListen    string        `help:"Address of /livez, /readyz and /metrics." default:"127.0.0.1:9093" group:"Ports:"`
	Drain        time.Duration `help:"Time that running queries have to finish after SIGTERM." default:"10s" group:"Ports:"`
	PollEvery    time.Duration `help:"Interval between checks of the channel for a new generation." default:"250ms" group:"Generations:"`
	Originals    string        `help:"Where original vectors are kept: local (on this machine, at twice the disk space or more), remote (in the object store; a query reads the few it needs, in milliseconds) or none (exact search compares int8 rows)." enum:"local,remote,none" default:"local" group:"Generations:"`
	MemoryBytes  *int64        `help:"Memory limit for the served generation and the next one together. A next one that does not fit is not loaded. Original vectors count only if the default plan reads them. 0 is unlimited. Default: 90 % of the memory of the container or machine." placeholder:"BYTES" group:"Generations:"`
	MaxBehind    time.Duration `help:"Time after which a node that still serves an older generation than the channel names is not ready, if the cause is its own. Set it above the time to download a whole index. 0 disables this." default:"0s" group:"Generations:"`
	Timeout      time.Duration `help:"Timeout of a request, including its time in the queue." default:"5s" group:"Queries and overload:"`
	MaxRunning   int           `help:"Number of slots: queries that run at the same time. Others wait in the queue." default:"64" group:"Queries and overload:"`
	MaxWaiting   int           `help:"Length of the queue: requests that wait for a slot or a processor. More are refused with 429 before they are read. 0 is 16 times --max-running." default:"0" group:"Queries and overload:"`
	DegradeTo    float64       `help:"Recall to degrade queries to under overload: those that waited longer than --degrade-after, and all that arrive while the queue is half full. 0 never degrades." default:"0" group:"Queries and overload:"`
	DegradeAfter time.Duration `help:"Time in the queue after which a query is degraded." default:"20ms" group:"Queries and overload:"`
	MeasureShare float64       `help:"Share of one core, 0 to 1, spent on comparing answers with exact search. 0 disables the measurement." default:"0.01" group:"Queries and overload:"`
	Peers        []string      `help:"Nodes that serve shards, as N=URL: those that this node does not serve, or further replicas of those that it does. Repeat a shard for each replica. A search asks one replica of each shard, with the caller's token." placeholder:"N=URL" group:"Shards on other nodes:"`
	MergeOnly    bool          `help:"Serve no shard: only merge the answers of --peers, and keep nothing on disk." group:"Shards on other nodes:"`
	PeersCA      string        `help:"PEM file of the certificate authorities to trust for https peers instead of the system's. Reloaded when it changes." name:"peers-ca" type:"existingfile" placeholder:"FILE" group:"Shards on other nodes:"`
	PeersCert    string        `help:"PEM file of the client certificate for https peers. Needs --peers-key; both are reloaded when they change." name:"peers-cert" type:"existingfile" placeholder:"FILE" group:"Shards on other nodes:"`
	PeersKey     string        `help:"PEM file of the private key of --peers-cert." name:"peers-key" type:"existingfile" placeholder:"FILE" group:"Shards on other nodes:"`
	Access       `group:"Access control and TLS:"`
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
		return nil, Usage(errors.New("--merge-only and --shard: set only one of them"))
	case len(all) == 1:
		return nil, Usage(errors.New("--merge-only: the index has one shard, there is nothing to merge"))
	}
	return nil, nil
}

// PeersTLS is how peers of https are reached, whom to trust then, nil for the system's authorities, and the files that are to be followed.
func (q Query) PeersTLS() (config *tls.Config, trusted func() *x509.CertPool, files []access.Reloaded, err error) {
	config = &tls.Config{MinVersion: tls.VersionTLS12}
	switch a, err := authorities("peers", q.PeersCA, nil); {
	case err != nil:
		return nil, nil, nil, Usage(err)
	case a != nil:
		config.RootCAs, trusted, files = a.Current(), a.Current, append(files, a)
	}
	switch {
	case (q.PeersCert == "") != (q.PeersKey == ""):
		return nil, nil, nil, Usage(errors.New("--peers-cert and --peers-key: each needs the other"))
	case q.PeersCert == "":
		return config, trusted, files, nil
	}
	shown, err := access.OpenCertificate(q.PeersCert, q.PeersKey, "")
	if err != nil {
		return nil, nil, nil, Usage(fmt.Errorf("--peers-cert, --peers-key: %w", err))
	}
	config.GetClientCertificate = shown.Show
	return config, trusted, append(files, shown), nil
}

// Builder are the flags of a builder.
type Builder struct {
	Store        `group:"Object store:"`
	Shards       `group:"Object store:"`
	Cache        `group:"Cache:"`
	PublishEvery time.Duration `help:"Minimum interval between two generations." default:"250ms" group:"Generations:"`
	MinTrainRows int           `help:"Number of live rows at which the first model is trained. Search is exact until then." default:"8192" group:"Generations:"`
	Threads      int           `help:"Number of threads for training, merging and measuring. 0 is half of the CPUs." default:"0" group:"Generations:"`
	KeepFor      time.Duration `help:"How long to keep old generations for rollback: all of the last 10 minutes, then one per 10 minutes. The newest and the served one are always kept." default:"24h" group:"Generations:"`
	CollectEvery time.Duration `help:"Interval between garbage collections, which remove from the store what no kept generation needs. 0 disables them." default:"1h" group:"Generations:"`
	OpsListen    string        `help:"Address of /livez, /readyz and /metrics." default:"127.0.0.1:9092" group:"Ports:"`
	Logging      `group:"Log and configuration:"`
}

// Validate joins faults of b; the parser of flags asks it.
func (b Builder) Validate() error {
	return errors.Join(Positive("--publish-every", b.PublishEvery), Positive("--min-train-rows", b.MinTrainRows))
}

// Ingestor are the flags of an ingestor.
type Ingestor struct {
	Kafka        `group:"Kafka:"`
	Group        string `help:"Consumer group that the ingestors of an index share. Default: adastream-<index>." placeholder:"NAME" group:"Kafka:"`
	Store        `group:"Object store:"`
	Registry     `group:"Avro messages:"`
	FlushAge     time.Duration `help:"Maximum age of a row before its segment is cut." default:"300ms" group:"Segments:"`
	FlushRows    int           `help:"Number of rows at which a segment is cut, deletes and refused rows included." default:"65536" group:"Segments:"`
	FlushBytes   int64         `help:"Bytes of decoded messages at which a segment is cut; 33554432 is 32 MiB. Less with many partitions." default:"33554432" group:"Segments:"`
	AcceptGap    bool          `help:"Do not stop at messages that retention deleted before they were read: record the gap and continue." group:"When a partition would stop:"`
	AcceptPoison bool          `help:"Do not stop a partition of which nearly everything is refused: quarantine it and continue." group:"When a partition would stop:"`
	OpsListen    string        `help:"Address of /livez, /readyz and /metrics." default:"127.0.0.1:9091" group:"Ports:"`
	Logging      `group:"Log and configuration:"`
}

// Validate joins faults of i; the parser of flags asks it.
func (i Ingestor) Validate() error {
	return errors.Join(Positive("--flush-age", i.FlushAge), Positive("--flush-rows", i.FlushRows), Positive("--flush-bytes", i.FlushBytes))
}
