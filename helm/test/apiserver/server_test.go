// Package apiserver asks the real ones: the chart's objects go to an API server of Kubernetes, with the resources of KEDA, the
// Prometheus Operator and the Gateway API, and the chart goes through the helm commands that people have.
//
// There are no controllers and no nodes, so nothing runs: what is tested is what the server admits, keeps and refuses to change.
// .ci/kubernetes.sh builds the servers and runs this; without its environment all tests are skipped.
package apiserver

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// The environment that .ci/kubernetes.sh makes.
const (
	serversEnv = "ADASTREAM_TEST_KUBERNETES" // folder of etcd and kube-apiserver
	helmEnv    = "ADASTREAM_TEST_HELM"       // helm commands, joined by colons
	crdEnv     = "ADASTREAM_TEST_CRDS"       // folders of custom resource definitions, joined by colons
)

const token = "of-the-test"

// cluster is a running API server.
type cluster struct {
	kubeconfig string
	warnings   warnings
	client     dynamic.Interface
	mapper     *restmapper.DeferredDiscoveryRESTMapper
}

// start runs etcd and an API server until the test ends.
func start(t *testing.T) *cluster {
	t.Helper()
	servers := os.Getenv(serversEnv)
	if servers == "" {
		t.Skipf("%s is not set: run .ci/kubernetes.sh", serversEnv)
	}
	dir := t.TempDir()
	etcd, peer, port := freePort(t), freePort(t), freePort(t)
	run(t, filepath.Join(servers, "etcd"), "--data-dir="+dir+"/etcd", "--listen-client-urls=http://127.0.0.1:"+etcd, "--advertise-client-urls=http://127.0.0.1:"+etcd,
		"--listen-peer-urls=http://127.0.0.1:"+peer, "--initial-advertise-peer-urls=http://127.0.0.1:"+peer, "--initial-cluster=default=http://127.0.0.1:"+peer, "--unsafe-no-fsync", "--log-level=error")
	write(t, dir+"/tokens", token+",admin,admin,system:masters\n")
	write(t, dir+"/accounts.key", accountKey(t))
	run(t, filepath.Join(servers, "kube-apiserver"), "--etcd-servers=http://127.0.0.1:"+etcd, "--bind-address=127.0.0.1", "--secure-port="+port, "--cert-dir="+dir+"/certs",
		"--token-auth-file="+dir+"/tokens", "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/16,fd00:10::/108",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+dir+"/accounts.key", "--service-account-signing-key-file="+dir+"/accounts.key",
		"--endpoint-reconciler-type=none") // it refuses a loopback address as its own otherwise
	address := "https://127.0.0.1:" + port
	config := &rest.Config{Host: address, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the API server is ready", func() bool {
		answer, err := client.Get(address + "/readyz")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	c := &cluster{kubeconfig: dir + "/kubeconfig"}
	config.WarningHandler = &c.warnings
	write(t, c.kubeconfig, fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "%s", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: %s}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`, address, token))
	if c.client, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))
	c.installCRDs(t)
	return c
}

// warnings are what the server says of what it takes all the same: fields that are deprecated, for example.
type warnings struct {
	mu    sync.Mutex
	texts []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

// take returns those since the last time.
func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	texts := w.texts
	w.texts = nil
	return texts
}

// installCRDs makes the custom resources known that the chart may have objects of.
func (c *cluster) installCRDs(t *testing.T) {
	t.Helper()
	for _, dir := range filepath.SplitList(os.Getenv(crdEnv)) {
		paths, err := filepath.Glob(dir + "/*.yaml")
		if err != nil || len(paths) == 0 {
			t.Fatalf("no definitions in %s: %v", dir, err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects(t, string(data)) {
				if o.GetKind() != "CustomResourceDefinition" {
					continue
				}
				if err := c.apply(t, "", o, false); err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				await(t, o.GetName()+" is known", func() bool { return c.established(t, o) })
			}
		}
	}
	c.mapper.Reset()
}

func (c *cluster) established(t *testing.T, crd *unstructured.Unstructured) bool {
	t.Helper()
	now := c.get(t, "", crd)
	conditions, _, _ := unstructured.NestedSlice(now.Object, "status", "conditions") // null at first
	for _, condition := range conditions {
		if m := condition.(map[string]any); m["type"] == "Established" && m["status"] == "True" {
			return true
		}
	}
	return false
}

// run runs a server until the test ends, and shows what it says if that fails.
func run(t *testing.T, command string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	process := exec.CommandContext(context.WithoutCancel(t.Context()), command, args...)
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill() // it may have ended
		_ = process.Wait()
		log.Close()
		if said, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s says\n%s", filepath.Base(command), said[max(0, len(said)-4000):])
		}
	})
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func accountKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := pem.Encode(&out, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
