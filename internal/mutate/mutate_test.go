package mutate

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

var seeds = [][]byte{nil, []byte(`{"offset":1234,"x":[1,2,3]}`), bytes.Repeat([]byte{0xff, 0, 1, 0}, 100)}

// TestSeedIsInput: a seed makes the same input whatever was made before it, the seeds stay as they are, and inputs differ.
func TestSeedIsInput(t *testing.T) {
	before := bytes.Join(seeds, nil)
	m, inputs, distinct := mutator{seeds: seeds}, map[uint64]string{}, map[string]bool{}
	const n = 20_000
	for seed := range uint64(n) {
		input := string(m.next(seed))
		inputs[seed], distinct[input] = input, true
		if len(input) == 0 && seed < 10 || len(input) > 400+longest {
			t.Fatalf("seed %d made %d bytes", seed, len(input))
		}
	}
	if len(distinct) < n/2 {
		t.Errorf("%d inputs are %d different ones", n, len(distinct))
	}
	for seed, want := range inputs {
		if got := string(m.next(seed)); got != want {
			t.Fatalf("seed %d made %q, then %q", seed, want, got)
		}
	}
	if !bytes.Equal(bytes.Join(seeds, nil), before) {
		t.Error("seeds were changed")
	}
}

// TestEachChange: what the changes are for is made in some of many inputs.
func TestEachChange(t *testing.T) {
	text, words := seeds[1], seeds[2]
	m := mutator{seeds: seeds}
	missing := map[string]func(input []byte) bool{
		"a flipped bit":      func(in []byte) bool { return len(in) == len(text) && ones(in, text) == 1 },
		"an edge in digits":  func(in []byte) bool { return bytes.Contains(in, []byte(`"offset":-9223372036854775808,`)) },
		"an edge of 4 bytes": func(in []byte) bool { return bytes.Contains(in, []byte{0xff, 0xff, 0xff, 0x7f}) },
		"an edge of 8 bytes": func(in []byte) bool {
			return bytes.Contains(in, []byte{0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
		},
		"a cut":           func(in []byte) bool { return len(in) > 9 && len(in) < len(text) && bytes.HasPrefix(text, in) },
		"a range away":    func(in []byte) bool { return string(in) == `{"offset":1234,"x":[,2,3]}` },
		"a range again":   func(in []byte) bool { return bytes.Contains(in, []byte(`1234123412341234`)) },
		"a long one":      func(in []byte) bool { return len(in) == len(text)+longest },
		"one and another": func(in []byte) bool { return bytes.HasPrefix(in, text[:20]) && bytes.HasSuffix(in, words[:100]) },
	}
	for seed := range uint64(1_000_000) {
		input := m.next(seed)
		for name, made := range missing {
			if made(input) {
				delete(missing, name)
			}
		}
		if len(missing) == 0 {
			return
		}
	}
	for name := range missing {
		t.Errorf("never made: %s", name)
	}
}

// ones is in how many bits two byte strings of one length differ.
func ones(a, b []byte) (n int) {
	for i := range a {
		for x := a[i] ^ b[i]; x != 0; x &= x - 1 {
			n++
		}
	}
	return n
}

// targets have a check that fails and one that panics, soon.
var targets = map[string]Target{
	"FuzzFails":  func(testing.TB) ([][]byte, func(testing.TB, []byte)) { return seeds, refuseBrackets },
	"FuzzPanics": func(testing.TB) ([][]byte, func(testing.TB, []byte)) { return seeds, panicAtBrackets },
}

func refuseBrackets(t testing.TB, input []byte) {
	if bytes.Contains(input, []byte("[[")) {
		t.Fatal("found")
	}
}

func panicAtBrackets(_ testing.TB, input []byte) {
	if bytes.Contains(input, []byte("[[")) {
		panic("found")
	}
}

func FuzzFails(f *testing.F)    { skipUnlessInner(f); Fuzz(f, targets["FuzzFails"]) }
func TestInnerRun(t *testing.T) { skipUnlessInner(t); Run(t, targets) }

const innerVar = "ADASTREAM_TEST_MUTATE"

func skipUnlessInner(t testing.TB) {
	if os.Getenv(innerVar) == "" {
		t.Skip("run by TestFailureIsTold")
	}
}

// TestFailureIsTold: a failed run names the input's seed, which alone makes it fail again, and prints the input as a file with
// which a plain go test fails.
func TestFailureIsTold(t *testing.T) {
	inner := func(dir string, args ...string) string {
		cmd := exec.Command(os.Args[0], append(args, "-test.v")...)
		cmd.Env, cmd.Dir = append(os.Environ(), innerVar+"=1"), dir
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "found") {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	dir := t.TempDir()
	for _, name := range []string{"FuzzFails", "FuzzPanics"} {
		out := inner(dir, "-test.run", "TestInnerRun/"+name, "-mutations", "1000000")
		_, seed, _ := strings.Cut(out, "this was -seed ")
		seed, _, _ = strings.Cut(seed, ";")
		inner(dir, "-test.run", "TestInnerRun/"+name, "-mutations", "1", "-seed", seed)
		if name == "FuzzPanics" {
			continue
		}
		var file []string
		for line := range strings.Lines(out) {
			if line := strings.TrimSpace(line); strings.HasPrefix(line, "go test fuzz") || strings.HasPrefix(line, "[]byte(") {
				file = append(file, line)
			}
		}
		corpus := dir + "/testdata/fuzz/FuzzFails"
		if err := os.MkdirAll(corpus, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(corpus+"/1", []byte(strings.Join(file, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if out := inner(dir, "-test.run", "FuzzFails/1"); !strings.Contains(out, "--- FAIL: FuzzFails/1") {
			t.Errorf("%s", out)
		}
	}
}
