package test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
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
	c := install(t, "minimal", map[string]any{
		"index": map[string]any{"spec": map[string]any{"partitions": 2}},
		"query": map[string]any{"replicas": 1},
	})
	c.doctor(t)
	c.stop(t)
}

// TestRunsGroups does so with groups: what merges them finds the rows of all shards, also when a node of each group is lost.
func TestRunsGroups(t *testing.T) {
	none := map[string]any{"secret": "", "clientCASecret": ""}
	c := install(t, "groups", map[string]any{
		"kafka":    map[string]any{"sasl": map[string]any{"mechanism": "none", "user": "", "existingSecret": ""}},
		"ingestor": map[string]any{"replicas": 1},
		"query": map[string]any{"replicas": 2, "tls": none, "config": map[string]any{"timeout": "20s"},
			"merging": map[string]any{"replicas": 1, "caSecret": "", "certSecret": ""}},
		"events": map[string]any{"config": map[string]any{"replication": 1}},
		"test":   map[string]any{"caSecret": "", "certSecret": ""},
	})
	c.doctor(t)
	ids := c.produce(t, 200)
	merging := "words-adastream-query-0"
	c.finds(t, merging, "/v1/search", ids)
	var found []string
	for shard := range 4 {
		of := c.search(t, fmt.Sprintf("words-adastream-query-%s-0", []string{"low", "high"}[shard/2]), fmt.Sprintf("/v1/shards/%d/search", shard), len(ids)+10)
		if len(of) == 0 {
			t.Errorf("shard %d has no rows", shard)
		}
		found = append(found, of...)
	}
	slices.Sort(found)
	if missing := without(ids, found); len(missing) > 0 || len(slices.Compact(found)) != len(found) {
		t.Errorf("shards do not have %v, or some row twice: %v", missing, found)
	}
	for _, lost := range []string{"words-adastream-query-low-0", "words-adastream-query-high-1"} {
		c.kill(t, lost)
		for range 10 { // who is asked first is drawn by lot
			c.finds(t, merging, "/v1/search", ids)
		}
	}
	c.stop(t)
}

// cluster is a release whose pods run as processes.
type cluster struct {
	*pods
	objects []object
	running map[string]*process // by name of the pod
}

type process struct {
	*exec.Cmd
	grace time.Duration
	log   bytes.Buffer
}

// install starts all pods of a release of a case, whose index gets a name of its own in the store and on the broker of the environment.
func install(t *testing.T, name string, over map[string]any) *cluster {
	t.Helper()
	brokers, server := os.Getenv("ADASTREAM_TEST_BROKERS"), os.Getenv("ADASTREAM_TEST_S3")
	if brokers == "" || server == "" {
		t.Skip("ADASTREAM_TEST_BROKERS and ADASTREAM_TEST_S3 are not set: .ci/run starts both")
	}
	s3, err := url.Parse(server)
	if err != nil || s3.User == nil {
		t.Fatalf("ADASTREAM_TEST_S3: want http://KEY:SECRET@host:port")
	}
	password, _ := s3.User.Password()
	index := "chart-" + strings.ToLower(rand.Text()[:12])
	values := cases(t)[name]
	merge(values, map[string]any{
		"index": map[string]any{"name": index, "create": true, "spec": map[string]any{
			"ladder": []any{8, 16}, "encoder": "e/1", "attribute": map[string]any{"class": "utf8"}}},
		"store": map[string]any{"url": fmt.Sprintf("s3://adastream-chart/%s?endpoint=http://%s", index, s3.Host), "existingSecret": "keys"},
		"kafka": map[string]any{"brokers": []any{brokers}},
		"query": map[string]any{"tokensSecret": "tokens", "drainSeconds": 2},
		"test":  map[string]any{"tokenSecret": "token"},
	})
	merge(values, over)
	files, err := render("words", values)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{objects: decode(t, files), running: map[string]*process{}, pods: &pods{bin: programs(t), dir: t.TempDir(), ports: map[string]string{}, topic: index, env: []string{
		"PATH=" + os.Getenv("PATH"), "AWS_ACCESS_KEY_ID=" + s3.User.Username(), "AWS_SECRET_ACCESS_KEY=" + password}}}
	c.tokens(t)
	all, config := workloads(t, c.objects), configs(t, c.objects)
	for component, w := range all {
		for pod := range *w.replicas {
			c.write(t, fmt.Sprintf("%s-%d", w.name, pod), component, config[component])
		}
	}
	c.write(t, "test", "test", config["test"])
	c.write(t, "init", "init", config["init"])
	for range 2 { // each ingestor's pod does that
		if out, err := c.command("init", all["ingestor"].pod.Spec.InitContainers[0]).CombinedOutput(); err != nil {
			t.Fatalf("init: %v\n%s", err, out)
		}
	}
	for _, w := range all {
		for pod := range *w.replicas {
			name := fmt.Sprintf("%s-%d", w.name, pod)
			p := &process{Cmd: c.command(name, w.container()), grace: time.Duration(*w.pod.Spec.TerminationGracePeriodSeconds) * time.Second}
			p.Stderr = &p.log
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			c.running[name] = p
			t.Cleanup(func() { _ = p.Process.Kill() })
		}
	}
	return c
}

// doctor runs the test's pod.
func (c *cluster) doctor(t *testing.T) {
	t.Helper()
	out, err := c.command("test", test(c.objects).Spec.Containers[0]).CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !bytes.Contains(out, []byte("ok   row is searchable")) {
		t.Errorf("the test's pod: %v", err)
	}
}

// stop ends all pods in the time that they have.
func (c *cluster) stop(t *testing.T) {
	t.Helper()
	for name, p := range c.running {
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("%s has ended: %v", name, err)
		}
	}
	for name, p := range c.running {
		late := time.AfterFunc(p.grace, func() { _ = p.Process.Kill() })
		if err := p.Wait(); err != nil {
			t.Errorf("%s: %v, want a clean end within %v", name, err, p.grace)
		}
		late.Stop()
	}
	if t.Failed() {
		for name, p := range c.running {
			t.Logf("%s:\n%s", name, &p.log)
		}
	}
}

// kill ends a pod as the loss of its machine would.
func (c *cluster) kill(t *testing.T, name string) {
	t.Helper()
	p := c.running[name]
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
	delete(c.running, name)
}

// produce sends rows to the index's topic, and returns their ids in order.
func (c *cluster) produce(t *testing.T, rows int) (ids []string) {
	t.Helper()
	var lines bytes.Buffer
	for i := range rows {
		ids = append(ids, fmt.Sprintf("row-%04d", i))
		fmt.Fprintf(&lines, `{"id":%q,"class":"a","vector":[%d,%d,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}`+"\n", ids[i], i%17-8, i%13-6)
	}
	file := filepath.Join(c.dir, "rows.jsonl")
	if err := os.WriteFile(file, lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(filepath.Join(c.bin, "adastream"), "produce", "--brokers="+os.Getenv("ADASTREAM_TEST_BROKERS"), "--topic="+c.topic, "--encoder=e/1", file)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("produce: %v\n%s", err, out)
	}
	return ids
}

// search returns the ids that a pod finds, in order.
func (c *cluster) search(t *testing.T, pod, path string, k int) (ids []string) {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(c.dir, "etc/token/token"))
	if err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"vector":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"k":%d,"exact":true}`, k)
	request, err := http.NewRequest("POST", "http://"+c.address(t, pod, ":8080")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var found struct {
		Hits []struct{ ID string }
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || json.Unmarshal(text, &found) != nil {
		t.Fatalf("%s%s: %s %v: %s", pod, path, answer.Status, err, text)
	}
	for _, hit := range found.Hits {
		ids = append(ids, hit.ID)
	}
	slices.Sort(ids)
	return ids
}

// finds waits until a pod finds all of some rows.
func (c *cluster) finds(t *testing.T, pod, path string, ids []string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		missing := without(ids, c.search(t, pod, path, len(ids)+10))
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not find %d of %d rows: %v", pod, len(missing), len(ids), missing)
		}
	}
}

// without returns those that are not among the found ones, which are in order.
func without(ids, found []string) (missing []string) {
	for _, id := range ids {
		if _, ok := slices.BinarySearch(found, id); !ok {
			missing = append(missing, id)
		}
	}
	return missing
}

// pods are processes that stand for containers.
type pods struct {
	bin, dir string
	topic    string
	ports    map[string]string // addresses on loopback by pod and its port
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

// peer is a shard and the pod that answers for it, in an address of one by its own name.
var peer = regexp.MustCompile(`^([0-9]+)=http://([a-z0-9-]+)\.[a-z0-9.-]+(:[0-9]+)$`)

// write puts a file of the ConfigMap where the container's arguments will find it.
func (p *pods) write(t *testing.T, pod, component string, config map[string]any) {
	t.Helper()
	config = maps.Clone(config)
	for _, key := range []string{"listen", "ops-listen"} {
		if port, ok := config[key].(string); ok {
			config[key] = p.address(t, pod, port)
		}
	}
	if config["cache-dir"] != nil {
		config["cache-dir"] = filepath.Join(p.dir, pod, "cache")
	}
	if config["url"] != nil {
		config["url"] = "http://" + p.address(t, "words-adastream-query-0", ":8080")
	}
	if peers, ok := config["peers"].([]any); ok {
		own := make([]any, len(peers))
		for i, text := range peers {
			of := peer.FindStringSubmatch(text.(string))
			if of == nil {
				t.Fatalf("peer %v", text)
			}
			own[i] = of[1] + "=http://" + p.address(t, of[2], of[3])
		}
		config["peers"] = own
	}
	data, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.ReplaceAll(data, []byte("/etc/adastream/"), []byte(filepath.Join(p.dir, "etc")+"/"))
	if err := os.MkdirAll(filepath.Join(p.dir, pod), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, pod, component+".yaml"), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *pods) address(t *testing.T, pod, port string) string {
	t.Helper()
	at := pod + port
	for p.ports[at] == "" { // of the ports below 32768: a connection may get one above before the pod listens
		n, err := rand.Int(rand.Reader, big.NewInt(22_768))
		if err != nil {
			t.Fatal(err)
		}
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+n.Int64())
		if slices.Contains(slices.Collect(maps.Values(p.ports)), address) {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue // somebody else's
		}
		p.ports[at] = address
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return p.ports[at]
}

func (p *pods) command(pod string, c corev1.Container) *exec.Cmd {
	args := slices.Clone(c.Command[1:])
	for _, arg := range c.Args {
		args = append(args, strings.Replace(arg, "/etc/adastream/config", filepath.Join(p.dir, pod), 1))
	}
	command := exec.Command(filepath.Join(p.bin, c.Command[0]), args...)
	command.Env = p.env
	return command
}
