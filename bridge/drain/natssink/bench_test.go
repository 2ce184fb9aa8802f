package natssink

import (
	"fmt"
	"testing"
	"time"

	"cistern/bridge/drain/sinktest"
)

// BenchmarkDrain drains one partition into an embedded server with file storage,
// over loopback and over a line of 50 ms there and back. What is told is the rate;
// it is rough, since server and drain share the machine.
func BenchmarkDrain(b *testing.B) {
	for _, rtt := range []time.Duration{0, 50 * time.Millisecond} {
		for _, way := range []string{"atomic", "single"} {
			for _, size := range []int{10, 100} {
				b.Run(fmt.Sprintf("rtt=%s/%s/records=%d", rtt, way, size), func(b *testing.B) {
					c := newCentral(b)
					stream := name("bench")
					c.stream(stream, ways[way])
					l := sinktest.NewLog("s", 0)
					l.Bytes = 100
					records := 20_000
					if way == "single" {
						records = 2_000
						if rtt > 0 {
							records = 60
						}
					}
					l.Fill(b, max(1, records/size), size)
					line := sinktest.Line{Delay: rtt / 2}
					cfg := c.config(stream)
					cfg.Client.Dial = line.Dial
					for b.Loop() {
						g := sinktest.Start(b, sink(b, cfg), sinktest.Setup{}, l)
						began := time.Now()
						g.Drained(nil, l)
						b.ReportMetric(float64(l.HighWatermark())/time.Since(began).Seconds(), "records/s")
						g.Stop()
					}
				})
			}
		}
	}
}
