package ui

import (
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

var functions = template.FuncMap{
	"count": countOf, "signed": signed, "bytes": byteSize, "ago": ago, "took": took, "milliseconds": milliseconds, "recall": recallOf,
	"number": number, "plain": plain, "short": short, "time": stamp, "since": func(now, t time.Time) string { return ago(now.Sub(t)) },
	"json":   func(v any) (string, error) { b, err := json.Marshal(v); return string(b), err },
	"plural": plural, "words": strings.Fields,
}

// thin is the narrow space between groups of digits and before units, on which lines do not break.
const thin = "\u202f"

// count groups the digits of a number: 1234567 is 1 234 567.
func count[N ~int | ~int64](n N) string {
	s := fmt.Sprint(n)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + thin + s[i:]
	}
	return s
}

// signed is count with a sign, and a dash for 0.
func signed(n int64) string {
	switch {
	case n > 0:
		return "+" + count(n)
	case n < 0:
		return "\u2212" + count(-n)
	}
	return "\u2013"
}

func byteSize(n int64) string {
	size, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; size >= 1000 && i < len(units)-1; i++ {
		size /= 1024
	}
	if i == 0 || size >= 100 {
		return fmt.Sprintf("%.0f%s%s", size, thin, units[i])
	}
	return fmt.Sprintf("%.1f%s%s", size, thin, units[i])
}

// ago is a time span in one unit, as one says it.
func ago(d time.Duration) string {
	d = max(0, d)
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f%ss", d.Seconds(), thin)
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f%ss", d.Seconds(), thin)
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f%smin", d.Minutes(), thin)
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f%sh", d.Hours(), thin)
	}
	return fmt.Sprintf("%.0f%sdays", d.Hours()/24, thin)
}

// took is how long something worked.
func took(d time.Duration) string {
	if d < time.Second {
		return milliseconds(float64(d) / float64(time.Millisecond))
	}
	return ago(d)
}

func milliseconds(ms float64) string {
	switch {
	case math.IsNaN(ms):
		return "\u2013"
	case ms < 1:
		return fmt.Sprintf("%.0f%s\u00b5s", 1000*ms, thin)
	case ms < 10:
		return fmt.Sprintf("%.1f%sms", ms, thin)
	}
	return fmt.Sprintf("%.0f%sms", ms, thin)
}

func recallText(r float64) string { return fmt.Sprintf("%.3f", r) }

// number has no more digits than one reads.
func number(x float64) string {
	switch {
	case math.IsNaN(x):
		return "\u2013"
	case x >= 100 || x == math.Trunc(x) && x > -100:
		return count(int64(math.Round(x)))
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// plain is text of whoever sent it, on one line and not longer than one reads: what is not printable shows as its code.
func plain(s string, most int) string {
	var b strings.Builder
	n := 0
	for i, r := range s {
		if n++; n > most {
			return b.String() + "\u2026"
		}
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// short is enough of an id to tell it from others.
func short(id string) string { return id[:min(8, len(id))] }

// recallOf is recallText for templates, which have pointers too.
func recallOf(r any) string { return recallText(reflect.Indirect(reflect.ValueOf(r)).Float()) }

// countOf is count for templates.
func countOf(n any) string { return count(reflect.Indirect(reflect.ValueOf(n)).Int()) }
