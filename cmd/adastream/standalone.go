package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/source/embedded"
	"github.com/adastream/adastream/pipeline/store"
)

// standaloneCommand repeats the flags of Store and the brokers because here they are optional.
type standaloneCommand struct {
	Dir          string        `help:"Directory for all data that is not stored elsewhere: broker, store and cache." type:"path" default:"adastream-data"`
	Store        string        `help:"Object store, as for the daemons. Default: a directory below --dir." placeholder:"URL"`
	StoreCA      string        `help:"PEM file of the certificate authorities to trust for https endpoints instead of the system's. Reloaded when it changes." name:"store-ca" type:"existingfile" placeholder:"FILE"`
	Brokers      []string      `help:"Bootstrap addresses of Kafka. Default: an embedded broker on --kafka-port." placeholder:"HOST:PORT"`
	KafkaPort    int           `help:"Port of the embedded broker, on 127.0.0.1." default:"9094"`
	Listen       string        `help:"Address of the query API and of the web page at /ui." default:"127.0.0.1:8080"`
	OpsListen    string        `help:"Address of /livez, /readyz and /metrics." default:"127.0.0.1:9093"`
	KeepFor      time.Duration `help:"How long to keep old generations for rollback, as for the builder." default:"24h"`
	CollectEvery time.Duration `help:"Interval between garbage collections, as for the builder. 0 disables them." default:"1h"`
	MemoryBytes  *int64        `help:"Memory limit for the served generation and the next one together, as for the query node. 0 is unlimited. Default: 50 % of the memory of the container or machine." placeholder:"BYTES"`
	AcceptGap    bool          `help:"Do not stop at messages that retention deleted before they were read: record the gap and continue."`
	AcceptPoison bool          `help:"Do not stop a partition of which nearly everything is refused: quarantine it and continue."`

	cli.Access      `group:"Access control and TLS:"`
	cli.KafkaAccess `group:"Kafka, for --brokers:"`
	cli.Registry    `group:"Avro messages:"`
	specFlags       `group:"New index (used when the store holds none):"`
}

// Validate is asked by the parser of flags, which does not reach specFlags itself, as that is not exported.
func (c *standaloneCommand) Validate() error {
	var memory error
	if c.MemoryBytes != nil {
		memory = cli.Bound("--memory-bytes", *c.MemoryBytes)
	}
	return errors.Join(memory, c.specFlags.Validate())
}

func (c *standaloneCommand) Run(ctx context.Context, l *cli.Logging) error {
	return cli.Asked(ctx, c.run(ctx, l))
}

func (c *standaloneCommand) run(ctx context.Context, l *cli.Logging) error {
	log := l.Logger()
	l.Follow(ctx, log)
	brokers := c.Brokers
	if len(brokers) == 0 {
		if k := c.KafkaAccess; k.KafkaTLS || k.KafkaUser != "" {
			return cli.Usage(errors.New("--kafka-tls and --kafka-user: need --brokers: the embedded broker supports neither"))
		}
		broker, err := embedded.Start(embedded.Options{Dir: filepath.Join(c.Dir, "broker"), Port: c.KafkaPort})
		if err != nil {
			return cli.Usage(fmt.Errorf("--kafka-port %d: %w", c.KafkaPort, err))
		}
		defer broker.Close()
		brokers = []string{broker.Addr()}
	}
	if c.Store == "" {
		c.Store = filepath.Join(c.Dir, "store")
	}
	bucket, err := cli.Store{Store: c.Store, StoreCA: c.StoreCA}.Open(ctx, log, cli.Wait{Service: true})
	if err != nil {
		return err
	}
	shards, err := commit.OpenShards(ctx, bucket)
	topic := c.topic()
	if err == nil {
		topic = shards[0].Spec().Topic.Name
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	client, err := cli.Kafka{Brokers: brokers, KafkaAccess: c.KafkaAccess}.Client(topic, log)
	if err != nil {
		return err
	}
	defer client.Close()
	if shards == nil {
		if _, err := c.spec(slog.New(slog.DiscardHandler)); err != nil {
			return cli.Usage(fmt.Errorf("%s holds no index, and the flags do not describe one: %w", bucket, err))
		}
		if _, err := c.create(ctx, bucket, client, log); err != nil {
			return fmt.Errorf("make an index in %s: %w", bucket, err)
		}
		if shards, err = commit.OpenShards(ctx, bucket); err != nil {
			return err
		}
	}
	memory := cli.Memory() / 2 // the rest is for queries, as ever, and for ingestor and builder
	if c.MemoryBytes != nil {
		memory = *c.MemoryBytes
	}
	tracer, stop, err := cli.Tracing(ctx, "standalone", log)
	if err != nil {
		return err
	}
	defer stop()
	known, err := c.Registry.Client()
	if err != nil {
		return err
	}
	registry := cli.NewRegistry()
	gate, err := c.Access.Open(c.Listen, log, registry)
	if err != nil {
		return err
	}
	s, err := newStack(ctx, stackOptions{
		shards: shards, client: client, schemas: known, cache: cli.Cache{CacheDir: filepath.Join(c.Dir, "cache")},
		listen: c.Listen, ops: c.OpsListen, acceptGap: c.AcceptGap, acceptPoison: c.AcceptPoison, keepFor: c.KeepFor, collect: c.CollectEvery,
		memory: memory, admin: c.Admin, gate: gate, logger: log, registry: registry, tracer: tracer,
	})
	if err != nil {
		return err
	}
	log.Info("standalone", "version", cli.ThisBuild(), "index", shards[0].Spec(), "brokers", brokers, "store", bucket, "api", s.api.Addr(), "ops", s.ops.Addr())
	return s.run(ctx)
}
