package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// spoken caps every request at what Kafka 2.8 has. The floors are what we
// depend on: Produce 3 carries batches of this format (and from 7 on zstd),
// InitProducerID 3 came with a broker that keeps accepting a producer after its
// records expired (KIP-360), OffsetFetch 7 with answers that wait for open
// transactions (KIP-447).
var spoken = map[kmsg.Key]Span{
	kmsg.Produce:            {3, 9},
	kmsg.Fetch:              {10, 12},
	kmsg.ListOffsets:        {2, 6},
	kmsg.Metadata:           {5, 11},
	kmsg.OffsetFetch:        {7, 7},
	kmsg.FindCoordinator:    {1, 3},
	kmsg.SASLHandshake:      {1, 1},
	kmsg.ApiVersions:        {0, 3},
	kmsg.CreateTopics:       {2, 7},
	kmsg.InitProducerID:     {3, 4},
	kmsg.AddPartitionsToTxn: {0, 3},
	kmsg.AddOffsetsToTxn:    {0, 3},
	kmsg.EndTxn:             {0, 3},
	kmsg.TxnOffsetCommit:    {0, 3},
	kmsg.DescribeConfigs:    {1, 4},
	kmsg.SASLAuthenticate:   {0, 2},
	kmsg.DescribeProducers:  {0, 0},
}

// required are the requests without which nothing can be drained. What more a
// way to drain needs is for its user to ask: see Client.Versions.
var required = []kmsg.Key{kmsg.Produce, kmsg.Metadata}

// versions maps a request to the version that both sides speak. It is written
// before the connection is handed out and only read afterwards.
type versions map[kmsg.Key]int16

func (v versions) of(req kmsg.Request) (int16, error) {
	key := kmsg.Key(req.Key())
	version, ok := v[key]
	if !ok {
		return 0, fmt.Errorf("%w: it does not know %s", ErrTooOld, key.Name())
	}
	return version, nil
}

// Versions returns the version of every request that this client has in common
// with a broker: with the first that can be reached, in a random order.
func (c *Client) Versions(ctx context.Context) (map[kmsg.Key]int16, error) {
	var failures []error
	for _, a := range c.addresses() {
		conn, err := c.controlConn(ctx, a.node, a.addr)
		if err == nil {
			return maps.Clone(conn.versions), nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		failures = append(failures, err)
	}
	return nil, fmt.Errorf("%w: %w", ErrNoBroker, errors.Join(failures...))
}

// negotiate asks the broker what it speaks and settles on the highest version
// that both know. A broker that does not know our way of asking says so in
// version 0 (KIP-511) and is asked again that way, so that even a broker that is
// too old gets an error that tells why.
func negotiate(ctx context.Context, c *Conn) (versions, error) {
	offered, err := askVersions(ctx, c)
	if err != nil {
		return nil, err
	}
	return settle(offered)
}

func askVersions(ctx context.Context, c *Conn) ([]kmsg.ApiVersionsResponseApiKey, error) {
	for _, version := range []int16{spoken[kmsg.ApiVersions].Max, spoken[kmsg.ApiVersions].Min} {
		c.versions = versions{kmsg.ApiVersions: version}
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "cistern", "1"
		resp, err := do[*kmsg.ApiVersionsResponse](ctx, c, req)
		if err != nil {
			return nil, fmt.Errorf("asking for versions: %w", err)
		}
		if resp.ErrorCode == kerr.UnsupportedVersion.Code {
			continue
		}
		if err := codeError(resp.ErrorCode, "asking for versions"); err != nil {
			return nil, err
		}
		return resp.ApiKeys, nil
	}
	return nil, fmt.Errorf("%w: it does not tell its versions", ErrTooOld)
}

func settle(offered []kmsg.ApiVersionsResponseApiKey) (versions, error) {
	v := common(offered, spoken)
	for _, key := range required {
		if _, ok := v[key]; !ok {
			return nil, fmt.Errorf("%w: no common version of %s, we speak %d to %d",
				ErrTooOld, key.Name(), spoken[key].Min, spoken[key].Max)
		}
	}
	// SASL requests go out on the strength of this table too.
	for _, key := range []kmsg.Key{kmsg.SASLHandshake, kmsg.SASLAuthenticate} {
		if _, ok := v[key]; !ok {
			v[key] = spoken[key].Min
		}
	}
	return v, nil
}

// common returns the highest version of each request that both sides know.
func common(offered []kmsg.ApiVersionsResponseApiKey, speaks map[kmsg.Key]Span) versions {
	v := make(versions, len(speaks))
	for _, o := range offered {
		s, ok := speaks[kmsg.Key(o.ApiKey)]
		if ok && o.MinVersion <= s.Max && o.MaxVersion >= s.Min {
			v[kmsg.Key(o.ApiKey)] = min(o.MaxVersion, s.Max)
		}
	}
	return v
}

// readApiVersions reads the one answer whose version is not known before it is
// read: see negotiate.
func readApiVersions(resp *kmsg.ApiVersionsResponse, body []byte) error {
	if len(body) >= 2 && int16(binary.BigEndian.Uint16(body)) == kerr.UnsupportedVersion.Code {
		resp.Version = 0
	}
	if err := checkResponse(resp, body); err != nil {
		return err
	}
	return resp.ReadFrom(body)
}
