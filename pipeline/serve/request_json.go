package serve

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/adastream/adastream/avx"
	"github.com/adastream/adastream/index/search"
	"github.com/adastream/adastream/schemas"
)

// searchBody is the body of a request in JSON. Exactly one of the first five is given.
type searchBody struct {
	Vector *numbers `json:"vector"` // D numbers
	Like   *string  `json:"like"`   // the id of a row
	packed
	searchOptions
}

// packed is many queries, in one of three forms.
type packed struct {
	Vectors    *rows   `json:"vectors"`     // arrays of D numbers
	VectorsF32 *[]byte `json:"vectors_f32"` // the same as float32, little-endian, in base64
	VectorsF16 *[]byte `json:"vectors_f16"` // or as float16
}

func (n *Node) readJSON(r *http.Request) (func(*schemas.Spec) (*queries, error), *searchOptions, error) {
	if err := refuseParameters(r); err != nil {
		return nil, nil, err
	}
	var body searchBody
	d, ok := n.documents.Get().(*documents)
	if !ok {
		d = newDocuments()
	}
	raw, err := d.read(r)
	if err != nil {
		return nil, nil, err
	}
	if isStream(raw) {
		return nil, nil, malformed(fmt.Sprintf("the body is an Arrow stream, Content-Type is %.100q", r.Header.Get("Content-Type")), "Content-Type: "+arrowType)
	}
	if err := d.decode(raw, &body); err != nil {
		return nil, nil, err
	}
	if len(raw) <= keptBytes {
		n.documents.Put(d)
	}
	field, err := body.field()
	if err != nil {
		return nil, nil, err
	}
	return func(spec *schemas.Spec) (*queries, error) { return body.queries(field, spec, n.o.Level) }, &body.searchOptions, nil
}

// kinds are the fields that have queries.
const kinds = "one of vector, vectors, vectors_f32, vectors_f16 and like"

// field is the one field that has queries.
func (b *searchBody) field() (string, error) {
	field, err := oneOf(given("vector", b.Vector != nil), b.packed.given(), given("like", b.Like != nil))
	if err == nil && field == "" {
		err = invalid("vector: missing", kinds)
	}
	return field, err
}

// field is the one of the forms that is there, or "".
func (p *packed) field() (string, error) { return oneOf(p.given()) }

func (p *packed) given() []string {
	return slices.Concat(given("vectors", p.Vectors != nil), given("vectors_f32", p.VectorsF32 != nil), given("vectors_f16", p.VectorsF16 != nil))
}

func given(field string, is bool) []string {
	if is {
		return []string{field}
	}
	return nil
}

func oneOf(fields ...[]string) (string, error) {
	switch given := slices.Concat(fields...); len(given) {
	case 0:
		return "", nil
	case 1:
		return given[0], nil
	default:
		return "", invalid(strings.Join(given, " and ")+": given together", kinds)
	}
}

// queries checks that each query is as wide as the rows of an index.
func (b *searchBody) queries(field string, spec *schemas.Spec, level avx.Level) (*queries, error) {
	switch {
	case b.Vector != nil:
		return &queries{field: field, vectors: *b.Vector}, checkWidth(field, len(*b.Vector), spec)
	case b.Like != nil:
		return &queries{field: field, like: b.Like}, nil
	}
	return b.packed.queries(field, spec, level)
}

func (p *packed) queries(field string, spec *schemas.Spec, level avx.Level) (*queries, error) {
	q := &queries{field: field, many: true}
	switch {
	case p.Vectors != nil:
		q.vectors = p.Vectors.values
		return q, p.Vectors.check(field, spec)
	case p.VectorsF32 != nil:
		q.vectors = floatsOf(*p.VectorsF32)
		return q, checkPacked(field, len(*p.VectorsF32), 4, spec)
	default:
		q.vectors = halvesOf(level, *p.VectorsF16)
		return q, checkPacked(field, len(*p.VectorsF16), 2, spec)
	}
}

func checkWidth(field string, got int, spec *schemas.Spec) error {
	if got != spec.Dim() {
		return &search.QueryError{Field: field, Value: fmt.Sprintf("%d values", got), Allowed: width(spec)}
	}
	return nil
}

// width says what a query of an index has, in words that tell a client which encoder makes such.
func width(spec *schemas.Spec) string {
	return fmt.Sprintf("%d values of encoder %s", spec.Dim(), spec.Encoder)
}

func checkCount(field string, n int) error {
	if n < 1 || n > maxQueries {
		return invalid(fmt.Sprintf("%s: %d queries", field, n), fmt.Sprintf("1 to %d queries in one request", maxQueries))
	}
	return nil
}

// checkPacked checks that so many bytes are queries of values of a size.
func checkPacked(field string, bytes, size int, spec *schemas.Spec) error {
	row := size * spec.Dim()
	if bytes%row != 0 {
		return &search.QueryError{Field: field, Value: fmt.Sprintf("%d bytes", bytes), Allowed: fmt.Sprintf("a multiple of %d: %d for each of %s", row, size, width(spec))}
	}
	return checkCount(field, bytes/row)
}

// floatsOf reads little-endian float32 values.
func floatsOf(raw []byte) []float32 {
	values := make([]float32, len(raw)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return values
}

// decodeBody reads one JSON object, strictly: no field that is not described, none that is null.
func decodeBody(r *http.Request, into any) error {
	d := newDocuments()
	raw, err := d.read(r)
	if err != nil {
		return err
	}
	return d.decode(raw, into)
}

// documents reads one document after the other into the same memory: that of the body and of a decoder, which is twice the document.
// They would be half of what a request takes from the heap. After an error it must not be used again.
type documents struct {
	body bytes.Buffer
	from bytes.Reader
	*json.Decoder
}

// keptBytes is how long the longest document is after which its reader is kept, and the longest answer: a query of several thousand
// dimensions. What a long batch takes is little beside its search, and would be held for queries that need less.
const keptBytes = 64 << 10

func newDocuments() *documents {
	d := &documents{}
	d.Decoder = json.NewDecoder(&d.from)
	d.DisallowUnknownFields()
	return d
}

// read returns the body of a request, which is good until the next read.
func (d *documents) read(r *http.Request) ([]byte, error) {
	d.body.Reset()
	return readAll(&d.body, r)
}

// decode reads one document, of which nothing that it reads into is a part.
func (d *documents) decode(raw []byte, into any) error {
	const allowed = "one JSON object with the fields of schemas/openapi.yaml"
	d.from.Reset(raw)
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			d.from.Reset(nil)
			if name := RepeatedName(raw); name != "" {
				return invalid(fmt.Sprintf("%.*q: given twice", schemas.MaxNameBytes, name), "once")
			}
			return refuseNulls("", raw)
		}
		err = errors.New("bytes after the document")
	}
	var bad *search.QueryError
	if errors.As(err, &bad) {
		return err
	}
	var other *json.UnmarshalTypeError
	switch is := errors.As(err, &other); {
	case errors.Is(err, io.EOF):
		return malformed("the body is empty", allowed)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return malformed("the document ends early", allowed)
	case is && other.Field == "":
		return malformed(fmt.Sprintf("the document: a JSON %.40s", other.Value), allowed)
	case is:
		return invalid(fmt.Sprintf("%.*s: a JSON %.40s", schemas.MaxIDBytes, fieldOf(other.Field), other.Value), "a JSON "+jsonOf(other.Type.Kind()))
	}
	return malformed(fmt.Sprintf("%.*s", schemas.MaxIDBytes, err.Error()), allowed)
}

// fieldOf is the path of a field as clients write it: encoding/json also names the structs that the field is promoted from.
func fieldOf(path string) string {
	names := strings.Split(path, ".")
	return strings.Join(slices.DeleteFunc(names, func(name string) bool { return name != strings.ToLower(name) }), ".")
}

// jsonOf is what a value of a kind is in JSON.
func jsonOf(k reflect.Kind) string {
	switch k {
	case reflect.Bool, reflect.String:
		return k.String()
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Float32, reflect.Float64:
		return "number"
	}
	return "integer"
}

// RepeatedName is a name that a JSON document, which is valid and may be an object, has twice as names are read, without regard to
// case; "" if there is none. Of two values encoding/json takes the last.
func RepeatedName(document []byte) string {
	var names [][]byte
	depth, named := 0, false // whether the text that comes next at depth 1 is a name
	for i := 0; i < len(document); i++ {
		c := document[i]
		if c >= '-' && c <= '9' { // of numbers, which are most of a request
			continue
		}
		switch c {
		case '{', '[':
			depth++
			if named = depth == 1 && c == '{'; named {
				names = make([][]byte, 0, 16)
			}
		case '}', ']':
			depth--
		case ',':
			named = depth == 1 && names != nil
		case '"':
			start, plain := i, true
			for i++; document[i] != '"'; i++ {
				if document[i] == '\\' {
					i++
					plain = false
				}
			}
			if !named || depth != 1 {
				continue
			}
			name := document[start+1 : i]
			if !plain {
				var unescaped string
				if json.Unmarshal(document[start:i+1], &unescaped) != nil {
					continue
				}
				name = []byte(unescaped)
			}
			if slices.ContainsFunc(names, func(have []byte) bool { return bytes.EqualFold(have, name) }) {
				return string(name)
			}
			names, named = append(names, name), false
		}
	}
	return ""
}

// refuseNulls refuses fields that are null, which encoding/json takes for absent: whoever sends one may have meant something. In a
// filter a null is a value.
func refuseNulls(field string, raw []byte) error {
	if !bytes.Contains(raw, []byte("null")) {
		return nil
	}
	switch raw = bytes.TrimSpace(raw); {
	case string(raw) == "null":
		return invalid(cmp.Or(field, "the document")+": null", "a value, or no such field")
	case raw[0] != '{' || strings.EqualFold(field, "filter"): // as names are read
		return nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return malformed(err.Error(), "a JSON object")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := refuseNulls(strings.TrimPrefix(field+"."+name, "."), fields[name]); err != nil {
			return err
		}
	}
	return nil
}

// numberBytes is about what a number takes at least, when one is written with the digits of a float32.
const numberBytes = 8

// numbers is a JSON array of numbers, read without reflection.
type numbers []float32

// UnmarshalJSON implements json.Unmarshaler.
func (v *numbers) UnmarshalJSON(raw []byte) error {
	a := arrayReader{rest: raw}
	if !a.open() {
		return notNumbers("vector", raw)
	}
	values, err := a.numbers(make([]float32, 0, len(raw)/numberBytes))
	*v = values
	return err
}

// rows is a JSON array of arrays of numbers.
type rows struct {
	values []float32 // of all rows
	ends   []int     // of each row in values; one more than maxQueries at most, the others are not read
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *rows) UnmarshalJSON(raw []byte) error {
	v.values, v.ends = make([]float32, 0, len(raw)/numberBytes), v.ends[:0]
	a := arrayReader{rest: raw}
	if !a.open() {
		return notNumbers("vectors", raw)
	}
	for len(v.ends) <= maxQueries && a.next() {
		if !a.open() {
			return notNumbers(fmt.Sprintf("vectors[%d]", len(v.ends)), a.rest)
		}
		values, err := a.numbers(v.values)
		if err != nil {
			q := queries{field: "vectors", many: true}
			return q.locate(err, len(v.ends))
		}
		v.values, v.ends = values, append(v.ends, len(values))
	}
	return nil
}

// check makes sure that there is not one row too many and that each is as wide as the rows of an index.
func (v *rows) check(field string, spec *schemas.Spec) error {
	if len(v.ends) > maxQueries {
		return invalid(fmt.Sprintf("%s: more than %d queries", field, maxQueries), fmt.Sprintf("1 to %d queries in one request", maxQueries))
	}
	if err := checkCount(field, len(v.ends)); err != nil {
		return err
	}
	start := 0
	for i, end := range v.ends {
		if err := checkWidth(fmt.Sprintf("%s[%d]", field, i), end-start, spec); err != nil {
			return err
		}
		start = end
	}
	return nil
}

// arrayReader reads arrays of JSON whose syntax is known to be right.
type arrayReader struct {
	rest []byte
}

func (a *arrayReader) space() {
	for len(a.rest) > 0 && (a.rest[0] == ' ' || a.rest[0] == '\n' || a.rest[0] == '\t' || a.rest[0] == '\r') {
		a.rest = a.rest[1:]
	}
}

// take passes a character, if it is the next one.
func (a *arrayReader) take(c byte) bool {
	a.space()
	if len(a.rest) == 0 || a.rest[0] != c {
		return false
	}
	a.rest = a.rest[1:]
	return true
}

// open passes the beginning of an array.
func (a *arrayReader) open() bool { return a.take('[') }

// next goes to the next element of an array, and passes its end if there is none.
func (a *arrayReader) next() bool {
	if a.take(']') {
		return false
	}
	a.take(',')
	a.space()
	return len(a.rest) > 0
}

// numbers appends the elements of an array that was opened, up to its end.
func (a *arrayReader) numbers(dst []float32) ([]float32, error) {
	for first := len(dst); a.next(); {
		n := 0
		for n < len(a.rest) && a.rest[n] > ' ' && a.rest[n] != ',' && a.rest[n] != ']' {
			n++
		}
		x, err := strconv.ParseFloat(string(a.rest[:n]), 32)
		if c := a.rest[0]; err != nil || c != '-' && (c < '0' || c > '9') {
			return dst, &search.QueryError{Field: fmt.Sprintf("vector[%d]", len(dst)-first), Value: excerpt(a.rest[:n]), Allowed: "a number that float32 holds"}
		}
		dst, a.rest = append(dst, float32(x)), a.rest[n:]
	}
	return dst, nil
}

func notNumbers(field string, raw []byte) error {
	return &search.QueryError{Field: field, Value: excerpt(raw), Allowed: "an array of numbers"}
}

// excerpt is the beginning of what a request has in the wrong place.
func excerpt(raw []byte) string { return string(raw[:min(len(raw), 40)]) }
