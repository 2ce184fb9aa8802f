package mqtt

import (
	"fmt"
	"sync"

	"github.com/VictoriaMetrics/metrics"

	"cistern/bridge/mqtt/packet"
)

// counters are the server's metrics, each described where it is defined.
type counters struct {
	set *metrics.Set

	connects        *metrics.Counter    // clients that were let in
	connectsLimited *metrics.Counter    // connections closed for Connections or ConnectRate
	connectsFailed  *metrics.Counter    // connections without a valid CONNECT in time
	acceptErrors    *metrics.Counter    // errors of Accept, for instance no descriptors left
	takeovers       *metrics.Counter    // connections ended by one with the same client id
	willsIgnored    *metrics.Counter    // wills read and not kept
	received        [3]*metrics.Counter // PUBLISHes by QoS
	receivedBytes   *metrics.Counter    // their payload bytes
	confirmed       *metrics.Counter    // PUBACK and PUBREC with success
	refused         *metrics.Counter    // QoS 1 and 2 not stored, not confirmed
	dropped         *metrics.Counter    // QoS 0 not stored
	unrouted        *metrics.Counter    // PUBLISHes that no route takes, of any QoS
	duplicates      *metrics.Counter    // resent PUBLISHes recognised in the session
	reservedNames   *metrics.Counter    // user properties named mqtt.* or cistern.*, left out
	delivered       *metrics.Counter    // PUBLISHes sent to subscribers
	deliveryDropped *metrics.Counter    // QoS 0 deliveries a subscriber was too slow for, or too small
	deliveryErrors  *metrics.Counter    // times a tail could not read the log and went on at its end

	mu    sync.Mutex
	ended map[string]*metrics.Counter // connections by how they ended
}

func newCounters(set *metrics.Set) *counters {
	if set == nil {
		set = metrics.NewSet()
	}
	name := func(s string) *metrics.Counter { return set.GetOrCreateCounter("cistern_mqtt_" + s) }
	c := &counters{
		set:             set,
		connects:        name("connects_total"),
		connectsLimited: name("connects_limited_total"),
		connectsFailed:  name("connects_failed_total"),
		acceptErrors:    name("accept_errors_total"),
		takeovers:       name("takeovers_total"),
		willsIgnored:    name("wills_ignored_total"),
		receivedBytes:   name("received_bytes_total"),
		confirmed:       name("confirmed_total"),
		refused:         name("refused_total"),
		dropped:         name("qos0_dropped_total"),
		unrouted:        name("unrouted_total"),
		duplicates:      name("duplicates_total"),
		reservedNames:   name("reserved_properties_total"),
		delivered:       name("delivered_total"),
		deliveryDropped: name("delivery_dropped_total"),
		deliveryErrors:  name("delivery_errors_total"),
		ended:           map[string]*metrics.Counter{},
	}
	for qos := range c.received {
		c.received[qos] = name(fmt.Sprintf(`received_total{qos="%d"}`, qos))
	}
	return c
}

// end counts a connection that is over. Reason codes are few, so are the
// counters.
func (c *counters) end(r packet.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := r.String()
	if c.ended[name] == nil {
		c.ended[name] = c.set.GetOrCreateCounter(fmt.Sprintf(`cistern_mqtt_disconnects_total{reason=%q}`, name))
	}
	c.ended[name].Inc()
}
