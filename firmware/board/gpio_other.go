//go:build !linux

package board

import "errors"

func openLine(Line) (pin, func(), error) {
	return nil, nil, errors.New("GPIO lines are used on Linux only")
}

func inUse(err error) error { return err }

func chipInfo(string) (label string, lines int, err error) {
	return "", 0, errors.New("GPIO chips are read on Linux only")
}
