package export

import (
	"encoding/json"
	"io"
	"time"
	"unicode/utf8"

	"cistern/gossip/metadata"
	"cistern/segstore/batch"
)

// recordsBytesMax bounds the decompressed size of a batch.
const recordsBytesMax = 16 * metadata.BatchBytesMax

// timeLayout is RFC 3339 with the milliseconds that a record has.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// jsonRecord is one line of the ndjson format. What is text stands as it is, other
// bytes in …_base64; null in neither.
type jsonRecord struct {
	Stream      string       `json:"stream"`
	Partition   int32        `json:"partition"`
	Offset      int64        `json:"offset"`
	Timestamp   string       `json:"timestamp"`
	Key         *string      `json:"key"`
	KeyBase64   []byte       `json:"key_base64,omitempty"`
	Value       *string      `json:"value"`
	ValueBase64 []byte       `json:"value_base64,omitempty"`
	Headers     []jsonHeader `json:"headers,omitempty"`
}

type jsonHeader struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
}

// writeJSON writes the records of a batch, a line each.
func writeJSON(w io.Writer, id metadata.PartitionID, b []byte) (records int64, err error) {
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	for r, err := range batch.Records(b, recordsBytesMax) {
		if err != nil {
			return records, err
		}
		line := jsonRecord{Stream: id.Stream, Partition: id.Partition, Offset: r.Offset, Timestamp: time.UnixMilli(r.Timestamp).UTC().Format(timeLayout)}
		line.Key, line.KeyBase64 = words(r.Key)
		line.Value, line.ValueBase64 = words(r.Value)
		for _, h := range r.Headers {
			out := jsonHeader{Key: h.Key}
			out.Value, out.ValueBase64 = words(h.Value)
			line.Headers = append(line.Headers, out)
		}
		if err := lines.Encode(&line); err != nil {
			return records, err
		}
		records++
	}
	return records, nil
}

func words(b []byte) (*string, []byte) {
	switch {
	case b == nil:
		return nil, nil
	case utf8.Valid(b):
		s := string(b)
		return &s, nil
	}
	return nil, b
}
