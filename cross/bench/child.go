package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// Every measurement runs in a child process, so that none inherits another's
// heap, page tables or garbage: this program, called with childArgument, the
// name of a task, and what it needs as JSON.
const childArgument = "measure"

var errNotChild = errors.New("not called as a child")

// tasks are what a child can do: JSON in, JSON out.
var tasks = map[string]func(in string) (any, error){
	"cell":   task(cell),
	"fill":   task(fillStore),
	"reopen": task(reopenStore),
	"memory": task(measureMemory),
	"drain":  task(measureDrain),
}

func task[In, Out any](do func(In) (Out, error)) func(string) (any, error) {
	return func(text string) (any, error) {
		var in In
		if err := json.Unmarshal([]byte(text), &in); err != nil {
			return nil, err
		}
		return do(in)
	}
}

// asChild does a task and prints its result, when called for one.
func asChild(args []string, out io.Writer) error {
	if len(args) != 3 || args[0] != childArgument {
		return errNotChild
	}
	do, ok := tasks[args[1]]
	if !ok {
		return fmt.Errorf("no task %q", args[1])
	}
	result, err := do(args[2])
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(result)
}

// inChild has a child do a task.
func inChild[In, Out any](ctx context.Context, name string, in In) (out Out, err error) {
	text, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	self, err := os.Executable()
	if err != nil {
		return out, err
	}
	child := exec.CommandContext(ctx, self, childArgument, name, string(text))
	child.Stderr = os.Stderr
	printed, err := child.Output()
	if err != nil {
		return out, fmt.Errorf("%s %s: %w", name, text, err)
	}
	return out, json.Unmarshal(printed, &out)
}
