//go:build e2e

package site

import "testing"

// turns bounds how many sites work beside each other. Those tests do it that wait
// for events only, however long these take; whatever holds a span of time against
// a bound has the machine to itself. make e2e lets all of them begin (-parallel), and
// the turns decide.
var turns = make(chan struct{}, 2)

// takeTurn lets the test run beside others, when it is its turn.
func takeTurn(t *testing.T) {
	t.Helper()
	t.Parallel()
	turns <- struct{}{}
	t.Cleanup(func() { <-turns })
}

// takeEveryTurn returns when none of the others works, and keeps it so until the
// test is over. Only one test may do so: two would wait for each other.
func takeEveryTurn(t *testing.T) {
	t.Helper()
	for range cap(turns) {
		turns <- struct{}{}
	}
	t.Cleanup(func() {
		for range cap(turns) {
			<-turns
		}
	})
}
