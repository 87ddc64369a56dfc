package test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestRuns starts what the pods would, with the commands, arguments, variables and files that the chart gives them, over a real broker
// and a real S3 server; then it runs what `helm test` would, and stops them as Kubernetes does. What stands for the cluster are
// ports on loopback, a directory for each volume and the content of the secrets.
func TestRuns(t *testing.T) {
	brokers, server := os.Getenv("ADASTREAM_TEST_BROKERS"), os.Getenv("ADASTREAM_TEST_S3")
	if brokers == "" || server == "" {
		t.Skip("ADASTREAM_TEST_BROKERS and ADASTREAM_TEST_S3 are not set: .ci/run starts both")
	}
	s3, err := url.Parse(server)
	if err != nil || s3.User == nil {
		t.Fatalf("ADASTREAM_TEST_S3: want http://KEY:SECRET@host:port")
	}
	password, _ := s3.User.Password()
	name := "chart-" + strings.ToLower(rand.Text()[:12])
	values := cases(t)["minimal"]
	merge(values, map[string]any{
		"index": map[string]any{"name": name, "create": true, "spec": map[string]any{
			"ladder": []any{8, 16}, "encoder": "e/1", "partitions": 2, "attribute": map[string]any{"class": "utf8"}}},
		"store": map[string]any{"url": fmt.Sprintf("s3://adastream-chart/%s?endpoint=http://%s", name, s3.Host), "existingSecret": "keys"},
		"kafka": map[string]any{"brokers": []any{brokers}},
		"query": map[string]any{"tokensSecret": "tokens", "drainSeconds": 2},
		"test":  map[string]any{"tokenSecret": "token"},
	})
	files, err := render("words", values)
	if err != nil {
		t.Fatal(err)
	}
	p := &pods{bin: programs(t), dir: t.TempDir(), ports: map[string]string{}, env: []string{
		"PATH=" + os.Getenv("PATH"), "AWS_ACCESS_KEY_ID=" + s3.User.Username(), "AWS_SECRET_ACCESS_KEY=" + password}}
	p.tokens(t)
	objects := decode(t, files)
	for component, config := range configs(t, objects) {
		p.write(t, component, config)
	}

	all := workloads(t, objects)
	ingestor := all["ingestor"]
	for range 2 { // each ingestor's pod does that
		if out, err := p.command(ingestor.pod.Spec.InitContainers[0]).CombinedOutput(); err != nil {
			t.Fatalf("init: %v\n%s", err, out)
		}
	}
	running := map[string]*exec.Cmd{}
	logs := map[string]*bytes.Buffer{}
	for component, w := range all {
		command := p.command(w.container())
		logs[component] = &bytes.Buffer{}
		command.Stderr = logs[component]
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		running[component] = command
		t.Cleanup(func() { _ = command.Process.Kill() })
	}
	out, err := p.command(test(objects).Spec.Containers[0]).CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !bytes.Contains(out, []byte("ok   row is searchable")) {
		t.Errorf("the test's pod: %v", err)
	}
	for component, command := range running {
		grace := time.Duration(*all[component].pod.Spec.TerminationGracePeriodSeconds) * time.Second
		if err := command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		late := time.AfterFunc(grace, func() { _ = command.Process.Kill() })
		if err := command.Wait(); err != nil {
			t.Errorf("%s: %v, want a clean end within %v", component, err, grace)
		}
		late.Stop()
		if t.Failed() {
			t.Logf("%s:\n%s", component, logs[component])
		}
	}
}

// pods are processes that stand for containers.
type pods struct {
	bin, dir string
	ports    map[string]string // addresses on loopback by port of the pod
	env      []string
}

// tokens makes what the secrets hold: a token, and the file that knows it.
func (p *pods) tokens(t *testing.T) {
	t.Helper()
	for _, name := range []string{"token", "tokens"} {
		if err := os.MkdirAll(filepath.Join(p.dir, "etc", name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(filepath.Join(p.bin, "adastream"), "token", "new", "doctor", "--scope=search", "--tokens-file="+filepath.Join(p.dir, "etc/tokens/tokens")).Output()
	if err != nil {
		t.Fatal(err)
	}
	token := regexp.MustCompile(`adst_\S+`).Find(out)
	if err := os.WriteFile(filepath.Join(p.dir, "etc/token/token"), token, 0o600); err != nil {
		t.Fatal(err)
	}
}

// write puts a file of the ConfigMap where the container's arguments will find it.
func (p *pods) write(t *testing.T, component string, config map[string]any) {
	t.Helper()
	for _, key := range []string{"listen", "ops-listen"} {
		if port, ok := config[key].(string); ok {
			config[key] = p.address(t, port)
		}
	}
	if config["cache-dir"] != nil {
		config["cache-dir"] = filepath.Join(p.dir, component)
	}
	if config["url"] != nil {
		config["url"] = "http://" + p.address(t, ":8080")
	}
	data, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.ReplaceAll(data, []byte("/etc/adastream/"), []byte(filepath.Join(p.dir, "etc")+"/"))
	if err := os.WriteFile(filepath.Join(p.dir, component+".yaml"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *pods) address(t *testing.T, port string) string {
	t.Helper()
	if p.ports[port] == "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p.ports[port] = l.Addr().String()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return p.ports[port]
}

func (p *pods) command(c corev1.Container) *exec.Cmd {
	args := slices.Clone(c.Command[1:])
	for _, arg := range c.Args {
		args = append(args, strings.Replace(arg, "/etc/adastream/config", p.dir, 1))
	}
	command := exec.Command(filepath.Join(p.bin, c.Command[0]), args...)
	command.Env = p.env
	return command
}
