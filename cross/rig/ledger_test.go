package rig

import (
	"fmt"
	"testing"
)

// Numbers 1 to 4 of topic t are published, 1 to 3 confirmed; each case is what
// the centre holds, and the one count that must not be 0.
func TestJudge(t *testing.T) {
	cases := []struct {
		name   string
		centre []string // topic and number
		want   Verdict
	}{
		{"all, and the unconfirmed one too", []string{"t 1", "t 2", "t 3", "t 4"}, Verdict{Arrived: 4, Surplus: 1}},
		{"the confirmed ones only", []string{"t 1", "t 2", "t 3"}, Verdict{Arrived: 3}},
		{"one is missing", []string{"t 1", "t 3"}, Verdict{Arrived: 2, Lost: 1, Example: "lost: t number 2"}},
		{"one came twice", []string{"t 1", "t 2", "t 2", "t 3"}, Verdict{Arrived: 4, Duplicated: 1, Example: "duplicated: t number 2"}},
		{"an old copy came late", []string{"t 1", "t 2", "t 3", "t 1"}, Verdict{Arrived: 4, Duplicated: 1, Example: "duplicated: t number 1"}},
		{"two changed places", []string{"t 2", "t 1", "t 3"}, Verdict{Arrived: 3, Disordered: 1, Example: "out of order: t number 1"}},
		{"a number nobody sent", []string{"t 1", "t 2", "t 3", "t 5"}, Verdict{Arrived: 4, Invented: 1, Example: "invented: t number 5"}},
		{"a topic nobody sent", []string{"u 1", "t 1", "t 2", "t 3"}, Verdict{Arrived: 4, Invented: 1, Example: "invented: u number 1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := NewLedger()
			for seq := range int64(4) {
				l.Published("t", seq+1, payload("t", seq+1))
			}
			for seq := range int64(3) {
				l.Confirmed("t", seq+1)
			}
			l.Abandoned()
			got, err := l.Judge(func(visit func(string, []byte)) error {
				for _, s := range c.centre {
					var topic string
					var seq int64
					if _, err := fmt.Sscan(s, &topic, &seq); err != nil {
						return err
					}
					visit(topic, payload(topic, seq))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			c.want.Tally, c.want.Topics = Tally{4, 3, 1}, 1
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if got.Good() != (c.want.Example == "") {
				t.Errorf("Good() = %v", got.Good())
			}
		})
	}
}

func TestJudgeSeesAChangedPayload(t *testing.T) {
	l := NewLedger()
	l.Published("t", 1, payload("t", 1))
	l.Confirmed("t", 1)
	v, err := l.Judge(func(visit func(string, []byte)) error {
		visit("t", []byte(`{"seq":1,"value":"another"}`))
		return nil
	})
	if err != nil || v.Invented != 1 || v.Lost != 1 {
		t.Errorf("%+v, %v", v, err)
	}
}

func payload(topic string, seq int64) []byte {
	return fmt.Appendf(nil, `{"seq":%d,"of":%q}`, seq, topic)
}
