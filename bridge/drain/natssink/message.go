package natssink

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"

	"cistern/bridge/nats"
	"cistern/segstore/batch"
)

// Names of headers.
const (
	hdrExpectedStream = "Nats-Expected-Stream"
	hdrExpectedLast   = "Nats-Expected-Last-Subject-Sequence"
	hdrBatchID        = "Nats-Batch-Id"
	hdrBatchSequence  = "Nats-Batch-Sequence"
	hdrBatchCommit    = "Nats-Batch-Commit"

	hdrIncarnation = "Cistern-Incarnation"
	hdrOffset      = "Cistern-Offset"
	hdrBatch       = "Cistern-Batch"
	hdrFlows       = "Cistern-Flows"
	hdrTimestamp   = "Cistern-Timestamp"
	hdrKey         = "Cistern-Key"
	hdrKeyBase64   = "Cistern-Key-Base64"
	hdrHeader      = "Cistern-Header"
	hdrNull        = "Cistern-Null"
)

// flow is how far one incarnation's records are on a subject.
type flow struct {
	id     int64
	next   int64  // behind its last record
	resume int64  // where its next batch begins: below next when a batch is there in part
	seq    uint64 // of its last message
}

// flows are those of a subject, the latest to publish last.
type flows []flow

func (f flows) find(id int64) (flow, bool) {
	for _, one := range f {
		if one.id == id {
			return one, true
		}
	}
	return flow{}, false
}

// with returns f with one flow put last. The one that was silent longest goes
// when there are too many: flows that still have something to send are at most
// as many as drain has ranges, and younger than what has ended.
func (f flows) with(one flow) flows {
	out := make(flows, 0, len(f)+1)
	for _, other := range f {
		if other.id != one.id {
			out = append(out, other)
		}
	}
	if len(out) >= FlowsMax {
		out = out[len(out)-FlowsMax+1:]
	}
	return append(out, one)
}

// appendOthers adds the header that carries the other flows forward.
func (f flows) appendOthers(dst []byte, id int64) []byte {
	begun := false
	for _, one := range f {
		if one.id == id {
			continue
		}
		if begun {
			dst = append(dst, ' ')
		} else {
			dst = append(dst, hdrFlows+": "...)
			begun = true
		}
		dst = fmt.Appendf(dst, "%d:%d:%d:%d", one.id, one.next, one.resume, one.seq)
	}
	if begun {
		dst = append(dst, "\r\n"...)
	}
	return dst
}

// parseFlows reads what a message says of all flows. ok is false for a message
// that is none of ours.
func parseFlows(h nats.Header, seq uint64) (all flows, ok bool) {
	own := flow{id: -1, next: -1, seq: seq}
	if v, found := h.Get(hdrIncarnation); found {
		own.id = parseNumber(v)
	}
	if v, found := h.Get(hdrOffset); found {
		own.next = parseNumber(v) + 1
	}
	if own.id < 0 || own.next < 1 {
		return nil, false
	}
	own.resume = own.next
	if v, found := h.Get(hdrBatch); found {
		first, last, _ := strings.Cut(v, "-")
		a, b := parseNumber(first), parseNumber(last)
		if a < 0 || b < own.next-1 || a >= own.next {
			return nil, false
		}
		if b >= own.next {
			own.resume = a
		}
	}
	others, _ := h.Get(hdrFlows)
	for _, text := range strings.Fields(others) {
		p := strings.Split(text, ":")
		if len(p) != 4 || len(all) >= FlowsMax {
			return nil, false
		}
		one := flow{parseNumber(p[0]), parseNumber(p[1]), parseNumber(p[2]), uint64(max(0, parseNumber(p[3])))}
		if one.id < 0 || one.resume < 0 || one.next < one.resume {
			return nil, false
		}
		all = append(all, one)
	}
	return all.with(own), true
}

// parseNumber returns a number that is not negative, else -1.
func parseNumber(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n == math.MaxInt64 {
		return -1
	}
	return n
}

// appendRecord adds the headers that say what a record is. id is whose count its
// offset is, first and last are those of its batch.
func appendRecord(dst []byte, id int64, r *batch.Record, first, last int64) []byte {
	dst = nats.AppendNumber(dst, hdrIncarnation, id)
	dst = nats.AppendNumber(dst, hdrOffset, r.Offset)
	if first != last {
		dst = fmt.Appendf(dst, "%s: %d-%d\r\n", hdrBatch, first, last)
	}
	dst = nats.AppendNumber(dst, hdrTimestamp, r.Timestamp)
	switch {
	case r.Key == nil:
	case nats.FieldValue(r.Key):
		dst = nats.AppendField(dst, hdrKey, string(r.Key))
	default:
		dst = nats.AppendField(dst, hdrKeyBase64, base64.StdEncoding.EncodeToString(r.Key))
	}
	if r.Value == nil {
		dst = nats.AppendField(dst, hdrNull, "value")
	}
	for i := range r.Headers {
		dst = appendForeign(dst, &r.Headers[i])
	}
	return dst
}

// appendForeign adds a header of the record, which any device may have made: it
// must neither break the block nor speak to the server.
func appendForeign(dst []byte, h *batch.RecordHeader) []byte {
	if h.Value != nil && nats.FieldName(h.Key) && nats.FieldValue(h.Value) && !reserved(h.Key) {
		return nats.AppendField(dst, h.Key, string(h.Value))
	}
	text := base64.RawStdEncoding.EncodeToString([]byte(h.Key))
	if h.Value != nil {
		text += "=" + base64.RawStdEncoding.EncodeToString(h.Value)
	}
	return nats.AppendField(dst, hdrHeader, text)
}

// reserved reports whether a name is the server's or ours.
func reserved(name string) bool {
	for _, prefix := range []string{"nats-", "cistern-"} {
		if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}
