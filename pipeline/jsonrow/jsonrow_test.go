package jsonrow

import (
	"errors"
	"math"
	"slices"
	"testing"
)

func TestNumbers(t *testing.T) {
	for text, want := range map[string][]float32{
		`[]`: {}, ` [ ] `: {}, `[1]`: {1}, "\t[ 1 ,\n-2.5e-1,3E2 ]\r": {1, -0.25, 300}, `[0.1,1e-60]`: {0.1, 0},
		`[3.4028235e38]`: {math.MaxFloat32},
	} {
		got, n, err := Numbers(nil, []byte(text), 8)
		if err != nil || n != len(want) || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %d, %v, want %v", text, got, n, err, want)
		}
	}
	if got, n, err := Numbers([]float32{9}, []byte(`[1,2,x]`), 2); err != nil || n != 3 || !slices.Equal(got, []float32{9, 1, 2}) {
		t.Errorf("beyond the limit: %v, %d, %v", got, n, err)
	}
	for text, want := range map[string]NumberError{
		`[1,null]`: {At: 1, Value: "null", Null: true}, `[1e39]`: {Value: "1e39", Outside: true}, `[-1e400]`: {Value: "-1e400", Outside: true},
		`["1"]`: {Value: `"1"`}, `[[1]]`: {Value: "[..."}, `[{}]`: {Value: "{..."}, `[NaN]`: {Value: "NaN"}, `[0x1p1]`: {Value: "0x1p1"},
		`[1_0]`: {Value: "1_0"}, `[+1]`: {Value: "+1"}, `[.5]`: {Value: ".5"}, `[1,,2]`: {At: 1}, `[1,]`: {At: 1}, `[1 2]`: {Value: "1"},
	} {
		_, _, err := Numbers(nil, []byte(text), 8)
		var bad *NumberError
		if !errors.As(err, &bad) || *bad != want {
			t.Errorf("%q: %+v, want %+v", text, err, want)
		}
	}
	for _, text := range []string{``, `1`, `{}`, `[1`, `[1]]`, `[1]2`, `[]]`, `"[1]"`} {
		if got, _, err := Numbers(nil, []byte(text), 8); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestScalars(t *testing.T) {
	for text, want := range map[string]bool{"0": true, "-1": true, "18446744073709551615": true, "18446744073709551616": false, "-0": false, "1.0": false, "1e3": false} {
		if IsID([]byte(text)) != want {
			t.Errorf("%s: id %v, want %v", text, !want, want)
		}
	}
	if v, ok := Integer([]byte("9223372036854775808")); ok {
		t.Errorf("integer %d", v)
	}
	if v, ok := Float([]byte("1e400")); ok {
		t.Errorf("float %v", v)
	}
	if v, ok := Float([]byte("1e-400")); !ok || v != 0 {
		t.Errorf("float %v, %v", v, ok)
	}
}
