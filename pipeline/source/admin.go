package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
)

// createPoll is how often CreateTopic asks the leaders of a new topic.
const createPoll = 100 * time.Millisecond

const (
	// defaultTopicMessage is max.message.bytes of a topic that does not set it,
	// on a broker that does not either.
	defaultTopicMessage = 1048588
	// messageOverhead is more than what counts of a message beside its value: 61
	// bytes of its batch, some of its record, headers of tracing.
	messageOverhead = 1024
)

// CreateTopic creates the topic and waits until the leader of every partition
// answers. A topic that exists is left as it is, whatever its shape, and is no
// error. config holds topic configs such as "max.message.bytes"; -1 for
// partitions or replication means the broker's default.
func (c *Client) CreateTopic(ctx context.Context, partitions, replication int, config map[string]string) error {
	configs := make([]createtopics.RequestConfig, 0, len(config))
	for _, name := range slices.Sorted(maps.Keys(config)) {
		configs = append(configs, createtopics.RequestConfig{Name: name, Value: config[name]})
	}
	res, err := c.roundTripAny(ctx, &createtopics.Request{
		Topics: []createtopics.RequestTopic{{
			Name:              c.o.Topic,
			NumPartitions:     int32(partitions),
			ReplicationFactor: int16(replication),
			Configs:           configs,
		}},
		TimeoutMs: int32(c.o.RequestTimeout / time.Millisecond),
	})
	if err != nil {
		return fmt.Errorf("create topic %s: %w", c.o.Topic, err)
	}
	for _, t := range res.(*createtopics.Response).Topics {
		code := kafka.Error(t.ErrorCode)
		if code != 0 && code != kafka.TopicAlreadyExists {
			return fmt.Errorf("create topic %s: %w: %s", c.o.Topic, classify(code), t.ErrorMessage)
		}
	}
	if err := c.awaitLeaders(ctx); err != nil {
		return fmt.Errorf("create topic %s: %w", c.o.Topic, err)
	}
	return nil
}

// TopicConfig returns the settings of the topic of these names, as
// "cleanup.policy", that the broker has. It takes the right DescribeConfigs.
func (c *Client) TopicConfig(ctx context.Context, names ...string) (map[string]string, error) {
	res, err := c.roundTripAny(ctx, &describeconfigs.Request{Resources: []describeconfigs.RequestResource{{
		ResourceType: int8(kafka.ResourceTypeTopic),
		ResourceName: c.o.Topic,
		ConfigNames:  names,
	}}})
	if err != nil {
		return nil, fmt.Errorf("settings of topic %s: %w", c.o.Topic, err)
	}
	config := map[string]string{}
	for _, r := range res.(*describeconfigs.Response).Resources {
		if r.ErrorCode != 0 {
			return nil, fmt.Errorf("settings of topic %s: %w", c.o.Topic, c.brokerError(r.ErrorCode))
		}
		for _, e := range r.ConfigEntries {
			config[e.ConfigName] = e.ConfigValue
		}
	}
	return config, nil
}

// MaxMessage returns how many bytes the value of a message to the topic may
// have: what its max.message.bytes leave when the protocol has had its share, and
// no more than a producer of the zero options sends. A client that may not ask,
// for want of the right DescribeConfigs, is told what Kafka's default leaves.
func (c *Client) MaxMessage(ctx context.Context) (int64, error) {
	limit := int64(defaultTopicMessage)
	config, err := c.TopicConfig(ctx, "max.message.bytes")
	if err != nil && !errors.Is(err, ErrDenied) {
		return 0, err
	}
	if text := config["max.message.bytes"]; text != "" {
		if limit, err = strconv.ParseInt(text, 10, 64); err != nil {
			return 0, fmt.Errorf("settings of topic %s: max.message.bytes: %w", c.o.Topic, err)
		}
	}
	return max(1, min(limit, defaultMaxMessageBytes)-messageOverhead), nil
}

// roundTripAny sends a request that any broker takes. Before the first metadata
// there is no broker to send it to, so that is waited for.
func (c *Client) roundTripAny(ctx context.Context, req kafka.Request) (kafka.Response, error) {
	if _, err := c.cachedMetadata(ctx); err != nil {
		return nil, err
	}
	return c.send(ctx, c.o.RequestTimeout, req)
}

// awaitLeaders polls until every partition of the topic is led. The metadata runs
// ahead of the leaders, which refuse requests for some milliseconds more, so they
// are asked themselves.
func (c *Client) awaitLeaders(ctx context.Context) error {
	for {
		err := c.askLeaders(ctx)
		if err == nil || !errors.Is(err, ErrTransient) {
			return err
		}
		if err := sleep(ctx, createPoll); err != nil {
			return err
		}
		c.refresh()
	}
}

func (c *Client) askLeaders(ctx context.Context) error {
	ids, err := c.Partitions(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := c.Bounds(ctx, id); err != nil {
			return err
		}
	}
	return nil
}
