package export

import (
	"cistern/bridge/drain/shape"
	"cistern/segstore/batch"
)

// WithClock returns log with right times on batches that were taken before their
// gateway's clock was set, as far as bootAt knows when that boot was (ms since
// 1970), as the drain does. It is used by one goroutine.
func WithClock(log Log, bootAt func(boot string) (int64, bool)) Log {
	return &clocked{Log: log, shaper: shape.New(shape.Config{BootAt: bootAt})}
}

type clocked struct {
	Log
	shaper  *shape.Shaper
	scratch []byte
}

// Read implements Log.
func (c *clocked) Read(offset int64, buf []byte, sizeMax int) ([]byte, error) {
	n := len(buf)
	buf, err := c.Log.Read(offset, buf, sizeMax)
	if err != nil {
		return buf, err
	}
	for rest := buf[n:]; len(rest) > 0; {
		one, more, err := batch.Next(rest)
		if err != nil {
			break // whoever uses it will say what is wrong
		}
		rest = more
		if h, err := batch.ParseHeader(one); err == nil && h.ClockUnset() {
			c.correct(one)
		}
	}
	return buf, nil
}

// correct sets the times of a batch right in place: they stand in its header, and
// the records tell their distance to it. One that can't be understood stays as it is.
func (c *clocked) correct(b []byte) {
	p, err := c.shaper.Next(b, c.scratch[:0], shape.Options{})
	if err != nil || !p.Copied || len(p.Bytes) != len(b) {
		return
	}
	copy(b, p.Bytes)
	c.scratch = p.Bytes
}
