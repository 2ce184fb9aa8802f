package packet

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		filter, topic string
		want          bool
	}{
		{"#", "a/b", true},
		{"#", "$SYS/x", false},
		{"+/x", "$SYS/x", false},
		{"$SYS/#", "$SYS/x", true},
		{"a/#", "a", true},
		{"a/#", "ab", false},
		{"a/#", "a/", true},
		{"a/+", "a", false},
		{"a/+", "a/", true},
		{"a/+", "a/b", true},
		{"a/+", "a/b/c", false},
		{"+/#", "a", true},
		{"+", "a/b", false},
		{"+/+", "/a", true},
		{"+", "/a", false},
		{"/+", "/a", true},
		{"a/b", "a/b", true},
		{"a/b", "a/bc", false},
		{"a/bc", "a/b", false},
		{"+/b/#", "a/b", true},
	} {
		if got := Match(tc.filter, tc.topic); got != tc.want {
			t.Errorf("Match(%q, %q) = %v", tc.filter, tc.topic, got)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"#", "a/b", true},
		{"a/+", "+/b", true},
		{"a/+", "b/+", false},
		{"a/#", "a", true},
		{"a/b/#", "a/+", true},
		{"a/b/c", "a/+", false},
		{"plant/#", "alarm/#", false},
	} {
		if got := Overlap(tc.a, tc.b); got != tc.want || Overlap(tc.b, tc.a) != tc.want {
			t.Errorf("Overlap(%q, %q) = %v", tc.a, tc.b, got)
		}
	}
}

func TestValidFilter(t *testing.T) {
	for _, good := range []string{"#", "+", "a", "a/#", "+/a/+", "/", "//", "$SYS/#"} {
		if !ValidFilter(good) {
			t.Errorf("%q is a filter", good)
		}
	}
	for _, bad := range []string{"", "a#", "#/a", "a/#/b", "a+", "+a/b", "a/+b", "a\x00", "##", strings.Repeat("a", 65536)} {
		if ValidFilter(bad) {
			t.Errorf("%.10q is no filter", bad)
		}
	}
}
