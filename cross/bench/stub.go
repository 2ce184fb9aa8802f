package main

import (
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cistern/segstore/batch"
)

// stub is a broker that throws away what it gets and says thanks: what it costs
// does not depend on what is sent, and it has no disk. It has every topic, with
// one partition.
type stub struct {
	listener net.Listener
	host     string
	port     int32

	mu   sync.Mutex
	seen seen
}

// seen is what arrived.
type seen struct {
	In, Out  int64 // bytes of the TCP streams
	Requests int64 // to produce
	Batches  int64
	Stored   int64 // bytes of batches
	Records  int64
	First    time.Time       // when the first batch was there
	Last     time.Time       // when the last was
	FirstLen int64           // bytes of the first
	Fresh    []time.Duration // how old batches were that were not from the backlog
}

// newStub listens on loopback.
func newStub() (*stub, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &stub{listener: l}
	s.advertise(l.Addr().String())
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(nc)
		}
	}()
	return s, nil
}

func (s *stub) address() string { return s.listener.Addr().String() }

// advertise names another address to clients: that of a proxy.
func (s *stub) advertise(address string) {
	host, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	s.host, s.port = host, int32(n)
}

func (s *stub) close() { s.listener.Close() }

// take returns what has arrived since the last time.
func (s *stub) take() seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.seen
	s.seen = seen{}
	return was
}

func (s *stub) serve(nc net.Conn) {
	defer nc.Close()
	var buf []byte
	offsets := int64(0)
	for {
		var size [4]byte
		if _, err := io.ReadFull(nc, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(size[:]))
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		if _, err := io.ReadFull(nc, buf[:n]); err != nil {
			return
		}
		out := s.reply(buf[:n], &offsets)
		if out == nil {
			return
		}
		s.mu.Lock()
		s.seen.In, s.seen.Out = s.seen.In+int64(n)+4, s.seen.Out+int64(len(out))
		s.mu.Unlock()
		if _, err := nc.Write(out); err != nil {
			return
		}
	}
}

// reply decodes a request and encodes the answer; nil: nonsense.
func (s *stub) reply(request []byte, offsets *int64) []byte {
	key, version := int16(binary.BigEndian.Uint16(request)), int16(binary.BigEndian.Uint16(request[2:]))
	req := kmsg.RequestForKey(key)
	if req == nil {
		return nil
	}
	req.SetVersion(version)
	body := request[10+max(0, int16(binary.BigEndian.Uint16(request[8:]))):]
	if req.IsFlexible() {
		body = body[1:]
	}
	if err := req.ReadFrom(body); err != nil {
		return nil
	}
	resp := s.answer(req, offsets)
	out := append(make([]byte, 4, 256), request[4:8]...)
	if resp.IsFlexible() && key != int16(kmsg.ApiVersions) {
		out = append(out, 0)
	}
	out = resp.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

func (s *stub) answer(req kmsg.Request, offsets *int64) kmsg.Response {
	resp := req.ResponseKind()
	switch resp := resp.(type) {
	case *kmsg.ApiVersionsResponse:
		for key, most := range map[int16]int16{0: 9, 1: 12, 2: 6, 3: 9, 18: 3, 22: 4, 32: 4} {
			resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: key, MaxVersion: most})
		}
	case *kmsg.MetadataResponse:
		resp.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: s.host, Port: s.port}}
		resp.ClusterID, resp.ControllerID = kmsg.StringPtr("stub"), 1
		for _, t := range req.(*kmsg.MetadataRequest).Topics {
			resp.Topics = append(resp.Topics, kmsg.MetadataResponseTopic{Topic: t.Topic,
				Partitions: []kmsg.MetadataResponseTopicPartition{{Leader: 1, Replicas: []int32{1}, ISR: []int32{1}}}})
		}
	case *kmsg.InitProducerIDResponse:
		resp.ProducerID = 1
	case *kmsg.ListOffsetsResponse:
		for _, t := range req.(*kmsg.ListOffsetsRequest).Topics {
			resp.Topics = append(resp.Topics, kmsg.ListOffsetsResponseTopic{Topic: t.Topic, Partitions: []kmsg.ListOffsetsResponseTopicPartition{{}}})
		}
	case *kmsg.DescribeConfigsResponse:
		for _, r := range req.(*kmsg.DescribeConfigsRequest).Resources {
			resp.Resources = append(resp.Resources, kmsg.DescribeConfigsResponseResource{ResourceType: r.ResourceType, ResourceName: r.ResourceName})
		}
	case *kmsg.ProduceResponse:
		s.produced(req.(*kmsg.ProduceRequest), resp, offsets)
	}
	return resp
}

func (s *stub) produced(req *kmsg.ProduceRequest, resp *kmsg.ProduceResponse, offsets *int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.Requests++
	now := time.Now()
	for _, t := range req.Topics {
		out := kmsg.ProduceResponseTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			h, _ := batch.ParseHeader(p.Records)
			out.Partitions = append(out.Partitions, kmsg.ProduceResponseTopicPartition{Partition: p.Partition, BaseOffset: *offsets})
			*offsets += int64(h.Count)
			if s.seen.Batches == 0 {
				s.seen.First, s.seen.FirstLen = now, int64(len(p.Records))
			}
			if age := now.Sub(time.UnixMilli(h.BaseTimestamp)); age < old/2 {
				s.seen.Fresh = append(s.seen.Fresh, age)
			}
			s.seen.Batches++
			s.seen.Last = now
			s.seen.Stored += int64(len(p.Records))
			s.seen.Records += int64(h.Count)
		}
		resp.Topics = append(resp.Topics, out)
	}
}
