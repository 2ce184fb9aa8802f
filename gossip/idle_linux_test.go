package gossip

import (
	"syscall"
	"testing"
	"time"
)

// BenchmarkIdle tells what three gateways cost that have nothing to say: packets
// sent by each, and percent of a core. Half of the packets are questions, one
// for each ProbeInterval, and half are answers.
//
//	go test -run '^$' -bench Idle -benchtime 1x ./gossip
func BenchmarkIdle(b *testing.B) {
	for name, p := range map[string]Profile{"wired": Wired(), "wifi": Wifi()} {
		b.Run(name, func(b *testing.B) {
			all := site(b, 3, newKey(b), p)
			time.Sleep(time.Second) // until the news of joining have been told
			const d = 10 * time.Second
			packets := func() (n int64) {
				for _, g := range all {
					sent, _ := g.Packets()
					n += sent
				}
				return n
			}
			cpu := func() time.Duration {
				var r syscall.Rusage
				if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
					b.Fatal(err)
				}
				return time.Duration(r.Utime.Nano() + r.Stime.Nano())
			}
			packetsBefore, cpuBefore := packets(), cpu()
			for b.Loop() {
				time.Sleep(d)
			}
			seconds := b.Elapsed().Seconds() * float64(len(all))
			b.ReportMetric(float64(packets()-packetsBefore)/seconds, "packets/s")
			b.ReportMetric(100*(cpu()-cpuBefore).Seconds()/seconds, "%core")
		})
	}
}
