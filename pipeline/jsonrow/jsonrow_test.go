package jsonrow

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
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

// short is as exact as strconv is.
func TestShort(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	taken := 0
	check := func(text string) {
		want, err := strconv.ParseFloat(text, 32)
		if err != nil {
			t.Fatal(text, err)
		}
		got, ok := short([]byte(text))
		if ok {
			taken++
		}
		if ok && math.Float32bits(got) != math.Float32bits(float32(want)) {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"0", "-0", "-0.0", "16777217", "33554434.5", "16777217.0000001", "0.000000000000001", "999999999999999", "1.00000017881393", "0.1", "-1.5"} {
		check(text)
	}
	for range 200_000 {
		digits := strconv.FormatUint(rng.Uint64()>>rng.IntN(64), 10)
		point := rng.IntN(len(digits)) + 1
		check(digits[:point] + "." + digits[point:] + "0")
		f := math.Float32frombits(rng.Uint32())
		if f == f && !math.IsInf(float64(f), 0) {
			check(strconv.FormatFloat(float64(f), 'f', -1, 32))
		}
		// So near to what is between two float32s that a float64 cannot tell.
		g := 4 + 4*rng.Float32()
		check(strconv.FormatFloat((float64(g)+float64(math.Nextafter32(g, 9)))/2, 'f', 14, 64))
		// Just between two float32s, or beside that.
		half := float64(1+rng.IntN(1<<23)) + 1<<24 + 1
		check(strconv.FormatFloat(half+[]float64{-1, 0, 1, 1e-4}[rng.IntN(4)], 'f', -1, 64))
	}
	if taken < 200_000 {
		t.Errorf("only %d were short", taken)
	}
}

func BenchmarkNumbers(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	text := []byte("[")
	for i := range 256 {
		if i > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendFloat(text, rng.NormFloat64(), 'g', -1, 32)
	}
	text = append(text, ']')
	dst := make([]float32, 0, 256)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, _, err := Numbers(dst, text, 256); err != nil {
			b.Fatal(err)
		}
	}
}
