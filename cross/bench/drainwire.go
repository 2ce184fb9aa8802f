package main

import (
	"context"
	"fmt"

	"cistern/gossip/metadata"
)

// drainWire counts the bytes of the TCP streams for each byte of payload.
func drainWire(ctx context.Context, p *plan) error {
	t := newTable(p.out, "Bytes on the wire", "Of the TCP streams, both ways, for each byte of the devices' payloads (JSON of about 200 bytes); "+
		"IP and TCP add about 4 % in packets of 1,500 bytes. Merged as the agent does by default: up to 256 KiB, zstd level 6.",
		"records per stored batch", "verbatim", "merged", "saved")
	for _, records := range []int{1, 5, 10, 50, 250, 1000} {
		var each [2]float64
		for i, way := range []string{"verbatim", "merged"} {
			s, err := newStub()
			if err != nil {
				return err
			}
			c := DrainCell{Way: way, Broker: s.address(), Records: records, Codec: metadata.CodecZstd, Bytes: 4 << 20}
			if p.quick {
				c.Bytes = 512 << 10
			}
			d, err := inChild[DrainCell, Drained](ctx, "drain", c)
			s.close()
			if err != nil {
				return err
			}
			got := s.take()
			if got.Records != d.Records {
				return fmt.Errorf("%s: %d records arrived of %d", way, got.Records, d.Records)
			}
			each[i] = float64(got.In+got.Out) / float64(d.Payload)
		}
		t.row(fmt.Sprint(records), fmt.Sprintf("%.2f", each[0]), fmt.Sprintf("%.2f", each[1]), fmt.Sprintf("%.0f %%", 100*(1-each[1]/each[0])))
	}
	return nil
}
