package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/adastream/adastream/bench/fleet"
)

// member is a daemon that the campaign keeps alive and puts to death.
type member struct {
	role, name string
	args       []string
	cache      string // folder of its cache, "" for none
	host       string // that it calls the store by: the first of a role has its own, by which its requests are known
	ops        string // address of /readyz
	api        string // of the query API, "" for other roles
	bin        *fleet.Binaries

	mu      sync.Mutex
	process *fleet.Process // nil while it is down on purpose

	up        atomic.Bool  // runs, was ready once since its start and is not paused: its queries must not fail
	disturbed atomic.Int64 // how often the campaign did something to it
}

// start starts it unless it runs, with environment variables beside those of the campaign.
func (m *member) start(env ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil {
		return nil
	}
	p, err := m.bin.Start(m.role, env, m.args...)
	if err != nil {
		return err
	}
	m.process = p
	return nil
}

// kill ends the process at once.
func (m *member) kill() {
	m.disturb()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil {
		m.process.Kill()
		m.process = nil
	}
}

// stop asks the process to end.
func (m *member) stop() error {
	m.disturb()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		return nil
	}
	err := m.process.Stop(30 * time.Second)
	m.process = nil
	return err
}

// freeze pauses the process; thaw ends that.
func (m *member) freeze() {
	m.disturb()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil {
		m.process.Pause()
	}
}

func (m *member) thaw() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil {
		m.process.Resume()
	}
}

func (m *member) disturb() {
	m.up.Store(false)
	m.disturbed.Add(1)
}

// awaitReady waits until the daemon says that it works.
func (m *member) awaitReady(ctx context.Context) error {
	if err := fleet.AwaitOK(ctx, "http://"+m.ops+"/readyz"); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	m.up.Store(true)
	return nil
}

// ended returns the log of a process that ended by itself, and forgets it.
func (m *member) ended() (log string, yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		return "", false
	}
	if yes, _ := m.process.Ended(); !yes {
		return "", false
	}
	log = m.process.Log()
	m.process = nil
	m.disturb()
	return log, true
}

func (m *member) log() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		return ""
	}
	return m.process.Log()
}

// portTaken says whether a daemon ended because another process of the machine had got its port while it was down.
func portTaken(log string) bool { return strings.Contains(log, "address already in use") }

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
