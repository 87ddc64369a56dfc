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
