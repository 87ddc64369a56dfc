package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
)

// createPoll is how often CreateTopic asks the leaders of a new topic.
const createPoll = 100 * time.Millisecond

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
