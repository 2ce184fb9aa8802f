package main

import (
	"debug/elf"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cistern/cross/build"
)

// target is a kind of gateway: how Go builds for it, and what has to come out.
type target struct {
	name     string
	env      []string
	machine  elf.Machine
	bytesMax int64 // 0: none is promised
}

// targets name the least processor each, so that what this machine was told to
// compile for (GOAMD64, GOARM64) does not matter.
var targets = []target{
	{"linux_armv6", []string{"GOARCH=arm", "GOARM=6"}, elf.EM_ARM, build.ARMBytesMax},
	{"linux_armv7", []string{"GOARCH=arm", "GOARM=7"}, elf.EM_ARM, build.ARMBytesMax},
	{"linux_arm64", []string{"GOARCH=arm64", "GOARM64=v8.0"}, elf.EM_AARCH64, 0},
	{"linux_amd64", []string{"GOARCH=amd64", "GOAMD64=v1"}, elf.EM_X86_64, 0},
}

func names() (all []string) {
	for _, t := range targets {
		all = append(all, t.name)
	}
	return all
}

// choose finds the targets of a list.
func choose(list string) ([]target, error) {
	switch list {
	case "all":
		return targets, nil
	case "none":
		return nil, nil
	}
	var chosen []target
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(targets, func(t target) bool { return t.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no target %q: there are %s", name, strings.Join(names(), ", "))
		}
		if !slices.ContainsFunc(chosen, func(t target) bool { return t.name == name }) {
			chosen = append(chosen, targets[i])
		}
	}
	return chosen, nil
}

// versions are what may stand in a file name and in a linker's flag.
var versions = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+~_-]{0,99}$`)

func checkVersion(v string) error {
	if !versions.MatchString(v) {
		return fmt.Errorf("version %q can't be part of a file's name: letters, digits and . + ~ _ - only, at most 100; give another by -version", v)
	}
	return nil
}
