package avx

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestParseLevel(t *testing.T) {
	for _, l := range []Level{Generic, AVX2, AVX512, AVX512VNNI, NEON} {
		if got, err := ParseLevel(l.String()); got != l || err != nil {
			t.Errorf("%q: got %v, %v", l, got, err)
		}
	}
	for _, name := range []string{"", "AVX2", "sve", "level(4)"} {
		_, err := ParseLevel(name)
		if err == nil {
			t.Errorf("%q: no error", name)
			continue
		}
		for _, want := range []string{`"` + name + `"`, "generic", "avx2"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: error %q does not name %s", name, err, want)
			}
		}
	}
}

func TestLevels(t *testing.T) {
	got := Levels()
	if len(got) == 0 || got[0] != Generic || !slices.IsSorted(got) {
		t.Errorf("got %v, want Generic first and then faster ones", got)
	}
	if slices.Contains(got, AVX2) && runtime.GOARCH != "amd64" {
		t.Errorf("AVX2 on %s", runtime.GOARCH)
	}
	if slices.Contains(got, NEON) && runtime.GOARCH != "arm64" {
		t.Errorf("NEON on %s", runtime.GOARCH)
	}
	if unknown := Level(levels); unknown.Supported() || unknown.String() != "level(5)" {
		t.Errorf("level %v is supported", unknown)
	}
}

func TestBest(t *testing.T) {
	supported := Levels()
	fastest := supported[len(supported)-1]
	cases := []struct {
		value string
		want  Level
		err   string
	}{
		{"", fastest, ""},
		{"generic", Generic, ""},
		{fastest.String(), fastest, ""},
		{"sse", 0, `ADASTREAM_SIMD: unknown simd level "sse": want one of generic, avx2, avx512, avx512vnni, neon`},
	}
	if !AVX2.Supported() {
		cases = append(cases, struct {
			value string
			want  Level
			err   string
		}{"avx2", 0, `ADASTREAM_SIMD: simd level "avx2" is not supported by this cpu and system`})
	}
	for _, c := range cases {
		t.Setenv(EnvLevel, c.value)
		got, err := Best()
		if c.err == "" && (got != c.want || err != nil) {
			t.Errorf("%q: got %v, %v, want %v", c.value, got, err, c.want)
		}
		if c.err != "" && (err == nil || err.Error() != c.err) {
			t.Errorf("%q: got error %v, want %q", c.value, err, c.err)
		}
	}
}
