// Package jsonrow reads values of JSON as rows have them, from files and from messages alike. What it reads is the text of one value
// whose syntax is known to be right, but for [Numbers].
package jsonrow

import (
	"errors"
	"fmt"
	"math"
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
	if v, ok := short(item); ok {
		return v, nil
	}
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

var tens = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// maxDigits is how many digits a float64 holds whatever they are.
const maxDigits = 15

// short reads numbers such as those of vectors are, of few digits and without an exponent, and leaves others to strconv, which is slower.
// Digits and the power of ten are float64s exactly, so their quotient is rounded once; and the float32 that is nearest to it is the one
// nearest to the number, unless it is just between two. None is so small that a float32 has fewer bits for it.
func short(item []byte) (v float32, ok bool) {
	rest := item
	negative := len(rest) > 0 && rest[0] == '-'
	if negative {
		rest = rest[1:]
	}
	digits, point, mantissa := 0, len(rest), int64(0)
	for i, c := range rest {
		switch {
		case c >= '0' && c <= '9':
			if digits++; digits > maxDigits {
				return 0, false
			}
			mantissa = 10*mantissa + int64(c-'0')
		case c == '.' && point == len(rest) && i > 0:
			point = i
		default:
			return 0, false
		}
	}
	if digits == 0 {
		return 0, false
	}
	f := float64(mantissa) / tens[digits-min(point, digits)]
	const between, low = 1 << 28, 1<<29 - 1 // of the bits that a float64 has more
	if math.Float64bits(f)&low == between {
		return 0, false
	}
	if negative {
		f = -f
	}
	return float32(f), true
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
