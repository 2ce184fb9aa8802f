package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// answerMax bounds what is read for an answer.
const answerMax = 1024

// confirm has a person type a word before something that can't be undone. A
// word rather than y: fingers type that by themselves.
func confirm(c *cobra.Command, word string, yes bool) error {
	if yes {
		return nil
	}
	fmt.Fprintf(c.ErrOrStderr(), "Type %s to go on: ", word)
	// Reading a terminal can't be called off, so Ctrl-C ends the program here.
	defer context.AfterFunc(c.Context(), func() { os.Exit(exitFailed) })()
	line, err := bufio.NewReader(io.LimitReader(c.InOrStdin(), answerMax)).ReadString('\n')
	if err != nil {
		fmt.Fprintln(c.ErrOrStderr()) // nobody pressed Enter
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch line = strings.TrimSpace(line); line {
	case word:
		return nil
	case "":
		return hinted(errors.New("nothing was changed"), "type the word, or say --yes")
	}
	return hinted(errors.New("nothing was changed"), fmt.Sprintf("%q is not %s", printable(line), word))
}

func yesFlag(c *cobra.Command, yes *bool) {
	c.Flags().BoolVar(yes, "yes", false, "don't ask")
}
