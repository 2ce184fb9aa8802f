package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

var (
	released = regexp.MustCompile(`^v?([0-9]+\.[0-9].*)$`)
	allowed  = regexp.MustCompile(`^[0-9A-Za-z.+~]+$`)
)

// debianVersion turns a version as git describes it into one that Debian orders as
// it was meant: v1.2.0 before v1.2.0-3-gabc (three commits later), and v1.3.0-rc1
// before v1.3.0. Source without a tag is older than any release, and the later
// commit is the newer.
func debianVersion(version string, commitSeconds int64) (string, error) {
	m := released.FindStringSubmatch(version)
	v := ""
	if m == nil {
		v = "0.0.0~" + time.Unix(commitSeconds, 0).UTC().Format("20060102150405") + "." + strings.ReplaceAll(version, "-", "+")
	} else {
		base, rest, _ := strings.Cut(m[1], "-")
		v = base
		if rest != "" {
			v += separator(rest) + strings.ReplaceAll(rest, "-", "+")
		}
	}
	if !allowed.MatchString(v) {
		return "", fmt.Errorf("the version %q can't become Debian's: letters, digits, dots and + are allowed", version)
	}
	return v, nil
}

// separator is ~ before what comes ahead of a release (rc1), + before what comes
// after it (a number of commits, or that something was changed).
func separator(rest string) string {
	if rest[0] >= '0' && rest[0] <= '9' || strings.HasPrefix(rest, "dirty") {
		return "+"
	}
	return "~"
}
