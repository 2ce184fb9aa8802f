package kafka

import (
	"errors"
	"testing"
)

// TestIterations: a broker, or who says to be one, can't keep us busy for ever.
func TestIterations(t *testing.T) {
	for challenge, ok := range map[string]bool{
		"r=abc,s=c2FsdA==,i=4096":    true,
		"r=abc,s=c2FsdA==,i=262144":  true,
		"r=abc,s=c2FsdA==,i=262145":  false,
		"i=2000000000":               false,
		"v=rmF9pqV8S7suAoZWja4dJRkF": true,
		"":                           true,
	} {
		if err := checkIterations([]byte(challenge)); (err == nil) != ok || err != nil && !errors.Is(err, ErrAuth) {
			t.Errorf("%q: %v", challenge, err)
		}
	}
}
