//go:build !linux

package main

import (
	"errors"
	"os"
)

// isTerminal is never true here, so passwords come by stdin.
func isTerminal(*os.File) bool { return false }

func echoOff(*os.File) (func(), error) {
	return nil, errors.New("passwords can't be asked for on this system; give them on stdin")
}
