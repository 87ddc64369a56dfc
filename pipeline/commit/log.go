package commit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Log is an index in a bucket, or one shard of it. It may be used concurrently, and any number of processes may have the same one
// open. Records that it returns are shared and must not be changed.
type Log struct {
	root   store.Bucket // of the index
	bucket store.Bucket // the same; the shard's folder of it if there are several
	spec   *schemas.Spec
	shard  int

	news *news

	pageParts int // that a page has at most
	pages     *pageMemory

	mu         sync.Mutex
	tails      map[int]*schemas.Commit // partition -> the furthest record of its chain that was seen
	newest     edition                 // the newest generation that was seen
	collection *schemas.Collection     // the newest that was seen, nil for none
	looked     bool                    // for collections, at least once
	tells      map[int]telling         // by partition, of the collections up to heard
	heard      int64
}

// Create makes an index. It succeeds if the index is there already with the same spec; another spec is an error that
// wraps store.ErrExists. What is left of an index whose spec is gone is refused too: its records would be taken for those of the new one.
func Create(ctx context.Context, b store.Bucket, spec *schemas.Spec) error {
	if err := spec.Validate(); err != nil {
		return fmt.Errorf("create index: spec: %w", err)
	}
	if left, err := leftover(ctx, b); err != nil {
		return fmt.Errorf("create index %s: %w", b, err)
	} else if left != "" {
		return fmt.Errorf("create index %s: there is no %s, but %s, of an index that was removed while something wrote to it: remove all of it, or choose another place", b, specKey, left)
	}
	err := put(ctx, b, specKey, spec)
	if !errors.Is(err, store.ErrExists) {
		return err
	}
	there, readErr := get(ctx, b, specKey, schemas.ParseSpec)
	if readErr != nil {
		return readErr
	}
	if !reflect.DeepEqual(there, spec) {
		return fmt.Errorf("create index %s: there is one with another spec, %s: %w", spec, there, err)
	}
	return nil
}

// leftover is a record of an index that has no spec, "" if there is none.
func leftover(ctx context.Context, b store.Bucket) (string, error) {
	for _, prefix := range []string{allCommits, manifestsPrefix, channelPrefix, collectionsPrefix, allShards} {
		for info, err := range b.List(ctx, prefix, "") {
			if err != nil {
				return "", err
			}
			_, err := b.Stat(ctx, specKey)
			if errors.Is(err, store.ErrNotFound) {
				return info.Key, nil
			}
			return "", err
		}
	}
	return "", nil
}

// Open opens the index that Create made, which has one shard. If there is none, the error wraps store.ErrNotFound.
func Open(ctx context.Context, b store.Bucket) (*Log, error) {
	shards, err := OpenShards(ctx, b)
	if err != nil {
		return nil, err
	}
	if n := len(shards); n > 1 {
		return nil, fmt.Errorf("index in %s: it has %d shards: choose one, allowed: 0 to %d", b, n, n-1)
	}
	return shards[0], nil
}

// OpenShards opens the shards of the index that Create made, in their order. If there is none, the error wraps
// store.ErrNotFound.
func OpenShards(ctx context.Context, b store.Bucket) ([]*Log, error) {
	spec, err := get(ctx, b, specKey, schemas.ParseSpec)
	if err != nil {
		return nil, fmt.Errorf("open index in %s: %w", b, err)
	}
	if spec.Shards == 1 {
		return []*Log{over(b, b, spec, 0)}, nil
	}
	shards := make([]*Log, spec.Shards)
	for i := range shards {
		shards[i] = over(b, store.Under(b, shardFolder(i)), spec, i)
	}
	return shards, nil
}

func over(root, b store.Bucket, spec *schemas.Spec, shard int) *Log {
	l := &Log{news: &news{}, root: root, bucket: b, spec: spec, shard: shard, pageParts: pageParts, pages: &pageMemory{pages: map[string]*page{}}, tails: map[int]*schemas.Commit{}, tells: map[int]telling{}}
	for _, partition := range l.Partitions() {
		l.tells[partition] = telling{}
	}
	return l
}

// Over is the same index, opened anew, by way of another bucket that has the same objects: one that counts what is asked of it,
// for example.
func (l *Log) Over(b store.Bucket) *Log {
	again := over(l.root, b, l.spec, l.shard)
	again.pageParts, again.news = l.pageParts, l.news
	return again
}

// WithPages is the same index, opened anew, for generations with pages of at most so many parts: for tests, in which even a small
// one is to have some. Reading does not depend on it.
func (l *Log) WithPages(parts int) *Log {
	again := l.Over(l.bucket)
	again.pageParts = parts
	return again
}

// Spec is the index's spec.
func (l *Log) Spec() *schemas.Spec { return l.spec }

// Shard is which one of the index it is.
func (l *Log) Shard() int { return l.shard }

// Partitions are those of the shard, ascending, of the topic and of loads: it has the chains of these only.
func (l *Log) Partitions() []int { return l.spec.PartitionsOf(l.shard) }

// has reports whether a partition is of the shard.
func (l *Log) has(partition int) bool {
	return l.spec.HasPartition(partition) && l.spec.ShardOf(partition) == l.shard
}

// allowed says which partitions are.
func (l *Log) allowed() string {
	last := l.spec.EndPartition() - 1
	if l.spec.Shards == 1 {
		return fmt.Sprintf("0 to %d", last)
	}
	if l.spec.Loads > 0 {
		return fmt.Sprintf("%v, those of shard %d", l.Partitions(), l.shard)
	}
	return fmt.Sprintf("%d to %d in steps of %d, those of shard %d", l.shard, last, l.spec.Shards, l.shard)
}

// Bucket is where the index is, or the shard if there are several.
func (l *Log) Bucket() store.Bucket { return l.bucket }

// encode is the one way in which records become bytes: compact JSON in the order of the Go fields, and a newline.
func encode(record any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(record)
	return b.Bytes(), err
}

// put creates a record. The error wraps store.ErrExists if another one is there.
func put(ctx context.Context, b store.Bucket, key string, record any) error {
	body, err := encode(record)
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	return b.PutIfAbsent(ctx, key, body)
}

// get reads a record. Bytes that parse refuses are corrupt: nothing else may be under a key of ours.
func get[T any](ctx context.Context, b store.Bucket, key string, parse func([]byte) (*T, error)) (*T, error) {
	body, err := b.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	record, err := parse(body)
	if err != nil {
		return nil, corrupt(key, err)
	}
	return record, nil
}

func corrupt(key string, why error) error {
	return fmt.Errorf("%w: %s: %w", schemas.ErrCorrupt, key, why)
}
