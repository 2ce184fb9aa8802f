package kafka

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// createTimeout is how long the controller may take to create a topic.
const createTimeout = 15 * time.Second

// CreateTopic creates a topic. partitions and replicas may be -1: the
// cluster's default. A topic that exists already is kerr.TopicAlreadyExists.
func (c *Client) CreateTopic(ctx context.Context, name string, partitions int32, replicas int16) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(createTimeout.Milliseconds())
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replicas
	req.Topics = append(req.Topics, t)
	resp, err := askController[*kmsg.CreateTopicsResponse](ctx, c, req)
	if err != nil {
		return fmt.Errorf("creating topic %q: %w", name, err)
	}
	for _, t := range resp.Topics {
		if t.Topic == name {
			return codeError(t.ErrorCode, "creating topic %q", name)
		}
	}
	return missing("CreateTopics", name, -1)
}

// askController sends req to the controller, or to any broker when none is
// known: brokers without ZooKeeper pass such requests on.
func askController[R kmsg.Response](ctx context.Context, c *Client, req kmsg.Request) (R, error) {
	c.mu.Lock()
	node := c.controller
	_, known := c.brokers[node]
	c.mu.Unlock()
	if !known {
		return askAny[R](ctx, c, req)
	}
	return ask[R](ctx, c, node, req)
}

// TopicConfig is what a topic's configuration says about our records.
// Values that the broker does not tell are zero.
type TopicConfig struct {
	MessageBytesMax int64         // max.message.bytes
	Retention       time.Duration // retention.ms; -1: no limit
	LogAppendTime   bool          // message.timestamp.type
}

// TopicConfig asks for a topic's configuration. It needs DESCRIBE_CONFIGS,
// which a producer often lacks: treat a failure as not knowing.
func (c *Client) TopicConfig(ctx context.Context, topic string) (TopicConfig, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	r.ConfigNames = []string{"max.message.bytes", "retention.ms", "message.timestamp.type"}
	req.Resources = append(req.Resources, r)
	resp, err := askAny[*kmsg.DescribeConfigsResponse](ctx, c, req)
	if err != nil {
		return TopicConfig{}, fmt.Errorf("configuration of topic %q: %w", topic, err)
	}
	for _, r := range resp.Resources {
		if r.ResourceName != topic {
			continue
		}
		if err := codeError(r.ErrorCode, "configuration of topic %q", topic); err != nil {
			return TopicConfig{}, err
		}
		return readTopicConfig(r.Configs), nil
	}
	return TopicConfig{}, missing("DescribeConfigs", topic, -1)
}

func readTopicConfig(entries []kmsg.DescribeConfigsResponseResourceConfig) TopicConfig {
	var c TopicConfig
	for _, e := range entries {
		if e.Value == nil {
			continue
		}
		switch e.Name {
		case "max.message.bytes":
			c.MessageBytesMax, _ = strconv.ParseInt(*e.Value, 10, 64)
		case "retention.ms":
			c.Retention = retention(*e.Value)
		case "message.timestamp.type":
			c.LogAppendTime = *e.Value == "LogAppendTime"
		}
	}
	return c
}

// retention reads retention.ms, which may exceed what a Duration holds.
func retention(value string) time.Duration {
	const msMax = int64(1<<63-1) / int64(time.Millisecond)
	ms, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil:
		return 0
	case ms < 0 || ms > msMax:
		return -1
	}
	return time.Duration(ms) * time.Millisecond
}
