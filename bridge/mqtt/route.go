package mqtt

import (
	"fmt"
	"strconv"
	"strings"

	"cistern/bridge/mqtt/packet"
	"cistern/gossip/metadata"
)

// Route says where the messages of matching topics go. Routes are tried in
// order and the first match takes the message; topics that start with $ are
// never taken, and what no route takes is never confirmed.
type Route struct {
	Filter string // MQTT topic filter
	Stream string

	// Key is the template of the record's key: any text with {topic} for the
	// whole topic, {clientid}, and {1}, {2}, ... for one level of the topic,
	// empty when the topic has fewer. "" is {topic}. Records of one key keep
	// their order.
	Key string

	Tombstone bool          // an empty payload becomes a null value
	Acks      metadata.Acks // AcksNone confirms what was taken, before it is on flash
}

// DefaultRoutes sends everything to the default stream.
func DefaultRoutes() []Route {
	return []Route{{Filter: "#", Stream: metadata.DefaultStream, Acks: metadata.AcksAll}}
}

// route is a Route that was checked and made ready.
type route struct {
	Route
	key        []keyPart
	keyIsTopic bool
	partitions int32
}

// keyPart is one piece of a key template.
type keyPart struct {
	kind  keyKind
	text  string // constant
	level int    // from 1
}

type keyKind byte

const (
	keyText keyKind = iota
	keyTopic
	keyClient
	keyLevel
)

// topicLevelsMax bounds {n} in a template and the depth of subscriptions.
const topicLevelsMax = 128

// compileRoutes checks routes; partitions tells how many a stream has.
func compileRoutes(routes []Route, partitions func(string) int32) ([]*route, error) {
	if len(routes) == 0 {
		routes = DefaultRoutes()
	}
	compiled := make([]*route, 0, len(routes))
	for i, r := range routes {
		c, err := compileRoute(r, partitions)
		if err != nil {
			return nil, fmt.Errorf("mqtt: route %d (filter %q): %w", i+1, r.Filter, err)
		}
		compiled = append(compiled, c)
	}
	return compiled, nil
}

func compileRoute(r Route, partitions func(string) int32) (*route, error) {
	if !packet.ValidFilter(r.Filter) {
		return nil, fmt.Errorf("not a topic filter: + must fill a level, # must be the whole last one")
	}
	if strings.HasPrefix(r.Filter, "$") {
		return nil, fmt.Errorf("topics that start with $ are never stored, so no route can take them")
	}
	if err := metadata.ValidateStreamName(r.Stream); err != nil {
		return nil, err
	}
	c := &route{Route: r, partitions: partitions(r.Stream)}
	if c.partitions < 1 {
		return nil, fmt.Errorf("stream %q does not exist", r.Stream)
	}
	var err error
	c.key, err = compileKey(r.Key)
	c.keyIsTopic = len(c.key) == 1 && c.key[0].kind == keyTopic
	return c, err
}

func compileKey(template string) ([]keyPart, error) {
	if template == "" {
		return []keyPart{{kind: keyTopic}}, nil
	}
	var parts []keyPart
	for rest := template; rest != ""; {
		text, after, found := strings.Cut(rest, "{")
		if text != "" {
			parts = append(parts, keyPart{kind: keyText, text: text})
		}
		if !found {
			break
		}
		name, more, closed := strings.Cut(after, "}")
		if !closed {
			return nil, fmt.Errorf("key template %q: a { without its }", template)
		}
		part, err := namedPart(name)
		if err != nil {
			return nil, fmt.Errorf("key template %q: %w", template, err)
		}
		parts = append(parts, part)
		rest = more
	}
	return parts, nil
}

func namedPart(name string) (keyPart, error) {
	switch name {
	case "topic":
		return keyPart{kind: keyTopic}, nil
	case "clientid":
		return keyPart{kind: keyClient}, nil
	}
	level, err := strconv.Atoi(name)
	if err != nil || level < 1 || level > topicLevelsMax {
		return keyPart{}, fmt.Errorf("{%s} is unknown: allowed are {topic}, {clientid} and {1} to {%d}", name, topicLevelsMax)
	}
	return keyPart{kind: keyLevel, level: level}, nil
}

// appendKey writes the key of a record.
func (r *route) appendKey(dst []byte, topic, client string) []byte {
	for _, part := range r.key {
		switch part.kind {
		case keyText:
			dst = append(dst, part.text...)
		case keyTopic:
			dst = append(dst, topic...)
		case keyClient:
			dst = append(dst, client...)
		case keyLevel:
			dst = append(dst, topicLevel(topic, part.level)...)
		}
	}
	return dst
}

// topicLevel returns level n of topic, counted from 1.
func topicLevel(topic string, n int) string {
	for ; n > 1; n-- {
		i := strings.IndexByte(topic, '/')
		if i < 0 {
			return ""
		}
		topic = topic[i+1:]
	}
	if i := strings.IndexByte(topic, '/'); i >= 0 {
		return topic[:i]
	}
	return topic
}
