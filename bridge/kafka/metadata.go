package kafka

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Cluster is what a cluster says about itself.
type Cluster struct {
	ID         string
	Controller int32 // -1: none
	Brokers    []Broker
	Topics     map[string]Topic // those that were asked for
}

// Broker is one member of a cluster.
type Broker struct {
	Node int32
	Addr string
}

// Topic is what a cluster says about a topic.
type Topic struct {
	Name       string
	ID         [16]byte // zero when the broker does not tell
	Err        error    // why there is nothing to say, e.g. kerr.UnknownTopicOrPartition
	Partitions []TopicPartition
}

// TopicPartition is one partition of a topic, at the index of its number.
type TopicPartition struct {
	Leader int32 // -1: none at the moment
	Epoch  int32
	Err    error
}

// Metadata asks for the cluster and the named topics, from any broker, and
// remembers where the brokers are. No topic is created by asking.
func (c *Client) Metadata(ctx context.Context, topics ...string) (*Cluster, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	req.Topics = []kmsg.MetadataRequestTopic{} // none, where nil means all
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, t)
	}
	resp, err := askAny[*kmsg.MetadataResponse](ctx, c, req)
	if err != nil {
		return nil, err
	}
	cluster, err := readMetadata(resp)
	if err != nil {
		return nil, err
	}
	c.remember(cluster)
	return cluster, nil
}

func (c *Client) remember(cluster *Cluster) {
	brokers := make(map[int32]string, len(cluster.Brokers))
	for _, b := range cluster.Brokers {
		brokers[b.Node] = b.Addr
	}
	c.mu.Lock()
	c.brokers = brokers
	c.controller = cluster.Controller
	gone := c.forget(brokers)
	c.mu.Unlock()
	for _, s := range gone {
		closeIdle(s)
	}
}

// forget removes the control connections to addresses that are no longer part
// of the cluster, so that their number stays bounded. c.mu is held.
func (c *Client) forget(brokers map[int32]string) []*slot {
	keep := slices.Concat(c.cfg.Brokers, slices.Collect(maps.Values(brokers)))
	var gone []*slot
	for addr, s := range c.control {
		if !slices.Contains(keep, addr) {
			delete(c.control, addr)
			gone = append(gone, s)
		}
	}
	return gone
}

// closeIdle closes a forgotten connection. Whoever dials it just now keeps it
// for his one request; it then ends when the broker closes it.
func closeIdle(s *slot) {
	select {
	case s.token <- struct{}{}:
		if s.conn != nil {
			s.conn.Close()
		}
		<-s.token
	default:
	}
}

func readMetadata(resp *kmsg.MetadataResponse) (*Cluster, error) {
	if len(resp.Brokers) > BrokersMax {
		return nil, fmt.Errorf("%w: metadata names %d brokers, at most %d are understood", ErrProtocol, len(resp.Brokers), BrokersMax)
	}
	cluster := &Cluster{Controller: resp.ControllerID, Topics: map[string]Topic{}}
	if resp.ClusterID != nil {
		cluster.ID = *resp.ClusterID
	}
	for _, b := range resp.Brokers {
		addr := net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
		cluster.Brokers = append(cluster.Brokers, Broker{Node: b.NodeID, Addr: addr})
	}
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		topic, err := readTopic(&t)
		if err != nil {
			return nil, err
		}
		cluster.Topics[topic.Name] = topic
	}
	return cluster, nil
}

func readTopic(t *kmsg.MetadataResponseTopic) (Topic, error) {
	topic := Topic{
		Name: *t.Topic,
		ID:   t.TopicID,
		Err:  codeError(t.ErrorCode, "topic %q", *t.Topic),
	}
	count := len(t.Partitions)
	if count > PartitionsMax {
		return topic, fmt.Errorf("%w: topic %q has %d partitions, at most %d are understood", ErrProtocol, topic.Name, count, PartitionsMax)
	}
	topic.Partitions = make([]TopicPartition, count)
	seen := make([]bool, count)
	for _, p := range t.Partitions {
		if p.Partition < 0 || int(p.Partition) >= count || seen[p.Partition] {
			return topic, fmt.Errorf("%w: topic %q names partition %d among %d", ErrProtocol, topic.Name, p.Partition, count)
		}
		seen[p.Partition] = true
		topic.Partitions[p.Partition] = TopicPartition{
			Leader: p.Leader,
			Epoch:  p.LeaderEpoch,
			Err:    codeError(p.ErrorCode, "%s/%d", topic.Name, p.Partition),
		}
	}
	return topic, nil
}
