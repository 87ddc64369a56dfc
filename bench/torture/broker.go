package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// broker is a real Apache Kafka of the campaign's own: it is killed, and daemons reach it by a line that can be made bad.
// A broker tells clients where it is, so one listener advertises that line and the other one itself, to generator and checker.
type broker struct {
	script, dir string
	port        int
	faulty      string // address that daemons are told
}

// direct is the address without faults.
func (b *broker) direct() string { return fmt.Sprintf("127.0.0.1:%d", b.port) }

// behind is the address that the line leads to.
func (b *broker) behind() string { return fmt.Sprintf("127.0.0.1:%d", b.port+2) }

// start starts it, again on the same log if it was there before.
func (b *broker) start(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, b.script, strconv.Itoa(b.port), b.dir)
	cmd.Env = append(os.Environ(), "KAFKA_HEAP=384m", fmt.Sprintf(`KAFKA_PROPS=listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d,FAULTY://%s
advertised.listeners=PLAINTEXT://127.0.0.1:%[1]d,FAULTY://%[4]s
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,FAULTY:PLAINTEXT
group.min.session.timeout.ms=1000`, b.port, b.port+1, b.behind(), b.faulty))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", b.script, err, out)
	}
	return nil
}

// kill ends it as a crash would.
func (b *broker) kill() error {
	text, err := os.ReadFile(filepath.Join(b.dir, "pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	for range 500 { // its ports tell; it may stay as a zombie process
		if free(b.port) && free(b.port+1) && free(b.port+2) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("broker: ports %d to %d are still in use after its end", b.port, b.port+2)
}

// freePorts finds three ports in a row for a broker.
func freePorts(from int) (int, error) {
	for port := from; port < from+800; port += 10 {
		if free(port) && free(port+1) && free(port+2) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no three free ports from %d to %d", from, from+800)
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}
