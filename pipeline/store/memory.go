package store

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is a bucket in the memory of this process, for tests and experiments.
type Memory struct {
	mu      sync.RWMutex
	objects map[string]memoryObject
}

type memoryObject struct {
	body     []byte // never changed, so readers need no lock
	modified time.Time
}

// NewMemory returns an empty bucket.
func NewMemory() *Memory { return &Memory{objects: map[string]memoryObject{}} }

// String is always the same: memory buckets have no name.
func (m *Memory) String() string { return "mem://" }

// PutIfAbsent implements Bucket.
func (m *Memory) PutIfAbsent(ctx context.Context, key string, body []byte) error {
	if err := begin(ctx, key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if there, ok := m.objects[key]; ok {
		if bytes.Equal(there.body, body) {
			return nil
		}
		return fmt.Errorf("put mem://%s: %w", key, ErrExists)
	}
	m.objects[key] = memoryObject{bytes.Clone(body), time.Now()}
	return nil
}

// Get implements Bucket.
func (m *Memory) Get(ctx context.Context, key string) ([]byte, error) {
	object, err := m.find(ctx, "get", key)
	if err != nil {
		return nil, err
	}
	return append([]byte{}, object.body...), nil
}

// Open implements Bucket.
func (m *Memory) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	object, err := m.find(ctx, "open", key)
	if err != nil {
		return nil, 0, err
	}
	return io.NopCloser(bytes.NewReader(object.body)), int64(len(object.body)), nil
}

// Range implements Bucket.
func (m *Memory) Range(ctx context.Context, key string, at, n int64) ([]byte, error) {
	object, err := m.find(ctx, "range", key)
	if err != nil {
		return nil, err
	}
	if at+n > int64(len(object.body)) {
		return nil, short("mem://"+key, at, n)
	}
	return bytes.Clone(object.body[at : at+n]), nil
}

// Stat implements Bucket.
func (m *Memory) Stat(ctx context.Context, key string) (Info, error) {
	object, err := m.find(ctx, "stat", key)
	if err != nil {
		return Info{}, err
	}
	return Info{key, int64(len(object.body)), object.modified}, nil
}

func (m *Memory) find(ctx context.Context, op, key string) (memoryObject, error) {
	if err := begin(ctx, key); err != nil {
		return memoryObject{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	object, ok := m.objects[key]
	if !ok {
		return memoryObject{}, fmt.Errorf("%s mem://%s: %w", op, key, ErrNotFound)
	}
	return object, nil
}

// List implements Bucket. It shows the objects of the moment it began.
func (m *Memory) List(ctx context.Context, prefix, startAfter string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		m.mu.RLock()
		objects := maps.Clone(m.objects)
		m.mu.RUnlock()
		for _, key := range slices.Sorted(maps.Keys(objects)) {
			if !strings.HasPrefix(key, prefix) || key <= startAfter {
				continue
			}
			if err := ctx.Err(); err != nil {
				yield(Info{}, fmt.Errorf("list mem://%s: %w", prefix, err))
				return
			}
			object := objects[key]
			if !yield(Info{key, int64(len(object.body)), object.modified}, nil) {
				return
			}
		}
	}
}

// Delete implements Bucket.
func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := begin(ctx, key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
	return nil
}

// begin is the first step of every operation on a key.
func begin(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	return ctx.Err()
}
