//go:build docs

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manual writes manual pages, in the language of man(7). The help of a command
// is its page: prose in paragraphs, and examples, which are indented.
type manual struct {
	version string
	date    time.Time
}

// pageName is that of a command's page: cistern-site-init.
func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func (m manual) head(b *strings.Builder, name, section, what string) {
	fmt.Fprintf(b, ".TH %s %s %s \"cistern %s\" \"Cistern\"\n", strings.ToUpper(name), section, m.date.Format(time.DateOnly), m.version)
	fmt.Fprintf(b, ".SH NAME\n%s \\- %s\n", name, roff(what))
}

// command is the page of one command.
func (m manual) command(c *cobra.Command) string {
	var b strings.Builder
	m.head(&b, pageName(c), "1", firstSentence(c.Long))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(synopsis(c)))
	b.WriteString(".SH DESCRIPTION\n")
	body(&b, c.Long)
	if c.HasAvailableLocalFlags() {
		b.WriteString(".SH OPTIONS\n")
		c.LocalFlags().VisitAll(func(f *pflag.Flag) { option(&b, f) })
	}
	seeAlso(&b, c)
	return b.String()
}

func synopsis(c *cobra.Command) string {
	s := c.CommandPath()
	if _, arguments, has := strings.Cut(c.Use, " "); has {
		s += " " + arguments
	}
	if len(c.Commands()) > 0 {
		s += " [COMMAND]"
	}
	return s + " [OPTIONS]"
}

func option(b *strings.Builder, f *pflag.Flag) {
	if f.Hidden {
		return
	}
	name, what := pflag.UnquoteUsage(f)
	long := "--" + f.Name
	if f.Shorthand != "" {
		long = "-" + f.Shorthand + ", " + long
	}
	fmt.Fprintf(b, ".TP\n\\fB%s\\fR", roff(long))
	if name != "" {
		fmt.Fprintf(b, " \\fI%s\\fR", roff(name))
	}
	b.WriteString("\n" + line(what) + "\n")
}

func seeAlso(b *strings.Builder, c *cobra.Command) {
	var pages []string
	if c.HasParent() {
		pages = append(pages, pageName(c.Parent())+"(1)")
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			pages = append(pages, pageName(sub)+"(1)")
		}
	}
	pages = append(pages, "cistern.toml(5)")
	fmt.Fprintf(b, ".SH SEE ALSO\n%s\n", roff(strings.Join(pages, ", ")))
}

// body writes prose and its examples.
func body(b *strings.Builder, text string) {
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		lines := strings.Split(strings.Trim(block, "\n"), "\n")
		for len(lines) > 0 && !strings.HasPrefix(lines[0], "  ") { // prose, up to an example right below it
			n := 1
			for n < len(lines) && !strings.HasPrefix(lines[n], "  ") {
				n++
			}
			fmt.Fprintf(b, ".PP\n%s\n", line(strings.Join(lines[:n], "\n")))
			lines = lines[n:]
		}
		if len(lines) > 0 {
			example(b, lines)
		}
	}
}

// example writes lines as they are.
func example(b *strings.Builder, lines []string) {
	b.WriteString(".PP\n.RS 4\n.nf\n")
	for _, l := range lines {
		b.WriteString(line(strings.TrimPrefix(l, "    ")) + "\n")
	}
	b.WriteString(".fi\n.RE\n")
}

// line makes text, of one or more lines, safe at the beginning of a line, where
// a dot or an apostrophe would begin a request.
func line(text string) string {
	lines := strings.Split(roff(text), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

var roffSpecial = strings.NewReplacer(`\`, `\e`, "-", `\-`, "^", `\(ha`, "~", `\(ti`, "`", `\(ga`, "'", `\(aq`)

// roff takes the meaning from what has one: \ for roff, and the signs that it
// would make prettier than can be copied into a shell.
func roff(text string) string { return roffSpecial.Replace(text) }

// firstSentence is what apropos shows.
func firstSentence(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if end := strings.Index(text, ". "); end >= 0 {
		text = text[:end]
	}
	return strings.TrimSuffix(text, ".")
}

// sample is the page of the configuration: its sample, with the explanations as
// prose.
func (m manual) sample(text string) string {
	var b strings.Builder
	m.head(&b, "cistern.toml", "5", "the configuration of a gateway")
	b.WriteString(".SH DESCRIPTION\n")
	for _, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		var prose, keys []string
		for _, l := range strings.Split(strings.Trim(block, "\n"), "\n") {
			switch {
			case strings.HasPrefix(l, "[") && !strings.HasPrefix(l, "[["):
				fmt.Fprintf(&b, ".SH %s\n", line(l))
			case strings.HasPrefix(l, "##"):
				prose = append(prose, strings.TrimPrefix(strings.TrimPrefix(l, "##"), " "))
			default:
				keys = append(keys, strings.TrimPrefix(l, "# "))
			}
		}
		body(&b, strings.Join(prose, "\n"))
		if len(keys) > 0 {
			example(&b, keys)
		}
	}
	b.WriteString(".SH SEE ALSO\ncistern(1), cistern\\-config(1)\n")
	return b.String()
}
