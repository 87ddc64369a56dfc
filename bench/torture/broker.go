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

	"golang.org/x/sync/errgroup"
)

// broker is a real Apache Kafka of the campaign's own: it is killed and stopped, and daemons reach it by a line that can be made bad.
// A broker tells clients where it is, so one listener advertises that line and the other one itself, to generator, checker and the
// other brokers.
type broker struct {
	script, dir string
	id, port    int
	cluster     string // lines of its configuration that are of all brokers
}

// portsOfBroker is how many a broker has: direct, that of its controller, behind its line, the line.
const portsOfBroker = 4

// direct is the address without faults.
func (b *broker) direct() string { return fmt.Sprintf("127.0.0.1:%d", b.port) }

// controller is the address at which brokers elect.
func (b *broker) controller() string { return fmt.Sprintf("127.0.0.1:%d", b.port+1) }

// behind is the address that the line leads to.
func (b *broker) behind() string { return fmt.Sprintf("127.0.0.1:%d", b.port+2) }

// faulty is the address of the line, which daemons are told.
func (b *broker) faulty() string { return fmt.Sprintf("127.0.0.1:%d", b.port+3) }

// start starts it, again on the same log if it was there before.
func (b *broker) start(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, b.script, strconv.Itoa(b.port), b.dir)
	cmd.Env = append(os.Environ(), "KAFKA_HEAP=384m", "KAFKA_CLUSTER=tortureTortureTortureQ", fmt.Sprintf(`KAFKA_PROPS=listeners=PLAINTEXT://%s,CONTROLLER://%s,FAULTY://%s
advertised.listeners=PLAINTEXT://%[1]s,FAULTY://%[4]s
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,FAULTY:PLAINTEXT
group.min.session.timeout.ms=1000
node.id=%d
%s`, b.direct(), b.controller(), b.behind(), b.faulty(), b.id, b.cluster))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", b.script, err, out)
	}
	return nil
}

func (b *broker) signal(s syscall.Signal) error {
	text, err := os.ReadFile(filepath.Join(b.dir, "pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, s); err != nil {
		return fmt.Errorf("broker %d: %w", b.id, err)
	}
	return nil
}

// kill ends it as a crash would.
func (b *broker) kill() error {
	if err := b.signal(syscall.SIGKILL); err != nil {
		return err
	}
	for range 500 { // its ports tell; it may stay as a zombie process
		if free(b.port, portsOfBroker-1) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("broker %d: its ports from %d on are still in use after its end", b.id, b.port)
}

// brokers are a cluster. Of three each keeps all that is written, two of them before it is acknowledged, so that one may be away at a time.
type brokers []*broker

// newBrokers makes so many, which take free ports.
func newBrokers(n, from int, script, dir string) (brokers, error) {
	all := make(brokers, n)
	voters, replicas := make([]string, n), min(n, 3)
	for i := range all {
		port, err := freePorts(from)
		if err != nil {
			return nil, err
		}
		from = port + portsOfBroker
		all[i] = &broker{script: script, dir: filepath.Join(dir, fmt.Sprintf("kafka-%d", i+1)), id: i + 1, port: port}
		voters[i] = fmt.Sprintf("%d@%s", i+1, all[i].controller())
	}
	cluster := "controller.quorum.voters=" + strings.Join(voters, ",")
	for _, of := range []string{"default.replication.factor", "offsets.topic.replication.factor", "transaction.state.log.replication.factor"} {
		cluster += fmt.Sprintf("\n%s=%d", of, replicas)
	}
	for _, of := range []string{"min.insync.replicas", "transaction.state.log.min.isr"} {
		cluster += fmt.Sprintf("\n%s=%d", of, max(1, replicas-1))
	}
	for _, b := range all {
		b.cluster = cluster
	}
	return all, nil
}

// start starts all at once: none serves before most are there.
func (all brokers) start(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, b := range all {
		g.Go(func() error { return b.start(ctx) })
	}
	return g.Wait()
}

// kill ends all; their folders go anyway.
func (all brokers) kill() {
	for _, b := range all {
		_ = b.kill()
	}
}

func (all brokers) each(of func(*broker) string) []string {
	s := make([]string, len(all))
	for i, b := range all {
		s[i] = of(b)
	}
	return s
}

// direct are the addresses without faults.
func (all brokers) direct() []string { return all.each((*broker).direct) }

// faulty are those that daemons are told.
func (all brokers) faulty() []string { return all.each((*broker).faulty) }

// freePorts finds ports in a row for a broker.
func freePorts(from int) (int, error) {
	for port := from; port < from+800; port += 10 {
		if free(port, portsOfBroker) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports in a row from %d to %d", portsOfBroker, from, from+800)
}

func free(from, n int) bool {
	for port := from; port < from+n; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}
