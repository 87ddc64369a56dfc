package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// clockVariable tells a daemon of the campaign how its wall clock jumps; see jumpSource.
const clockVariable = "TORTURE_CLOCK"

// jumpSource is added to package time. The monotonic clock stays, as it does when a machine's clock is set.
const jumpSource = `package time

import "syscall"

// The wall clock is wrong by jumpBy seconds from jumpFrom to jumpTo nanoseconds of the process's life.
var jumpBy, jumpFrom, jumpTo = readJump()

// readJump reads "by", or "by from", or "by from length": three durations such as "-3h 4s 10s".
func readJump() (by, from, to int64) {
	text, _ := syscall.Getenv("` + clockVariable + `")
	d := [3]Duration{2: 1<<63 - 1}
	for i := 0; text != ""; i++ {
		word := text
		text = ""
		for at := range word {
			if word[at] == ' ' {
				word, text = word[:at], word[at+1:]
				break
			}
		}
		var err error
		if d[i], err = ParseDuration(word); err != nil {
			panic("` + clockVariable + `: " + err.Error())
		}
	}
	return int64(d[0] / Second), int64(d[1]), int64(d[1] + min(d[2], 1<<63-1-d[1]))
}

func jump(life int64) int64 {
	if life < jumpFrom || life >= jumpTo {
		return 0
	}
	return jumpBy
}
`

// clockPatch is the change to time.Now.
var clockPatch = [2]string{
	"func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n",
	"func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n\tsec += jump(mono - startNano)\n",
}

// clockOverlay writes to dir what makes `go build` take a package time whose wall clock jumps, and returns the flag. Daemons have no
// clock that could be set, and get none for this.
func clockOverlay(ctx context.Context, dir string) (flag string, err error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	folder := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	original := filepath.Join(folder, "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(source, []byte(clockPatch[0])); n != 1 {
		return "", fmt.Errorf("%s: has %d times, not once, what is to be patched: %q", original, n, clockPatch[0])
	}
	replace := map[string]string{}
	for name, text := range map[string]string{"time.go": strings.Replace(string(source), clockPatch[0], clockPatch[1], 1), "jump.go": jumpSource} {
		replace[filepath.Join(folder, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return "-overlay=" + file, os.WriteFile(file, overlay, 0o644)
}

// signedFor is by how much S3 lets the clock of a client be off.
const signedFor = 15 * time.Minute

// clockTold is what a daemon says whose requests are refused for their time.
const clockTold = "set the clock of this machine"

// jump starts a member anew with a clock that jumps. One that the store refuses meanwhile has to say why, and to go on afterwards.
func (c *campaign) jump(ctx context.Context, e event) error {
	m := c.member(e.target, e.index)
	release, ok := c.claim(m)
	if !ok {
		return nil
	}
	defer release()
	m.kill()
	c.totals.count(eventKill)
	if err := m.start(clockVariable + "=" + e.clock.String()); err != nil {
		return err
	}
	if e.clock.length == 0 {
		c.totals.count(clockMinutes)
		return c.awaitNode(ctx, m)
	}
	c.totals.count(clockHours)
	harmed := m.disturbed.Load()
	pause(ctx, e.clock.from+e.clock.length)
	switch {
	case m.disturbed.Load() != harmed:
		c.totals.count(clockKilled)
	case strings.Contains(m.log(), clockTold):
		c.totals.count(clockSaid)
	}
	return c.awaitNode(ctx, m)
}

// Sums of clocks.
const (
	clockMinutes = "minutes" // off by less than signedFor, for good
	clockHours   = "hours"   // off by more, for a while
	clockSaid    = "said so" // of those with hours
	clockKilled  = "killed"  // of those with hours, before they were over
)

// clock is a jump of a wall clock.
type clock struct {
	by, from, length time.Duration // length 0: for good
}

func (c clock) String() string {
	if c.length == 0 {
		return fmt.Sprint(c.by, " ", c.from)
	}
	return fmt.Sprint(c.by, " ", c.from, " ", c.length)
}
