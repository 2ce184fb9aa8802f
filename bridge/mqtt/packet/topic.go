package packet

import "strings"

// SharedPrefix starts the filter of a shared subscription.
const SharedPrefix = "$share/"

// ValidTopic reports whether s can be the topic name of a PUBLISH: not empty,
// no wildcards.
func ValidTopic[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] == '+' || s[i] == '#' || s[i] == 0 {
			return false
		}
	}
	return len(s) > 0 && len(s) <= StringBytesMax
}

// ValidFilter reports whether s can be a topic filter: + fills its level, # is
// the whole last level.
func ValidFilter(s string) bool {
	if s == "" || len(s) > StringBytesMax || strings.IndexByte(s, 0) >= 0 {
		return false
	}
	for level := range strings.SplitSeq(s, "/") {
		if len(level) > 1 && strings.ContainsAny(level, "+#") {
			return false
		}
	}
	hash := strings.IndexByte(s, '#')
	return hash < 0 || hash == len(s)-1
}

// Match reports whether filter, which is valid, matches topic. A wildcard at
// the start never matches a topic that starts with $. It allocates nothing.
func Match[T string | []byte](filter string, topic T) bool {
	if len(topic) > 0 && topic[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	j := 0
	for i := 0; i < len(filter); i++ {
		switch {
		case filter[i] == '#':
			return true
		case filter[i] == '+':
			for j < len(topic) && topic[j] != '/' {
				j++
			}
		case j == len(topic):
			return filter[i:] == "/#" // "a/#" matches "a" too
		case filter[i] != topic[j]:
			return false
		default:
			j++
		}
	}
	return j == len(topic)
}

// Overlap reports whether some topic matches both filters.
func Overlap(a, b string) bool {
	for {
		la, restA, moreA := strings.Cut(a, "/")
		lb, restB, moreB := strings.Cut(b, "/")
		switch {
		case la == "#" || lb == "#":
			return true
		case la != lb && la != "+" && lb != "+":
			return false
		case !moreA && !moreB:
			return true
		case !moreA || !moreB:
			return moreA && restA == "#" || moreB && restB == "#"
		}
		a, b = restA, restB
	}
}
