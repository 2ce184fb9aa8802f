package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"cistern/agent/users"
)

const userHelp = `User makes and removes the users of a password file, which password_file in the
[mqtt] section names. The file keeps hashes only, and nobody but its owner may
read it. A running gateway notices changes by itself.

    $ cistern user add press-7 --file users
    $ cistern user list --file users
    $ cistern user remove press-7 --file users
`

const userAddHelp = `Add makes a user, or gives one a new password. The password is asked for twice
without being shown, or read from the first line of stdin if that is no terminal.
With --generate a good one is made and printed, this once.

    $ cistern user add press-7 --file users
    $ cistern user add press-7 --file users --generate
    $ cistern user add press-7 --file users < secret
`

const userListHelp = `List prints the names of all users, one a line, sorted.

    $ cistern user list --file users
`

const userRemoveHelp = `Remove takes a user away. Connections that are open stay open.

    $ cistern user remove press-7 --file users
`

func newUser() *cobra.Command {
	c := &cobra.Command{
		Use:  "user",
		Long: userHelp,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return usage("allowed are add, list, remove", "unknown command %q", "user "+args[0])
		},
	}
	c.AddCommand(newUserAdd(), newUserList(), newUserRemove())
	return c
}

func fileFlag(c *cobra.Command, file *string) {
	c.Flags().StringVar(file, "file", "", "the password `FILE`")
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		if *file == "" {
			return usage("add --file users, for example", "%s needs a password file", c.CommandPath())
		}
		return nil
	}
}

func newUserAdd() *cobra.Command {
	var file string
	var generate bool
	c := &cobra.Command{
		Use:  "add NAME",
		Long: userAddHelp,
		Args: arguments(1, 1, "one NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			password, err := newPassword(c, generate)
			if err != nil {
				return err
			}
			if err := users.Edit(file, func(f *users.File) error { return f.Set(args[0], password) }); err != nil {
				return err
			}
			if generate {
				_, err = fmt.Fprintln(c.OutOrStdout(), password)
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s can connect with this password\n", args[0])
			return err
		},
	}
	fileFlag(c, &file)
	c.Flags().BoolVar(&generate, "generate", false, "make a password and print it")
	return c
}

func newUserList() *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:  "list",
		Long: userListHelp,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := os.Stat(file); err != nil {
				return err
			}
			f, err := users.Open(file)
			if err != nil {
				return err
			}
			names := f.Names()
			if asJSON {
				return writeJSON(c.OutOrStdout(), names)
			}
			for _, n := range names {
				fmt.Fprintln(c.OutOrStdout(), n)
			}
			return nil
		},
	}
	fileFlag(c, &file)
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return c
}

func newUserRemove() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:  "remove NAME",
		Long: userRemoveHelp,
		Args: arguments(1, 1, "one NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
				return err // rather than make an empty file
			}
			if err := users.Edit(file, func(f *users.File) error { return f.Remove(args[0]) }); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s is removed\n", args[0])
			return err
		},
	}
	fileFlag(c, &file)
	return c
}

// passwordLineMax bounds what is read for a password.
const passwordLineMax = 1024

// newPassword makes, asks for, or reads a password.
func newPassword(c *cobra.Command, generate bool) (string, error) {
	if generate {
		return strings.ToLower(rand.Text()), nil
	}
	if f, ok := c.InOrStdin().(*os.File); ok && isTerminal(f) {
		return askPassword(c.Context(), f, c.ErrOrStderr())
	}
	return readPassword(bufio.NewReader(io.LimitReader(c.InOrStdin(), passwordLineMax)))
}

func readPassword(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", usage("give it on stdin, or let --generate make one", "there is no password")
	}
	return line, nil
}

// askPassword asks twice, so that a slip of the finger locks nobody out.
func askPassword(ctx context.Context, terminal *os.File, w io.Writer) (string, error) {
	restore, err := echoOff(terminal)
	if err != nil {
		return "", err
	}
	defer restore()
	// Reading a terminal can't be called off, so Ctrl-C ends the program here,
	// but not before the terminal shows again what is typed.
	defer context.AfterFunc(ctx, func() {
		restore()
		os.Exit(exitFailed)
	})()
	var answers [2]string
	lines := bufio.NewReader(io.LimitReader(terminal, 2*passwordLineMax))
	for i, question := range []string{"Password: ", "Again: "} {
		fmt.Fprint(w, question)
		answers[i], err = readPassword(lines)
		fmt.Fprintln(w)
		if err != nil {
			return "", err
		}
	}
	if answers[0] != answers[1] {
		return "", usage("", "the two passwords differ; nothing was changed")
	}
	return answers[0], nil
}
