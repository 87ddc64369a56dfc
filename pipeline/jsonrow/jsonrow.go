// Package jsonrow reads values of JSON as rows have them, from files and from messages alike. What it reads is the text of one value
// whose syntax is known to be right, but for [Numbers].
package jsonrow

import (
	"errors"
	"fmt"
	"strconv"
	"unsafe"
)

// NumberError says which element of an array is no number that a float32 holds.
type NumberError struct {
	At      int    // its index
	Value   string // what it is, of which no more than the beginning
	Null    bool
	Outside bool // a number, and too large
}

func (e *NumberError) Error() string {
	return fmt.Sprintf("value %d is %s, allowed: a number that a float32 holds", e.At, e.Value)
}

// IsID says whether a number is an id: an integer that an int64 or an uint64 holds.
func IsID(number []byte) bool {
	text := view(number)
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		return text != "-0"
	}
	_, err := strconv.ParseUint(text, 10, 64)
	return err == nil
}

// Integer is the value of a number that is an integer of 64 bits.
func Integer(number []byte) (v int64, ok bool) {
	v, err := strconv.ParseInt(view(number), 10, 64)
	return v, err == nil
}

// Float is the value of a number that a float64 holds, give or take its last digits.
func Float(number []byte) (v float64, ok bool) {
	v, err := strconv.ParseFloat(view(number), 64)
	return v, err == nil
}

// errNoArray: a text is no array of numbers.
var errNoArray = errors.New("allowed: an array of numbers")

// Numbers appends the elements of an array to dst, up to limit of them, and returns how many there are. It may be any text: what is no
// array of numbers is an error.
func Numbers(dst []float32, array []byte, limit int) (values []float32, n int, err error) {
	rest := space(array)
	if len(rest) == 0 || rest[0] != '[' {
		return dst, 0, errNoArray
	}
	for rest = space(rest[1:]); ; n++ {
		if len(rest) > 0 && rest[0] == ']' && n == 0 {
			break
		}
		end := 0
		for end < len(rest) && rest[end] > ' ' && rest[end] != ',' && rest[end] != ']' {
			end++
		}
		item := rest[:end]
		if n < limit {
			v, err := number(item)
			if err != nil {
				err.At = n
				return dst, n, err
			}
			dst = append(dst, v)
		}
		rest = space(rest[end:])
		if len(rest) == 0 {
			return dst, n, errNoArray
		}
		if rest[0] == ']' {
			n++
			break
		}
		if rest[0] != ',' {
			return dst, n, &NumberError{At: n, Value: excerpt(item)}
		}
		rest = space(rest[1:])
	}
	if len(space(rest[1:])) > 0 {
		return dst, n, errNoArray
	}
	return dst, n, nil
}

// number reads an element. Hexadecimal numbers, infinities and what else only Go takes for a number are none.
func number(item []byte) (float32, *NumberError) {
	for _, c := range item {
		if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			return 0, &NumberError{Value: excerpt(item), Null: string(item) == "null"}
		}
	}
	v, err := strconv.ParseFloat(view(item), 32)
	if err != nil || item[0] == '+' || item[0] == '.' {
		return 0, &NumberError{Value: excerpt(item), Outside: errors.Is(err, strconv.ErrRange)}
	}
	return float32(v), nil
}

func space(text []byte) []byte {
	for len(text) > 0 && (text[0] == ' ' || text[0] == '\t' || text[0] == '\n' || text[0] == '\r') {
		text = text[1:]
	}
	return text
}

// excerpt is the beginning of an element, for an error. Where the element ends is not known of all that are no numbers.
func excerpt(item []byte) string {
	if len(item) > 0 && (item[0] == '[' || item[0] == '{') {
		return string(item[0]) + "..."
	}
	return fmt.Sprintf("%.40s", item)
}

// view is text without a copy of it, for as long as nobody keeps it.
func view(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }
