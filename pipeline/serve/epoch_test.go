package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

const (
	epochName    = "f-1"
	epochEncoder = "f"
	epochDim     = 8
)

// newEpoch makes an epoch of another encoder and width, which its own builder publishes.
func (p *publisher) newEpoch() *publisher {
	p.t.Helper()
	spec := schemas.Spec{Name: "test-f", Ladder: []int{4, epochDim}, Encoder: epochEncoder, Topic: schemas.Topic{Name: "u", Partitions: 1},
		Attributes: []schemas.Attribute{{Name: "shape", Type: schemas.AttributeString}}}.WithDefaults()
	return newPublisherIn(p.t, store.Under(p.bucket, "epochs/"+epochName), &spec)
}

// follow lets the channel name the epoch, as an operator does.
func (p *publisher) follow() {
	p.t.Helper()
	var err error
	if p.served, err = p.log.Promote(p.t.Context(), p.served, schemas.Channel{Epoch: epochName, Reason: "new encoder", By: "mara@ops"}); err != nil {
		p.t.Fatal(err)
	}
}

// awaitServed waits until n serves a generation of an epoch, of the root if that is empty, and has counted the swap, which
// comes after.
func (p *publisher) awaitServed(n *Node, epoch string, generation int64) {
	p.t.Helper()
	is := func() bool {
		swaps := n.recent.list()
		return len(swaps) > 0 && swaps[0].Epoch == epoch && swaps[0].Generation == generation
	}
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("does not serve generation %d of epoch %q after a minute: %v", generation, epoch, n.Stale())
		}
	}
}

// encoderClient asks with the queries of one encoder.
type encoderClient struct {
	encoder, epoch string
	dim            int
	names          bool // names the encoder in its requests

	answered, refused atomic.Int64
}

func (c *encoderClient) told() int64 { return c.answered.Load() + c.refused.Load() }

// ask searches once. An answer must be of this encoder through and through and whole, generation g having g rows, and a
// refusal must say which encoder is right.
func (c *encoderClient) ask(api http.Handler, seed int) error {
	request := map[string]any{"vector": unit(seed)[:c.dim], "k": 100, "include_vector": true}
	if c.names {
		request["encoder"] = c.encoder
	}
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	w := call(api, http.MethodPost, "/v1/search", string(body))
	if w.Code != http.StatusOK {
		c.refused.Add(1)
		return c.checkRefusal(w.Code, w.Body.Bytes())
	}
	c.answered.Add(1)
	var a answerJSON
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		return err
	}
	if s := a.Snapshot; s.Encoder != c.encoder || s.Epoch != c.epoch || int64(len(a.Hits)) != s.Generation || a.Usage.Dims != c.dim {
		return fmt.Errorf("asked by %s: %d hits of %d dimensions from %+v", c.encoder, len(a.Hits), a.Usage.Dims, s)
	}
	for _, h := range a.Hits {
		if len(h.Vector) != c.dim {
			return fmt.Errorf("asked by %s: a hit of %d dimensions", c.encoder, len(h.Vector))
		}
	}
	return nil
}

func (c *encoderClient) checkRefusal(status int, body []byte) error {
	var p problem
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	other, otherDim := epochEncoder, epochDim
	if c.encoder == epochEncoder {
		other, otherDim = "e", testDim
	}
	want := problem{Status: http.StatusConflict, Code: codeEncoder, Detail: fmt.Sprintf("encoder: %q", c.encoder), Allowed: other}
	if !c.names {
		allowed := fmt.Sprintf("%d values of encoder %s", otherDim, other)
		want = problem{Status: http.StatusBadRequest, Code: codeInvalid, Detail: fmt.Sprintf("vector: %d values, allowed: %s", c.dim, allowed), Allowed: allowed}
	}
	p.Type, p.Title = "", ""
	if p != want || status != p.Status {
		return fmt.Errorf("asked by %s: %d %+v, want %+v", c.encoder, status, p, want)
	}
	return nil
}

// Clients of both encoders search all along while an epoch of another encoder and width is promoted, gets generations of its
// own, is rolled back and promoted again. Each answer is of one encoder and one generation, and what is refused is refused
// because it was asked by the other encoder.
func TestNoQueryMixesEncoders(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 1)
	epoch := p.newEpoch()
	epoch.add(0, 1)
	n := p.node(Options{})
	p.awaitServed(n, "", 1)

	var all []*encoderClient
	for _, names := range []bool{false, true} {
		all = append(all, &encoderClient{encoder: "e", dim: testDim, names: names},
			&encoderClient{encoder: epochEncoder, epoch: epochName, dim: epochDim, names: names})
	}
	ended := make(chan struct{})
	var running sync.WaitGroup
	stop := sync.OnceFunc(func() { close(ended); running.Wait() })
	defer stop()
	for i, c := range all {
		running.Go(func() {
			for seed := i * 1000; ; seed++ {
				select {
				case <-ended:
					return
				default:
				}
				if err := c.ask(n.API(), seed); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	// some waits until each client has asked since, and was told.
	some := func() {
		deadline := time.Now().Add(time.Minute)
		for _, c := range all {
			for before := c.told(); c.told() < before+2; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("asked by %s: nothing was told for a minute", c.encoder)
				}
			}
		}
	}
	for range 5 {
		some()
		p.follow()
		p.awaitServed(n, epochName, epoch.m.Generation)
		some()
		for range 3 {
			rows := int(epoch.m.LiveRows)
			epoch.add(rows, rows+1)
		}
		p.awaitServed(n, epochName, epoch.m.Generation)
		some()
		p.serve(p.m.Generation)
		p.awaitServed(n, "", p.m.Generation)
		some()
		rows := int(p.m.LiveRows)
		p.add(rows, rows+1)
		p.awaitServed(n, "", p.m.Generation)
	}
	stop()
	for _, c := range all {
		if c.answered.Load() < 5 || c.refused.Load() < 5 {
			t.Errorf("asked by %s: %d answers, %d refusals", c.encoder, c.answered.Load(), c.refused.Load())
		}
	}
}

// What a node tells of itself is of the epoch that it serves: spec, attributes, metrics, page. A node that starts follows
// the epoch at once.
func TestEpochIsTold(t *testing.T) {
	p := newPublisher(t)
	p.add(0, 3)
	epoch := p.newEpoch()
	epoch.add(0, 5)
	p.follow()
	n := p.node(Options{})
	p.awaitServed(n, epochName, 1)
	for path, want := range map[string][]string{
		"/v1/snapshots":    {`"index":"test-f"`, `"epoch":"f-1"`, `"encoder":"f"`, `"ladder":[4,8]`, `"live_rows":5`},
		"/v1/vectors/id-4": {`"attributes":{"shape":null}`, `"epoch":"f-1"`},
	} {
		w := call(n.API(), http.MethodGet, path, "")
		for _, s := range want {
			if !strings.Contains(w.Body.String(), s) {
				t.Errorf("%s does not have %s: %s", path, s, w.Body)
			}
		}
	}
	if w := call(n.API(), http.MethodPost, "/v1/search", `{"like":"id-1","fields":["color"]}`); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `"allowed":"shape"`) {
		t.Errorf("an attribute of the root: %d %s", w.Code, w.Body)
	}
	told := func(metric, epoch string) {
		t.Helper()
		w := call(n.Ops(), http.MethodGet, "/metrics", "")
		if !strings.Contains(w.Body.String(), metric+" 1") || strings.Count(w.Body.String(), "adastream_query_encoder_info{") != 1 {
			t.Errorf("/metrics, want %s alone:\n%s", metric, w.Body)
		}
		if v := n.View(); v.Manifest == nil || v.Manifest.Generation != 1 || v.Epoch != epoch || v.Swaps[0].Epoch != epoch {
			t.Errorf("the view is of %+v, want generation 1 of epoch %q", v, epoch)
		}
	}
	told(`adastream_query_encoder_info{encoder="f",epoch="f-1"}`, "f-1")
	p.serve(1)
	p.awaitServed(n, "", 1)
	told(`adastream_query_encoder_info{encoder="e",epoch=""}`, "")
}

// A node that cannot load an epoch goes on with what it has and says why, until the epoch is mended or the operator goes back.
func TestEpochThatCannotBeLoaded(t *testing.T) {
	for name, mend := range map[string]func(p *publisher, restore func(), n *Node){
		"mended": func(p *publisher, restore func(), n *Node) {
			restore()
			p.awaitServed(n, epochName, 1)
		},
		"rolled back": func(p *publisher, _ func(), n *Node) {
			p.add(1, 2)
			p.awaitServed(n, "", 2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t)
			p.add(0, 1)
			epoch := p.newEpoch()
			o := epoch.put(0, 5)
			body, err := epoch.bucket.Get(t.Context(), o.Key)
			if err != nil {
				t.Fatal(err)
			}
			damaged := slices.Clone(body)
			damaged[len(damaged)/2] ^= 0x10
			epoch.replace(o.Key, damaged)
			epoch.publish()
			n := p.node(Options{})
			p.awaitServed(n, "", 1)
			p.follow()
			err = n.Stale()
			for ; err == nil; err = n.Stale() {
				time.Sleep(time.Millisecond)
			}
			if !strings.Contains(err.Error(), "generation 1 of epoch f-1") || !strings.Contains(err.Error(), o.Key) {
				t.Errorf("stale because %v, want the epoch and %s", err, o.Key)
			}
			c := &encoderClient{encoder: "e", dim: testDim, names: true}
			if err := c.ask(n.API(), 1); err != nil || c.answered.Load() != 1 {
				t.Errorf("the root is not served: %d answers, %v", c.answered.Load(), err)
			}
			mend(p, func() { epoch.replace(o.Key, body) }, n)
			for n.Stale() != nil {
				time.Sleep(time.Millisecond)
			}
		})
	}
}
