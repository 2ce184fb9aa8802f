package status

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"
)

// TailQuery says which committed records somebody wants to see.
type TailQuery struct {
	Filter    string // MQTT topic filter
	Beginning bool   // from the oldest stored record; else only what comes now
	Count     int64  // stop after that many; 0 goes on
	Follow    bool   // wait for more at the end
}

// TailRecord is one committed record. A value that is text stands in Value, any
// other in ValueBase64; both are empty for null.
type TailRecord struct {
	Stream      string       `json:"stream"`
	Partition   int32        `json:"partition"`
	Offset      int64        `json:"offset"`
	Time        time.Time    `json:"time"`
	Topic       string       `json:"topic"`
	Key         string       `json:"key"`
	Value       *string      `json:"value"`
	ValueBase64 []byte       `json:"value_base64,omitempty"`
	Headers     []TailHeader `json:"headers,omitempty"`
}

// TailHeader is one header of a record.
type TailHeader struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// SetValue puts a payload where it belongs.
func (r *TailRecord) SetValue(b []byte) {
	r.Value, r.ValueBase64 = nil, nil
	switch {
	case b == nil:
	case utf8.Valid(b):
		s := string(b)
		r.Value = &s
	default:
		r.ValueBase64 = append([]byte(nil), b...)
	}
}

// errQuery is what a client asked wrongly.
var errQuery = errors.New("bad query")

func (q TailQuery) encode() string {
	v := url.Values{"filter": {q.Filter}, "from": {"end"}, "n": {strconv.FormatInt(q.Count, 10)}, "follow": {strconv.FormatBool(q.Follow)}}
	if q.Beginning {
		v.Set("from", "beginning")
	}
	return v.Encode()
}

func parseTailQuery(v url.Values) (TailQuery, error) {
	q := TailQuery{Filter: v.Get("filter"), Follow: true}
	if q.Filter == "" {
		q.Filter = "#"
	}
	switch v.Get("from") {
	case "beginning":
		q.Beginning = true
	case "", "end":
	default:
		return q, fmt.Errorf("%w: from is %q; allowed are beginning, end", errQuery, v.Get("from"))
	}
	var err error
	if n := v.Get("n"); n != "" {
		if q.Count, err = strconv.ParseInt(n, 10, 64); err != nil || q.Count < 0 {
			return q, fmt.Errorf("%w: n is %q; allowed are whole numbers from 0", errQuery, n)
		}
	}
	if f := v.Get("follow"); f != "" {
		if q.Follow, err = strconv.ParseBool(f); err != nil {
			return q, fmt.Errorf("%w: follow is %q; allowed are true, false", errQuery, f)
		}
	}
	return q, nil
}
