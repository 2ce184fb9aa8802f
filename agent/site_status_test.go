package agent

import (
	"reflect"
	"testing"

	"cistern/segstore/forward"
)

// Every count that parking keeps has to reach the status: a loss that nobody
// sees is not counted.
func TestParkingIsToldWhole(t *testing.T) {
	f := forward.Status{GivenUp: 1, Counts: forward.Counts{Parked: 2, HandedOver: 3, Resent: 4, Refused: 5, Confirmed: 6, Lost: 7}}
	told := reflect.ValueOf(parking(f))
	for i := range told.NumField() {
		if told.Field(i).IsZero() {
			t.Errorf("%s is not told", told.Type().Field(i).Name)
		}
	}
}
