package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// WriteFishCompletion writes a script that has fish complete a command's words, as WriteCompletion does for others, and show what
// each is for.
func WriteFishCompletion(w io.Writer, name string, flags any) error {
	parser, err := newParser(name, flags)
	if err != nil {
		return err
	}
	s := &fishScript{program: name}
	s.command(parser.Model.Node, "")
	_, err = fmt.Fprintf(w, `function __%[1]s_at
  set -l at
  for word in (commandline -opc)[2..]
    contains -- "$at/$word" %[2]s; and set at "$at/$word"
  end
  test "$at" = "$argv"
end
complete -c %[1]s -e
%[3]s`, name, strings.Join(s.commands, " "), s.lines.String())
	return err
}

type fishScript struct {
	program  string
	commands []string // paths
	lines    strings.Builder
}

// command adds what can follow a command, and those below it.
func (s *fishScript) command(n *kong.Node, at string) {
	for _, flag := range flagsAt(n) {
		option := "-l " + flag.Name
		if flag.Short != 0 {
			option += " -s " + string(flag.Short)
		}
		switch choices := choicesOf(flag); {
		case len(choices) > 0:
			option += " -x -a " + fishQuoted(strings.Join(choices, " "))
		case !flag.IsBool():
			option += " -r"
		}
		s.line(at, option, flag.Help)
	}
	for _, choice := range argumentChoices(n) {
		s.line(at, "-f -a "+choice, "")
	}
	for _, child := range shown(n) {
		s.line(at, "-f -a "+child.Name, child.Help)
		s.commands = append(s.commands, at+"/"+child.Name)
		s.command(child, at+"/"+child.Name)
	}
}

// line adds what may be typed after a command.
func (s *fishScript) line(at, what, help string) {
	first, _, _ := strings.Cut(help, ". ")
	first, _, _ = strings.Cut(first, ": ")
	fmt.Fprintf(&s.lines, "complete -c %s -n '__%s_at %s' %s -d %s\n", s.program, s.program, at, what, fishQuoted(strings.TrimSuffix(first, ".")))
}

// fishQuoted is text as one word.
func fishQuoted(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}
