package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// partitionTold is what an ingestor says of a partition that the index was not made for.
const partitionTold = "the topic has more partitions than"

// addPartition adds one to the topic, which nobody should do: the index has as many as it was made with. The others have to go on.
func (c *campaign) addPartition(ctx context.Context) error {
	request := kmsg.NewPtrCreatePartitionsRequest()
	request.TimeoutMillis = 10_000
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = c.truth.topic, partitions+1
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, c.truth.client)
	if err != nil {
		return err
	}
	for _, t := range response.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return fmt.Errorf("add a partition to %s: %w", t.Topic, err)
		}
	}
	return nil
}

// partitionRefused waits until the ingestor that the added partition was given to says that it is not the index's.
func (c *campaign) partitionRefused(ctx context.Context) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; pause(ctx, 100*time.Millisecond) {
		for _, m := range c.members[roleIngestor] {
			if strings.Contains(m.log(), partitionTold) {
				c.totals.count(eventPartition)
				return
			}
		}
	}
	c.totals.fault("a partition was added to the topic and no ingestor says so")
}
