package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// WriteCompletion writes a script that has bash, or zsh after its bashcompinit, complete a command's words: its commands, its flags, and values of those that have a
// fixed choice; file names else. What may be typed is all that the script knows: it starts nothing.
func WriteCompletion(w io.Writer, name string, flags any) error {
	parser, err := newParser(name, flags)
	if err != nil {
		return err
	}
	var commands, words, values strings.Builder
	describe(parser.Model.Node, "", &commands, &words, &values)
	_, err = fmt.Fprintf(w, `_%[1]s_complete() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at="" words="" word
  for word in "${COMP_WORDS[@]:1:$((COMP_CWORD-1))}"; do
    case " %[2]s" in *" $at/$word "*) at="$at/$word" ;; esac
  done
  # bash takes = for a word of its own
  [ "$cur" = "=" ] && cur=""
  [ "$prev" = "=" ] && prev=${COMP_WORDS[COMP_CWORD-2]}
  case "$at $prev" in
%[4]s    *)
      case "$at" in
%[3]s      esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o bashdefault -o default -F _%[1]s_complete %[1]s
`, name, commands.String(), words.String(), values.String())
	return err
}

// describe adds a command and those below it: paths of commands, what can follow each, and the choices of flags.
func describe(n *kong.Node, at string, commands, words, values *strings.Builder) {
	next := argumentChoices(n)
	for _, child := range shown(n) {
		next = append(next, child.Name)
		commands.WriteString(at + "/" + child.Name + " ")
	}
	for _, flag := range flagsAt(n) {
		next = append(next, "--"+flag.Name)
		if choices := choicesOf(flag); len(choices) > 0 {
			fmt.Fprintf(values, "    %q) words=%q ;;\n", at+" --"+flag.Name, strings.Join(choices, " "))
		}
	}
	slices.Sort(next)
	fmt.Fprintf(words, "        %q) words=%q ;;\n", at, strings.Join(slices.Compact(next), " "))
	for _, child := range shown(n) {
		describe(child, at+"/"+child.Name, commands, words, values)
	}
}

// shown are the commands below one that are not hidden.
func shown(n *kong.Node) (children []*kong.Node) {
	for _, child := range n.Children {
		if !child.Hidden {
			children = append(children, child)
		}
	}
	return children
}

// flagsAt are those of a command and of all above it.
func flagsAt(n *kong.Node) []*kong.Flag { return slices.Concat(n.AllFlags(true)...) }

// argumentChoices are the values of arguments that have a fixed choice.
func argumentChoices(n *kong.Node) (choices []string) {
	for _, argument := range n.Positional {
		if argument.Enum != "" {
			choices = append(choices, argument.EnumSlice()...)
		}
	}
	return choices
}

// enumOf is the values that people write for a flag: not the empty one, of flags whose default is none of the others.
func enumOf(flag *kong.Flag) []string {
	return slices.DeleteFunc(flag.EnumSlice(), func(v string) bool { return v == "" })
}

func choicesOf(flag *kong.Flag) []string {
	switch {
	case flag.Enum != "":
		return enumOf(flag)
	case flag.Name == "log-level":
		return []string{"debug", "info", "warn", "error"}
	}
	return nil
}
