package mqttsink

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"cistern/gossip/metadata"
)

const (
	topicBytesMax  = 65535
	topicLevelsMax = 200 // Mosquitto closes the connection on deeper ones
)

// topicOf returns where a record goes.
func (s *Sink) topicOf(p metadata.PartitionID, key []byte) string {
	if len(key) > 0 {
		if topic := s.cfg.Prefix + string(key); validTopic(topic) {
			return topic
		}
	}
	return fmt.Sprintf("%s%s/%d", s.cfg.Prefix, p.Stream, p.Partition)
}

// validTopic reports whether brokers take s as the name of a topic. They may
// close the connection on control characters and non-characters (MQTT-1.5.3),
// and topics that begin with $ are their own (4.7.2).
func validTopic(s string) bool {
	if s == "" || len(s) > topicBytesMax || s[0] == '$' || !utf8.ValidString(s) || strings.Count(s, "/") >= topicLevelsMax {
		return false
	}
	for _, r := range s {
		switch {
		case r < ' ', r == '+', r == '#', 0x7f <= r && r <= 0x9f, 0xfdd0 <= r && r <= 0xfdef, r&0xfffe == 0xfffe:
			return false
		}
	}
	return true
}
