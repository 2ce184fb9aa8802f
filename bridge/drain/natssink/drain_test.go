package natssink

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"cistern/bridge/drain"
	"cistern/bridge/drain/sinktest"
	"cistern/segstore/batch"
)

func TestDrainsInOrder(t *testing.T) {
	c := newCentral(t)
	for way, more := range ways {
		t.Run(way, func(t *testing.T) {
			stream := name("plain")
			c.stream(stream, more)
			a, b := sinktest.NewLog("s", 0).Fill(t, 40, 10), sinktest.NewLog("s", 1).Fill(t, 3, 1)
			a.Append(t, 2500) // more than a group takes
			g := sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{}, a, b)
			g.Drained(nil, a, b)
			a.Append(t, 5) // wakes an idle partition
			g.Drained(nil, a, b)
			g.Stop()
			c.expect(stream, "drained", a, b)
		})
	}
}

func TestWhatARecordBecomes(t *testing.T) {
	c := newCentral(t)
	stream := name("record")
	c.stream(stream, atomic_+`,"allow_rollup_hdrs":true`)
	l := sinktest.NewLog("s.x", 3)
	l.Append(t, 2)
	l.AppendRecords(t, 1, func(r *batch.Record) {
		r.Timestamp, r.Key, r.Value = 1234, []byte("a\r\nb"), nil
		r.Headers = []batch.RecordHeader{
			{Key: "plain", Value: []byte("v")},
			{Key: "Nats-Rollup", Value: []byte("all")},
			{Key: "cistern.id", Value: []byte("x")},
			{Key: "binary", Value: []byte{0, 1}},
			{Key: "a b", Value: nil},
		}
	})
	l.AppendRecords(t, 1, func(r *batch.Record) { r.Key = nil })
	g := sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{}, l)
	g.Drained(nil, l)
	all := c.read(stream)
	if len(all) != 4 {
		t.Fatalf("%d messages: a header of a record has commanded the server", len(all))
	}
	if want := stream + ".site.s%2Ex.3"; all[0].Subject != want {
		t.Errorf("subject %s, want %s", all[0].Subject, want)
	}
	text := func(m message) string {
		var lines []string
		for _, f := range m.header {
			if !strings.HasPrefix(f.Name, "Nats-") && f.Name != hdrIncarnation && f.Name != hdrTimestamp {
				lines = append(lines, f.Name+"="+f.Value)
			}
		}
		return strings.Join(lines, " ")
	}
	for i, want := range []string{
		"Cistern-Offset=0 Cistern-Batch=0-1 Cistern-Key=s.x",
		"Cistern-Offset=1 Cistern-Batch=0-1 Cistern-Key=s.x",
		"Cistern-Offset=2 Cistern-Key-Base64=YQ0KYg== Cistern-Null=value plain=v Cistern-Header=TmF0cy1Sb2xsdXA=YWxs cistern.id=x Cistern-Header=YmluYXJ5=AAE Cistern-Header=YSBi",
		"Cistern-Offset=3",
	} {
		if got := text(all[i]); got != want {
			t.Errorf("record %d:\n%s, want\n%s", i, got, want)
		}
	}
	if ts, _ := all[2].header.Get(hdrTimestamp); ts != "1234" {
		t.Errorf("timestamp %s", ts)
	}
}

// A record that the server or the stream does not take sets its batch aside, and
// nothing else.
func TestRefused(t *testing.T) {
	c := newCentral(t, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	for name_, limit := range map[string]string{"by the server": "", "by the stream": `"max_msg_size":2000`} {
		for way, more := range ways {
			t.Run(name_+", "+way, func(t *testing.T) {
				stream := name("refused")
				c.stream(stream, strings.Trim(more+","+limit, ","))
				l := sinktest.NewLog("s", 0).Fill(t, 5, 10)
				l.AppendRecords(t, 3, func(r *batch.Record) {
					if r.Offset == 51 {
						r.Value = make([]byte, 100_000)
					}
				})
				l.Fill(t, 5, 10)
				g := sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{}, l)
				g.Drained(nil, l)
				if got := g.Quarantine.Names(); !slices.Equal(got, []string{"s/0@50-52 MESSAGE_TOO_LARGE"}) {
					t.Errorf("set aside: %v", got)
				}
				var offsets []string
				for _, m := range c.read(stream) {
					o, _ := m.header.Get(hdrOffset)
					offsets = append(offsets, o)
				}
				want := []string{}
				for o := range 103 {
					if o != 51 && o != 52 { // 50 went before it was known
						want = append(want, fmt.Sprint(o))
					}
				}
				if !slices.Equal(offsets, want) {
					t.Errorf("upstream: %v", offsets)
				}
			})
		}
	}
}

func TestDamagedOnFlash(t *testing.T) {
	c := newCentral(t)
	stream := name("damaged")
	c.stream(stream, atomic_)
	l := sinktest.NewLog("s", 0).Fill(t, 10, 10)
	l.Damage(35)
	g := sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{}, l)
	g.Drained(nil, l)
	if got := g.Quarantine.Names(); len(got) != 1 || !strings.HasPrefix(got[0], "s/0@30-39") {
		t.Errorf("set aside: %v", got)
	}
	if n := len(c.read(stream)); n != 90 {
		t.Errorf("%d records upstream", n)
	}
}

// What an operator has to do is said, and when it is done the drain goes on.
func TestDenied(t *testing.T) {
	c := newCentral(t)
	for what, test := range map[string]struct{ config, command string }{
		"missing":        {"", "nats stream add "},
		"other subjects": {`{"name":"%s","subjects":["other%[1]s"]}`, "nats stream edit "},
		"work queue":     {`{"name":"%s","subjects":["%[1]s.>"],"retention":"workqueue"}`, "--retention limits"},
		"no ack":         {`{"name":"%s","subjects":["%[1]s.>"],"no_ack":true}`, "--ack"},
		"transforms":     {`{"name":"%s","subjects":["%[1]s.>"],"subject_transform":{"src":">","dest":"x.>"}}`, "transforms subjects"},
	} {
		t.Run(what, func(t *testing.T) {
			stream := name("denied")
			if test.config != "" {
				c.request("$JS.API.STREAM.CREATE."+stream, fmt.Sprintf(test.config, stream))
			}
			l := sinktest.NewLog("s", 0).Fill(t, 1, 10)
			g := sinktest.Start(t, sink(t, c.config(stream)), sinktest.Setup{}, l)
			s := g.Until("it is stopped, with the uplink up", func(s drain.Status) bool { // which is looked at first
				return s.Partitions[0].State == drain.StateStopped && s.Uplink.State == drain.UplinkUp
			})
			if reason := s.Partitions[0].Reason; !strings.Contains(reason, test.command) {
				t.Errorf("reason %q", reason)
			}
			c.request("$JS.API.STREAM.DELETE."+stream, "")
			c.stream(stream, atomic_)
			g.Drainer.Kick()
			g.Drained(nil, l)
			c.expect(stream, "after the operator came", l)
		})
	}
}
