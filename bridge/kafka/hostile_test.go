package kafka

import (
	"context"
	"encoding/binary"
	"io"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// frame is a request with any body.
func frame(key, version int16, body ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	return append(append(b, 0, 0, 0, 1), body...)
}

// hostile returns a server that serves Produce and Fetch, and counts.
func hostile(served *int) *Server {
	s := NewServer(ServerConfig{Logger: quiet})
	count := func(_ context.Context, _ *ServerConn, _ kmsg.Request, respond func(kmsg.Response)) {
		*served++
		respond(nil)
	}
	s.Handle(Route{New: kmsg.Produce.Request, Versions: Span{0, 13}, BytesMax: 1 << 20, Check: CheckProduce(100), Serve: count})
	s.Handle(Route{New: kmsg.Fetch.Request, Versions: Span{0, 18}, Check: CheckFetch(100), Serve: count})
	return s
}

// TestServerRefuses: what makes no sense or is too much ends the connection and
// reaches no handler.
func TestServerRefuses(t *testing.T) {
	header := []byte{0, 1, 'c', 0} // client id, no tags
	with := func(body ...byte) []byte { return append(append([]byte{}, header...), body...) }
	produce := func(body ...byte) []byte { return with(append([]byte{0, 0, 1, 0, 0, 0, 0}, body...)...) }
	fetch := make([]byte, 12+4+1+8) // up to its topics
	tests := map[string][]byte{
		"unknown request":       frame(999, 0),
		"unknown version":       frame(0, 14),
		"negative version":      frame(1, -1),
		"too large":             append([]byte{0x7f, 0xff, 0xff, 0xff}, frame(0, 9)[4:]...),
		"ApiVersions too large": append([]byte{0, 1, 0, 0}, frame(18, 3)[4:]...),
		"too small":             {0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1},
		"client id cut short":   frame(0, 9, 0, 9, 'c'),
		"header tags":           frame(0, 9, 0, 1, 'c', 0xff, 0xff, 0xff, 0xff, 0x0f),
		"topics too many":       frame(0, 9, produce(0xff, 0xff, 0xff, 0x07)...),
		"partitions too many":   frame(0, 9, produce(2, 2, 's', 0xff, 0xff, 0xff, 0x07)...),
		"partitions as int32":   frame(0, 8, 0, 1, 'c', 0xff, 0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 's', 0x7f, 0xff, 0xff, 0xff),
		"records cut short":     frame(0, 9, produce(2, 2, 's', 2, 0, 0, 0, 0, 9, 1)...),
		"tags without end":      frame(0, 9, produce(1, 0xff, 0xff, 0xff, 0xff, 0x0f)...),
		"bytes too many":        frame(0, 9, produce(1, 0, 0)...),
		"empty":                 frame(0, 9, with()...),
		"inner tags":            frame(1, 12, with(append(fetch, 1, 1, 1, 1, 1, 17, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f)...)...),
	}
	for name, bytes := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				served := 0
				nc := serve(t, hostile(&served)).dial()
				go nc.Write(bytes)
				if n, err := nc.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("want the end of the connection: %d bytes, %v", n, err)
				}
				if served != 0 {
					t.Error("it reached the handler")
				}
			})
		})
	}
}

// TestCheckAccepts: whatever kmsg encodes passes, in every version.
func TestCheckAccepts(t *testing.T) {
	text := "text"
	for version := int16(0); version <= 18; version++ {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = 3, []byte("records")
		p.UnknownTags.Set(77, []byte("tag"))
		produce := &kmsg.ProduceRequest{Version: version, TransactionID: &text, Acks: -1}
		produce.Topics = []kmsg.ProduceRequestTopic{{Topic: "a", Partitions: []kmsg.ProduceRequestTopicPartition{p, p}}, {Topic: "b"}}
		if version <= 13 {
			if err := CheckProduce(2)(version, produce.AppendTo(nil)); err != nil {
				t.Errorf("Produce %d: %v", version, err)
			}
		}
		fp := kmsg.NewFetchRequestTopicPartition()
		fp.HighWatermark, fp.ReplicaDirectoryID[0] = 7, 1
		fetch := &kmsg.FetchRequest{Version: version, ClusterID: &text, Rack: text}
		fetch.ReplicaState.ID = 5
		fetch.ReplicaState.UnknownTags.Set(9, []byte("tag"))
		fetch.Topics = []kmsg.FetchRequestTopic{{Topic: "a", Partitions: []kmsg.FetchRequestTopicPartition{fp, fp}}}
		fetch.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "b", Partitions: []int32{1, 2}}}
		if err := CheckFetch(3)(version, fetch.AppendTo(nil)); err != nil {
			t.Errorf("Fetch %d: %v", version, err)
		}
		if err := CheckFetch(1)(version, fetch.AppendTo(nil)); err == nil {
			t.Errorf("Fetch %d: more partitions than allowed were accepted", version)
		}
	}
}

// TestCheckResponseAccepts: whatever a broker can answer passes, in every version.
func TestCheckResponseAccepts(t *testing.T) {
	text := "text"
	accept := func(resp kmsg.Response) {
		t.Helper()
		last := resp.MaxVersion()
		switch kmsg.Key(resp.Key()) {
		case kmsg.Produce, kmsg.Fetch, kmsg.ApiVersions: // gateways may speak newer ones with each other
		default:
			last = spoken[kmsg.Key(resp.Key())].Max
		}
		for version := int16(0); version <= last; version++ {
			resp.SetVersion(version)
			body := resp.AppendTo(nil)
			if err := checkResponse(resp, body); err != nil {
				t.Errorf("%T version %d: %v", resp, version, err)
			}
			if err := checkResponse(resp, body[:len(body)-1]); err == nil && kmsg.Key(resp.Key()) != kmsg.ApiVersions {
				t.Errorf("%T version %d cut short is accepted", resp, version)
			}
		}
	}
	fetched := kmsg.NewFetchResponseTopicPartition()
	fetched.DivergingEpoch.Epoch, fetched.CurrentLeader.LeaderID, fetched.SnapshotID.Epoch = 1, 2, 3
	fetched.CurrentLeader.UnknownTags.Set(5, []byte("tag"))
	fetched.AbortedTransactions = make([]kmsg.FetchResponseTopicPartitionAbortedTransaction, 2)
	fetched.RecordBatches = []byte("records")
	accept(&kmsg.FetchResponse{
		Topics:  []kmsg.FetchResponseTopic{{Topic: "a", Partitions: []kmsg.FetchResponseTopicPartition{fetched, fetched}}},
		Brokers: []kmsg.FetchResponseBroker{{Host: "h", Rack: &text}, {}},
	})
	produced := kmsg.NewProduceResponseTopicPartition()
	produced.CurrentLeader.LeaderID, produced.ErrorMessage = 4, &text
	produced.ErrorRecords = []kmsg.ProduceResponseTopicPartitionErrorRecord{{ErrorMessage: &text}, {}}
	accept(&kmsg.ProduceResponse{
		Topics:  []kmsg.ProduceResponseTopic{{Topic: "a", Partitions: []kmsg.ProduceResponseTopicPartition{produced, produced}}},
		Brokers: []kmsg.ProduceResponseBroker{{Host: "h", Rack: &text}, {}},
	})
	accept(&kmsg.ApiVersionsResponse{
		ApiKeys:           make([]kmsg.ApiVersionsResponseApiKey, 3),
		SupportedFeatures: []kmsg.ApiVersionsResponseSupportedFeature{{Name: "a"}},
		FinalizedFeatures: []kmsg.ApiVersionsResponseFinalizedFeature{{Name: "b"}},
	})
	tags := kmsg.Tags{}
	tags.Set(9, []byte("tag"))
	accept(&kmsg.FindCoordinatorResponse{ErrorMessage: &text, Host: "h", UnknownTags: tags})
	accept(&kmsg.InitProducerIDResponse{UnknownTags: tags})
	accept(&kmsg.AddOffsetsToTxnResponse{UnknownTags: tags})
	accept(&kmsg.EndTxnResponse{UnknownTags: tags})
	accept(&kmsg.AddPartitionsToTxnResponse{Topics: []kmsg.AddPartitionsToTxnResponseTopic{{Topic: "a",
		Partitions: []kmsg.AddPartitionsToTxnResponseTopicPartition{{UnknownTags: tags}, {}}}, {}}})
	accept(&kmsg.TxnOffsetCommitResponse{Topics: []kmsg.TxnOffsetCommitResponseTopic{{Topic: "a",
		Partitions: []kmsg.TxnOffsetCommitResponseTopicPartition{{UnknownTags: tags}, {}}}, {}}})
	accept(&kmsg.OffsetFetchResponse{Topics: []kmsg.OffsetFetchResponseTopic{{Topic: "a",
		Partitions: []kmsg.OffsetFetchResponseTopicPartition{{Metadata: &text, UnknownTags: tags}, {}}}, {}}})
}

// FuzzCheck: what passes the check costs memory in proportion to its size, and
// no more time than that, decodable or not.
func FuzzCheck(f *testing.F) {
	f.Add(int16(0), int16(9), (&kmsg.ProduceRequest{Version: 9, Topics: []kmsg.ProduceRequestTopic{{Topic: "a"}}}).AppendTo(nil))
	f.Add(int16(1), int16(12), (&kmsg.FetchRequest{Version: 12, Topics: []kmsg.FetchRequestTopic{{Topic: "a"}}}).AppendTo(nil))
	f.Add(int16(2), int16(9), (&kmsg.ProduceResponse{Version: 9, Topics: []kmsg.ProduceResponseTopic{{Topic: "a"}}}).AppendTo(nil))
	f.Add(int16(3), int16(12), (&kmsg.FetchResponse{Version: 12, Topics: []kmsg.FetchResponseTopic{{Topic: "a"}}}).AppendTo(nil))
	f.Add(int16(4), int16(3), (&kmsg.ApiVersionsResponse{Version: 3, ApiKeys: make([]kmsg.ApiVersionsResponseApiKey, 1)}).AppendTo(nil))
	f.Add(int16(5), int16(3), (&kmsg.FindCoordinatorResponse{Version: 3, Host: "h"}).AppendTo(nil))
	f.Add(int16(6), int16(4), (&kmsg.InitProducerIDResponse{Version: 4}).AppendTo(nil))
	f.Add(int16(7), int16(3), (&kmsg.AddPartitionsToTxnResponse{Version: 3, Topics: []kmsg.AddPartitionsToTxnResponseTopic{{Topic: "a"}}}).AppendTo(nil))
	f.Add(int16(8), int16(3), (&kmsg.AddOffsetsToTxnResponse{Version: 3}).AppendTo(nil))
	f.Add(int16(9), int16(3), (&kmsg.TxnOffsetCommitResponse{Version: 3, Topics: []kmsg.TxnOffsetCommitResponseTopic{{Topic: "a"}}}).AppendTo(nil))
	f.Add(int16(10), int16(3), (&kmsg.EndTxnResponse{Version: 3}).AppendTo(nil))
	f.Add(int16(11), int16(7), (&kmsg.OffsetFetchResponse{Version: 7, Topics: []kmsg.OffsetFetchResponseTopic{{Topic: "a"}}}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, kind, version int16, body []byte) {
		if kind < 0 || int(kind) >= 2+len(checkedResponses) || version < 0 {
			return
		}
		message, check, last := checked(kind)
		if version > last {
			return
		}
		message.SetVersion(version)
		if check(version, body) != nil {
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		message.ReadFrom(body)
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20+uint64(len(body))*300 {
			t.Errorf("%d bytes took %d to decode", len(body), grown)
		}
	})
}

type message interface {
	MaxVersion() int16
	SetVersion(int16)
	ReadFrom([]byte) error
}

// checkedResponses are the answers that are checked.
var checkedResponses = []kmsg.Key{kmsg.Produce, kmsg.Fetch, kmsg.ApiVersions, kmsg.FindCoordinator, kmsg.InitProducerID,
	kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.OffsetFetch}

// checked returns the messages that are checked, by number, and up to which
// version they are.
func checked(kind int16) (message, func(int16, []byte) error, int16) {
	switch kind {
	case 0:
		m := &kmsg.ProduceRequest{}
		return m, CheckProduce(100), m.MaxVersion()
	case 1:
		m := &kmsg.FetchRequest{}
		return m, CheckFetch(100), m.MaxVersion()
	}
	resp := checkedResponses[kind-2].Response()
	last := resp.MaxVersion()
	if kind > 4 {
		last = spoken[checkedResponses[kind-2]].Max
	}
	return resp, func(_ int16, body []byte) error { return checkResponse(resp, body) }, last
}

// FuzzServer: no stream of bytes does more than end its connection.
func FuzzServer(f *testing.F) {
	f.Add(frame(18, 0))
	f.Add(append(frame(0, 9, 0, 1, 'c', 0, 0, 0, 1, 0, 0, 0, 0, 1, 0), frame(18, 3, 0, 1, 'c', 0)...))
	f.Fuzz(func(t *testing.T, stream []byte) {
		served := 0
		s := hostile(&served)
		ln := serve(t, s)
		nc := ln.dial()
		go io.Copy(io.Discard, nc)
		nc.Write(stream)
		nc.Close()
	})
}
