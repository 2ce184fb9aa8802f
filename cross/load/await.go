package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	awaitTopic  = "load/await"
	awaitRetry  = 20 * time.Millisecond // it is another process: nothing to wait on
	awaitAnswer = 5 * time.Second       // of one attempt
)

// AwaitConfirm publishes one message, again and again until it is confirmed or
// ctx ends: a server may listen long before it can store anything.
func AwaitConfirm(ctx context.Context, address string) error {
	for {
		err := confirmOne(address)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s confirms nothing: %w", address, errors.Join(context.Cause(ctx), err))
		case <-time.After(awaitRetry):
		}
	}
}

func confirmOne(address string) error {
	c, err := connectWithin(awaitAnswer, address, "load-await", awaitTopic, 1, Records(0, 1, 128))
	if err != nil {
		return err
	}
	defer c.conn.Close()
	c.queue(1, time.Now())
	if err := c.flush(); err != nil {
		return err
	}
	_, err = c.acks(nil)
	return err
}
