package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A process whose clock jumps sees another wall clock, from when on and as long as it is told to, and time passes as ever.
func TestClockJumps(t *testing.T) {
	flag, err := clockOverlay(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "clock")
	if out, err := exec.Command("go", "build", "-o", bin, flag, "./testdata/clock").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const hour = 3600
	for jump, want := range map[string][3]int64{
		"":                  {},
		"-3h":               {-3 * hour, -3 * hour, -3 * hour},
		"+5h 200ms":         {0, 5 * hour, 5 * hour},
		"+10m 200ms 400ms":  {0, 600, 0},
		"-300h 600ms 4000h": {0, 0, -300 * hour},
	} {
		t.Run(jump, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(bin)
			cmd.Env = append(os.Environ(), clockVariable+"="+jump, fmt.Sprint("BEGAN=", time.Now().Unix()))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			for i, line := range lines {
				var ahead, age int64
				if _, err := fmt.Sscan(line, &ahead, &age); err != nil || len(lines) != 3 {
					t.Fatalf("%v\n%s", err, out)
				}
				if off := ahead - want[i]; off < 0 || off > 30 {
					t.Errorf("line %d: %d s ahead, want about %d", i, ahead, want[i])
				}
				if age < int64(400*i) || age > 30_000 {
					t.Errorf("line %d: %d ms old", i, age)
				}
			}
		})
	}
}
