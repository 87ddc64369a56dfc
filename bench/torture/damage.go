package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/adastream/adastream/bench/fleet"
	"github.com/adastream/adastream/schemas"
)

// Damage of an object in the store itself.
const (
	damageFlip = "flipped"
	damageCut  = "truncated"
	damageGone = "deleted"
	damageSwap = "swapped" // with another object of the generation

	damageCaught = "caught"
)

var damages = []string{damageFlip, damageCut, damageGone, damageSwap}

// vandal damages objects of a bucket and puts them back.
type vandal struct {
	bin    *fleet.Binaries
	place  string // of the store, without faults
	client minio.Core
	bucket string
}

func (v *vandal) get(ctx context.Context, key string) ([]byte, error) {
	body, _, _, err := v.client.GetObject(ctx, v.bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// put writes as the product does. Without its checksum the store vouches for what it has, so only the product can see damage.
func (v *vandal) put(ctx context.Context, key string, body []byte, checksum bool) error {
	o := minio.PutObjectOptions{DisableContentSha256: true} // the sum is passed in
	if checksum {
		crc := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
		o.UserMetadata = map[string]string{"X-Amz-Checksum-Crc32c": base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))}
	}
	sum := sha256.Sum256(body)
	_, err := v.client.PutObject(ctx, v.bucket, key, bytes.NewReader(body), int64(len(body)), "", hex.EncodeToString(sum[:]), o)
	return err
}

// spoil damages an object. repair undoes that.
func (v *vandal) spoil(ctx context.Context, key, other, kind string, rng *rand.Rand) (repair func(context.Context) error, err error) {
	body, err := v.get(ctx, key)
	if err != nil {
		return nil, err
	}
	bad := bytes.Clone(body)
	switch kind {
	case damageFlip:
		bit := rng.IntN(8 * len(bad))
		bad[bit/8] ^= 1 << (bit % 8)
	case damageCut:
		bad = bad[:rng.IntN(len(bad))]
	case damageSwap:
		if bad, err = v.get(ctx, other); err != nil {
			return nil, err
		}
	case damageGone:
		err = v.client.RemoveObject(ctx, v.bucket, key, minio.RemoveObjectOptions{})
	}
	if err == nil && kind != damageGone {
		err = v.put(ctx, key, bad, false)
	}
	return func(ctx context.Context) error { return v.put(ctx, key, body, true) }, err
}

// damage spoils objects of the served generation one after another. A node that starts must refuse each and name it, those that serve it
// go on, `adastream verify` names it too; then it is mended, and the new node goes on by itself. The builder rests, or it would make
// generations without the object.
func (c *campaign) damage(ctx context.Context, round int) error {
	if c.o.Damages == 0 {
		return nil
	}
	builder := c.member(roleBuilder, 0)
	if err := builder.stop(); err != nil {
		return fmt.Errorf("%s at SIGTERM: %w", builder.name, err)
	}
	channel, err := c.checker.log.Channel(ctx, 0)
	if err != nil {
		return err
	}
	m, err := c.checker.log.Manifest(ctx, channel.Generation)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(c.o.Seed, uint64(4000+round)))
	for i := range c.o.Damages {
		kind := damages[(round*c.o.Damages+i)%len(damages)]
		key, other := pick(m, kind, rng)
		if err := c.damageOne(ctx, m, key, other, kind, rng); err != nil {
			return fmt.Errorf("%s %s: %w", kind, key, err)
		}
	}
	return builder.start()
}

// pick draws two objects of a generation that are not the same. A record has no sum of its own, so a bit of one is the store's to keep.
func pick(m *schemas.Manifest, kind string, rng *rand.Rand) (key, other string) {
	var keys []string
	for _, c := range m.Chunks {
		keys = append(keys, c.Rows.Key, c.Codes.Key, c.Vectors.Key)
	}
	for _, s := range m.Segments {
		keys = append(keys, s.Key)
	}
	if m.Model != nil {
		keys = append(keys, m.Model.Key)
	}
	if m.Dead != nil {
		keys = append(keys, m.Dead.Key)
	}
	if kind != damageFlip {
		keys = append(keys, manifestKey(m.Generation))
	}
	order := rng.Perm(len(keys))
	return keys[order[0]], keys[order[1%len(order)]]
}

func manifestKey(generation int64) string { return fmt.Sprintf("manifests/0000/%020d", generation) }

func (c *campaign) damageOne(ctx context.Context, m *schemas.Manifest, key, other, kind string, rng *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := c.stillServed(ctx, m, rng); err != nil {
		return err
	}
	if err := os.RemoveAll(c.fresh.cache); err != nil {
		return err
	}
	repair, err := c.vandal.spoil(ctx, key, other, kind, rng)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.o.Out, "  %s: %s\n", kind, key)
	c.totals.count(kind)
	wrong := c.checker.wrong
	refusal := c.refusedBy(ctx, key)
	out, verdict := c.vandal.bin.Run(ctx, "adastream", "verify", "--store", c.vandal.place)
	named := verdict != nil && strings.Contains(out, key)
	if err := errors.Join(c.stillServed(ctx, m, rng), repair(ctx)); err != nil {
		return err
	}
	switch {
	case refusal != nil:
		c.totals.fault("%s %s: %v", kind, key, refusal)
	case !named:
		c.totals.fault("%s %s: adastream verify does not name it (%v):\n%s", kind, key, verdict, tail(out, 1500))
	case c.checker.wrong == wrong:
		c.totals.count(damageCaught)
	}
	if err := c.fresh.awaitReady(ctx); err != nil {
		return fmt.Errorf("mended again: %w", err)
	}
	err = c.checker.served(ctx, c.fresh, m, c.truth.items, rng, 20)
	c.fresh.kill()
	return err
}

// stillServed asks the nodes that serve.
func (c *campaign) stillServed(ctx context.Context, m *schemas.Manifest, rng *rand.Rand) error {
	for _, node := range c.clients.nodes {
		if err := c.checker.served(ctx, node, m, c.truth.items, rng, 20); err != nil {
			return err
		}
	}
	return nil
}

// refusedBy starts a node without a cache, which must say of an object that it cannot be served.
func (c *campaign) refusedBy(ctx context.Context, key string) error {
	if err := c.fresh.start(); err != nil {
		return err
	}
	last := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; pause(ctx, 50*time.Millisecond) {
		response, err := http.Get("http://" + c.fresh.ops + "/readyz")
		if err != nil {
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		switch last = string(body); {
		case err != nil:
			continue
		case response.StatusCode == http.StatusOK:
			return fmt.Errorf("a new node serves it: %s", last)
		case strings.Contains(last, key):
			return nil
		}
	}
	return fmt.Errorf("a new node does not name it, but says %q", last)
}
