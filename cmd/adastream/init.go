package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/cmd/internal/cli"
	"github.com/adastream/adastream/pipeline/commit"
	"github.com/adastream/adastream/pipeline/files"
	"github.com/adastream/adastream/pipeline/ingest"
	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// topicMessageBytes is max.message.bytes of a topic that init makes: 8 MiB, which hosted brokers allow too. `produce` asks the topic, and sends
// no larger messages than it takes.
const topicMessageBytes = "8388608"

// noAttribute, in place of a type, leaves out what a file would have become an attribute of.
const noAttribute = "none"

// specFlags describe an index.
type specFlags struct {
	Name         string            `help:"Name of the index." default:"vectors"`
	From         string            `help:"File of vectors, in any format of produce, to derive encoder, width, vector type and attributes from." type:"existingfile" placeholder:"FILE"`
	FromFile     fileFlags         `embed:"" prefix:"from-"`
	Ladder       []int             `help:"Trained prefix widths, ascending. The last one is the full width." placeholder:"64,128,256"`
	Metric       string            `help:"Similarity: cosine or ip (inner product)." enum:"cosine,ip" default:"cosine"`
	Encoder      string            `help:"Name and version of the model that makes the vectors. Messages of another one are refused."`
	Vectors      string            `help:"Type of stored original vectors: float16 or float32. Default: as in --from, else float32." placeholder:"TYPE"`
	Attribute    map[string]string `help:"Attributes stored with each row. Types: utf8, bool, int64, float64, timestamp." placeholder:"NAME=TYPE"`
	Messages     string            `help:"JSON file with the block \"messages\" of the index spec: how messages that are not Arrow streams become rows." type:"existingfile" placeholder:"FILE"`
	Topic        string            `help:"Kafka topic. Default: the name of the index."`
	Partitions   int               `help:"Number of partitions if the topic is created." default:"6"`
	Shards       int               `help:"Number of shards, fixed for good. Each has its own builder and query nodes. Partition p belongs to shard p mod this number." default:"1"`
	Loads        int               `help:"Maximum number of parts of a bulk load, fixed for good. 0 for an index that is fed by its topic only." default:"0"`
	Replication  int               `help:"Replication factor if the topic is created. -1 is the broker's default." default:"-1"`
	Prefix       string            `help:"What makes prefixes meaningful: native (the encoder) or rotate (a rotation that the builder learns, for any other encoder). Default: native, but no index is created if --from shows that the builder would refuse it." enum:",native,rotate" default:"" placeholder:"PREFIX"`
	ListsPerRow  int               `help:"Number of inverted lists per row: 2, or 1 for 10 % less memory and half the speed at equal recall." default:"2"`
	TargetRecall float64           `help:"Recall@10 of queries that ask for nothing else, and the objective of the quality gate." default:"0.95"`
}

// Validate refuses what a spec takes for the default; the parser of flags asks it.
func (f *specFlags) Validate() error {
	return errors.Join(cli.Positive("--shards", f.Shards), cli.Positive("--lists-per-row", f.ListsPerRow), cli.Positive("--target-recall", f.TargetRecall))
}

func (f *specFlags) topic() string {
	if f.Topic != "" {
		return f.Topic
	}
	return f.Name
}

// spec makes the index spec, and logs which columns of a file are not in it; the topic's identity is filled in by create.
func (f *specFlags) spec(log *slog.Logger) (*schemas.Spec, error) {
	s := schemas.Spec{
		Name: f.Name, Metric: schemas.Metric(f.Metric), Ladder: f.Ladder, Encoder: f.Encoder, Vectors: schemas.VectorType(f.Vectors),
		Topic:    schemas.Topic{Name: f.topic(), Partitions: f.Partitions},
		Shards:   f.Shards,
		Loads:    f.Loads,
		Defaults: schemas.Defaults{TargetRecall: f.TargetRecall}, Prefix: schemas.PrefixMode(f.Prefix), ListsPerRow: f.ListsPerRow,
	}
	if f.From != "" {
		if err := f.fill(&s, log); err != nil {
			return nil, fmt.Errorf("--from %s: %w", f.From, err)
		}
	}
	for name, t := range f.Attribute {
		there := len(s.Attributes)
		s.Attributes = slices.DeleteFunc(s.Attributes, func(a schemas.Attribute) bool { return a.Name == name })
		if t == noAttribute {
			if len(s.Attributes) == there {
				return nil, fmt.Errorf("--attribute %s=%s: --from has no such attribute to leave out", name, t)
			}
			continue
		}
		s.Attributes = append(s.Attributes, schemas.Attribute{Name: name, Type: schemas.AttributeType(t)})
	}
	if f.Messages != "" {
		if err := f.readMessages(&s); err != nil {
			return nil, fmt.Errorf("--messages %s: %w", f.Messages, err)
		}
	}
	slices.SortFunc(s.Attributes, func(a, b schemas.Attribute) int { return strings.Compare(a.Name, b.Name) })
	s = s.WithDefaults()
	if s.Prefix == "" {
		s.Prefix = schemas.PrefixNative
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if _, err := ingest.NewDecoder(&s, avx.Generic, ingest.Limits{}, nil); err != nil { // reads the schemas of messages
		return nil, err
	}
	return &s, nil
}

func (f *specFlags) readMessages(s *schemas.Spec) error {
	text, err := os.ReadFile(f.Messages)
	if err != nil {
		return err
	}
	s.Messages, err = schemas.ParseMessages(text)
	return err
}

// fill takes from a file what the flags leave open.
func (f *specFlags) fill(s *schemas.Spec, log *slog.Logger) (err error) {
	r, err := files.Open(f.From, f.FromFile.options(log, f.From))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	width, err := r.Width()
	if err != nil {
		return err
	}
	return fillFrom(s, r.Schema(), width)
}

// fillFrom takes what a spec leaves open from the schema of messages whose vectors have a width.
func fillFrom(s *schemas.Spec, schema *arrow.Schema, width int) error {
	if encoder, ok := schema.Metadata().GetValue(schemas.MetaEncoder); ok && s.Encoder == "" {
		s.Encoder = encoder
	}
	for _, field := range schema.Fields() {
		switch field.Name {
		case schemas.ColumnVector:
			list, ok := field.Type.(arrow.ListLikeType)
			if !ok || width == 0 {
				return fmt.Errorf("column %q: type %s without any vector", field.Name, field.Type)
			}
			if len(s.Ladder) == 0 {
				s.Ladder = []int{width}
			}
			if last := s.Ladder[len(s.Ladder)-1]; last != width { // every row of it would be refused
				return fmt.Errorf("column %q: vectors of %d values, of --ladder the last is %d", field.Name, width, last)
			}
			if s.Vectors == "" && list.Elem().ID() == arrow.FLOAT16 {
				s.Vectors = schemas.Float16
			}
		case schemas.ColumnID, schemas.ColumnOp, schemas.ColumnVersion:
		default:
			if t, ok := schemas.AttributeTypeOf(field.Type); ok {
				s.Attributes = append(s.Attributes, schemas.Attribute{Name: field.Name, Type: t})
			}
		}
	}
	return nil
}

// messagesText is a block of messages in JSON.
func messagesText(m *schemas.Messages) string {
	if m == nil {
		m = &schemas.Messages{Format: schemas.MessagesArrow}
	}
	text, _ := json.Marshal(m) // of texts only: it does not fail
	return string(text)
}

// attributesText is a list of attributes as --attribute takes it.
func attributesText(attributes []schemas.Attribute) string {
	var texts []string
	for _, a := range attributes {
		texts = append(texts, a.Name+"="+string(a.Type))
	}
	return strings.Join(texts, ";")
}

// create makes the topic, if it is missing, and the index.
func (f *specFlags) create(ctx context.Context, b store.Bucket, client *source.Client, log *slog.Logger) (*schemas.Spec, error) {
	spec, err := f.spec(log)
	if err != nil {
		return nil, cli.Usage(err)
	}
	if err := f.checkPrefixes(ctx, spec, log); err != nil {
		return nil, err
	}
	err = client.CreateTopic(ctx, f.Partitions, f.Replication, map[string]string{"max.message.bytes": topicMessageBytes})
	if err != nil {
		return nil, cli.KafkaFault(client, err)
	}
	partitions, err := client.Partitions(ctx)
	if err != nil {
		return nil, cli.KafkaFault(client, err)
	}
	identity, err := client.Topic(ctx)
	if err != nil {
		return nil, fmt.Errorf("topic %s: %w", spec.Topic.Name, err)
	}
	spec.Topic = schemas.Topic{Name: identity.Topic, Cluster: identity.Cluster, ID: identity.TopicID, Partitions: len(partitions)}
	if err := commit.Create(ctx, b, spec); err != nil {
		return nil, err
	}
	log.Info("index made", "index", spec, "store", b, "topic", spec.Topic.Name, "partitions", spec.Topic.Partitions, "attributes", attributesText(spec.Attributes))
	return spec, nil
}

type initCommand struct {
	cli.Store `group:"Object store:"`
	cli.Kafka `group:"Kafka:"`
	specFlags
	JSON bool `help:"Print the spec, and whether the index was created now, as JSON."`
}

// made is an index as scripts read it.
type made struct {
	Made  bool          `json:"made"` // false: it was there already
	Store string        `json:"store"`
	Spec  *schemas.Spec `json:"spec"`
}

func (c *initCommand) Run(ctx context.Context, l *cli.Logging) error {
	log := l.Logger()
	if _, err := c.spec(slog.New(slog.DiscardHandler)); err != nil {
		return cli.Usage(err)
	}
	client, err := c.Kafka.Client(c.topic(), log)
	if err != nil {
		return err
	}
	defer client.Close()
	b, err := c.Store.Open(ctx, log, cli.Wait{})
	if err != nil {
		return err
	}
	shards, err := commit.OpenShards(ctx, b)
	if errors.Is(err, store.ErrNotFound) {
		var spec *schemas.Spec
		if spec, err = c.create(ctx, b, client, log); err == nil {
			return c.print(made{true, b.String(), spec})
		}
		if !errors.Is(err, store.ErrExists) {
			return err
		}
		shards, err = commit.OpenShards(ctx, b) // somebody was faster
	}
	if err != nil {
		return err
	}
	is := shards[0].Spec()
	if err := c.same(is, b, log); err != nil {
		return err
	}
	return c.print(made{false, b.String(), is})
}

// print is for scripts: people have the log.
func (c *initCommand) print(m made) error {
	if !c.JSON {
		return nil
	}
	return printJSON(m)
}

// same fails with what differs if an index that is there is not the one that the flags describe.
func (c *initCommand) same(is *schemas.Spec, b store.Bucket, log *slog.Logger) error {
	want, err := c.spec(slog.New(slog.DiscardHandler))
	if err != nil {
		return cli.Usage(err)
	}
	var faults []string
	for _, f := range []struct {
		name     string
		is, want any
	}{
		{"name", is.Name, want.Name},
		{"metric", is.Metric, want.Metric},
		{"ladder", is.Ladder, want.Ladder},
		{"encoder", is.Encoder, want.Encoder},
		{"vectors", is.Vectors, want.Vectors},
		{"attributes", is.Attributes, want.Attributes},
		{"topic", is.Topic.Name, want.Topic.Name}, // not its partitions: they are the topic's own
		{"shards", is.Shards, want.Shards},
		{"loads", is.Loads, want.Loads},
		{"messages", messagesText(is.Messages), messagesText(want.Messages)},
		{"prefix", is.Prefix, want.Prefix},
		{"lists per row", is.ListsPerRow, want.ListsPerRow},
		{"target recall", is.Defaults.TargetRecall, want.Defaults.TargetRecall},
	} {
		if was, asked := fmt.Sprint(f.is), fmt.Sprint(f.want); was != asked {
			faults = append(faults, fmt.Sprintf("its %s is %s, asked for: %s", f.name, was, asked))
		}
	}
	if len(faults) > 0 {
		return cli.Usage(fmt.Errorf("--store %s: an index exists already, and its spec cannot change: %s: choose another prefix, or make an epoch of the index",
			b, strings.Join(faults, "; ")))
	}
	log.Info("the index is there already", "index", is, "store", b, "topic", is.Topic.Name, "partitions", is.Topic.Partitions)
	return nil
}
