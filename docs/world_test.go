package docs

import (
	"bytes"
	"context"
	"fmt"
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

	"github.com/google/uuid"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/pipeline/store/storetest"
)

// pythonEnv names the directory of a python that has pyarrow and requests.
const pythonEnv = "ADASTREAM_TEST_PYTHON"

// own are the pages that make an index of their own. Others find one that runs, words.
var own = []string{"../README.md", "operations.md", "quickstart.md", "messages.md"}

// words is how that index is made. It has the generations 1 and 2, and the rows of broken.arrow in quarantine.
var words = &block{page: "words", commands: []string{
	"adastream init --store=s3://vectors/words --brokers=kafka:9092 --name=words --ladder=64,128,256 --encoder=my-model/1" +
		" --attribute=class=utf8 --attribute=lang=utf8 --attribute=price=float64",
	"ingestor --store=s3://vectors/words --brokers=kafka:9092",
	"builder --store=s3://vectors/words",
	"query --store=s3://vectors/words",
	"adastream produce --brokers=kafka:9092 --topic=words rows.arrow",
	"adastream search --like=guitar",
	"adastream produce --brokers=kafka:9092 --topic=words broken.arrow",
	"adastream snapshot show --store=s3://vectors/words 2",
}}

// world is what pages find: programs, a broker, and the index words, whose daemons run until its test ends.
type world struct {
	*testing.T
	bin    string // directory of the programs
	broker string
	words  *session
}

// session runs the commands of a page in a directory of its own.
type session struct {
	*testing.T
	dir     string
	broker  string
	place   string // of the index
	name    string // end of its name, so that it is alone on a real broker
	api     string // of the node that the page asks,
	node    string // and of the one that it starts
	ops     string
	kafka   string // of the broker of standalone
	env     []string
	daemons []*daemon
}

// table is what is replaced in the commands of pages; nothing else is.
func (s *session) table() *strings.Replacer {
	here, err := os.Getwd()
	if err != nil {
		s.Fatal(err)
	}
	return strings.NewReplacer(
		"docs/search.py", filepath.Join(here, "search.py"),
		"docs/read_index.py", filepath.Join(here, "read_index.py"),
		"s3://vectors/words?endpoint=http://127.0.0.1:9000", s.place,
		"s3://vectors/words", s.place,
		"s3://bucket/prefix", s.place,
		"s3://bucket/other", s.place+"-other",
		"kafka:9092", s.broker,
		"127.0.0.1:9094", s.kafka,
		"=words", "=words-"+s.name, // names and topics
		"=docs", "=docs-"+s.name,
		"=books", "=books-"+s.name,
		"/var/cache/adastream", filepath.Join(s.dir, "cache"),
		"node:8080", s.node,
		"localhost:8080", s.api,
		"127.0.0.1:8080", s.api,
		"=:8080", "="+s.node,
		"=:9093", "="+s.ops,
		" 1233", " 1", // generations
		" 1234", " 2",
		"1207", "1", // offset of broken.arrow in partition 3
	)
}

// page runs the blocks of a page that are to be run.
func (w *world) page(t *testing.T, page string, blocks []*block, files map[string]string) {
	blocks = slices.DeleteFunc(slices.Clone(blocks), func(b *block) bool { return b.notRun != "" })
	if len(blocks) == 0 {
		return
	}
	if w.broker == "" {
		w.broker = sourcetest.Brokers(w.T)[0]
	}
	s := &session{T: t}
	if slices.Contains(own, page) {
		s.open(w, storetest.URL(t), uuid.NewString()[:8], "")
	} else {
		if w.words == nil {
			w.words = &session{T: w.T}
			w.words.open(w, storetest.URL(w.T), uuid.NewString()[:8], "")
			w.words.block(words)
		}
		s.open(w, w.words.place, w.words.name, w.words.api)
		s.block(&block{page: page, commands: []string{"adastream snapshot promote --store=s3://vectors/words 2"}}) // unpins too
		defer func() { w.words.alive(t) }()
	}
	for name, text := range files {
		s.write(name, []byte(text))
	}
	for _, b := range blocks {
		if b.python && os.Getenv(pythonEnv) == "" {
			t.Skipf("%s is not set: nothing was run from line %d on", pythonEnv, b.line)
		}
		s.block(b)
	}
	s.alive(t)
}

// open makes the place of work for an index at place; api is the node that serves it already, if one does.
func (s *session) open(w *world, place, name, api string) {
	s.Helper()
	u, err := url.Parse(place)
	if err != nil {
		s.Fatal(err)
	}
	if q := u.Query(); q.Has("endpoint") { // the environment can say it too, and pages add to the path
		s.Setenv("AWS_ENDPOINT_URL_S3", q.Get("endpoint"))
		s.Setenv("AWS_REGION", q.Get("region"))
		u.RawQuery = ""
	}
	s.dir, s.broker, s.place, s.name = s.TempDir(), w.broker, u.String(), name
	s.node, s.ops, s.kafka = s.address(), s.address(), s.address()
	if s.api = api; api == "" {
		s.api = s.node
	}
	_, port, _ := strings.Cut(s.kafka, ":")
	s.env = append(os.Environ(), "HOME="+s.dir, "PATH="+w.bin+":"+os.Getenv(pythonEnv)+":"+os.Getenv("PATH"),
		"ADASTREAM_URL=http://"+s.api, "ADASTREAM_KAFKA_PORT="+port, "SSL_CERT_FILE="+filepath.Join(s.dir, "tls.crt"))
	s.write(".curlrc", []byte("fail-with-body\ncacert = "+filepath.Join(s.dir, "tls.crt")+"\n"))
	s.write("variables", nil)
	s.rows()
	s.certificate()
}

// waits are the commands that find what was produced before them, once it is there.
var waits = regexp.MustCompile(`^(curl|adastream (search|snapshot|quarantine show|doctor))\b`)

// block runs commands one after the other: daemons until the test ends, others to their end. Variables stay.
func (s *session) block(b *block) {
	s.Helper()
	table := s.table()
	for _, command := range slices.Concat(b.first, b.commands) {
		text := table.Replace(command)
		call := assignments.ReplaceAllString(command, "")
		var err error
		if p := program(command); slices.Contains(ourPrograms, p) && (p != "adastream" || strings.HasPrefix(call, "adastream standalone")) {
			err = s.start(p, text)
		} else {
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
				if err = s.command(text); err == nil || !waits.MatchString(call) || time.Now().After(deadline) {
					break
				}
			}
		}
		if err != nil {
			s.Fatalf("%sdoes not work:\n    %s\n%v", b, text, err)
		}
	}
}

func (s *session) command(text string) error {
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	c := s.bash(ctx, text+"\nexport -p > variables")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// bash runs text after what commands before it have set.
func (s *session) bash(ctx context.Context, text string) *exec.Cmd {
	c := exec.CommandContext(ctx, "bash", "-c", ". ./variables; set -ae\n"+text)
	c.Dir, c.Env = s.dir, s.env
	return c
}

// daemon is a process that a page has started.
type daemon struct {
	text string
	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan struct{} // closed when it has ended; then err and log may be read
	err  error
}

var opsFlag = regexp.MustCompile(`--ops-listen=(\S+)`)

// start starts a daemon and waits until it lives.
func (s *session) start(name, text string) error {
	ops := s.address()
	d := &daemon{text: text, cmd: s.bash(context.WithoutCancel(s.Context()), text), done: make(chan struct{})}
	listen := s.node
	if len(s.daemons) > 0 && slices.ContainsFunc(s.daemons, func(o *daemon) bool { return program(o.text) == name }) {
		listen = s.address()
	}
	d.cmd.Env = append(d.cmd.Env, "ADASTREAM_OPS_LISTEN="+ops, "ADASTREAM_LISTEN="+listen, "ADASTREAM_CACHE_DIR="+s.TempDir())
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.done)
	}()
	s.daemons = append(s.daemons, d)
	s.Cleanup(func() {
		_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
		<-d.done
		if s.Failed() {
			s.Logf("---- log of %s\n%s", text, d.log.String()[max(0, d.log.Len()-4000):])
		}
	})
	if f := opsFlag.FindStringSubmatch(text); f != nil {
		ops = f[1]
	}
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	go func() {
		select {
		case <-d.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return fleet.AwaitOK(ctx, "http://"+ops+"/livez")
}

// alive checks that the daemons have not ended.
func (s *session) alive(t *testing.T) {
	t.Helper()
	for _, d := range s.daemons {
		select {
		case <-d.done:
			t.Errorf("%s\nhas ended: %v\n%s", d.text, d.err, d.log.String())
		default:
		}
	}
}

func (s *session) address() string {
	s.Helper()
	a, err := fleet.Address()
	if err != nil {
		s.Fatal(err)
	}
	return a
}

func (s *session) write(name string, text []byte) {
	s.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), text, 0o600); err != nil {
		s.Fatal(err)
	}
}
