//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "init: runs as the first process of a Cistern image, on Linux")
	os.Exit(2)
}
