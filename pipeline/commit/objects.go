package commit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/pipeline/store"
	"github.com/adastream/adastream/schemas"
)

// Kinds of data objects that belong to one commit.
const (
	segments   = "segments"
	tombstones = "tombstones"
	quarantine = "quarantine"
)

// PutSegment stores the upserts of a commit that will start at an offset, under a new name. After an error an object
// that nothing names may be left.
func (l *Log) PutSegment(ctx context.Context, partition int, start int64, body []byte) (schemas.Object, error) {
	return l.putUnique(ctx, segments, partition, start, body)
}

// PutTombstones stores the deletes of a commit like PutSegment.
func (l *Log) PutTombstones(ctx context.Context, partition int, start int64, body []byte) (schemas.Object, error) {
	return l.putUnique(ctx, tombstones, partition, start, body)
}

// PutQuarantine stores what a commit refused like PutSegment.
func (l *Log) PutQuarantine(ctx context.Context, partition int, start int64, body []byte) (schemas.Object, error) {
	return l.putUnique(ctx, quarantine, partition, start, body)
}

func (l *Log) putUnique(ctx context.Context, kind string, partition int, start int64, body []byte) (schemas.Object, error) {
	if err := l.checkPlace(partition, start); err != nil {
		return schemas.Object{}, fmt.Errorf("put %s: %w", kind, err)
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return schemas.Object{}, fmt.Errorf("put %s: %w", kind, err)
	}
	return l.putData(ctx, dataPrefix(kind, partition, start)+id.String()+".arrow", checksum(body), body)
}

// PutModel stores a trained model under its id.
func (l *Log) PutModel(ctx context.Context, mdl *model.Model) (schemas.Object, error) {
	return l.putContent(ctx, "models/", ".arrow", mdl.Bytes())
}

// PutChunk stores the three files of a chunk.
func (l *Log) PutChunk(ctx context.Context, bodies segment.ChunkBodies) (schemas.Chunk, error) {
	c := schemas.Chunk{FirstList: bodies.FirstList, EndList: bodies.EndList, NumRows: bodies.NumRows}
	g, ctx := errgroup.WithContext(ctx)
	for _, file := range []struct {
		suffix string
		body   []byte
		object *schemas.Object
	}{
		{".rows.arrow", bodies.Rows, &c.Rows},
		{".codes.arrow", bodies.Codes, &c.Codes},
		{".vectors.arrow", bodies.Vectors, &c.Vectors},
	} {
		g.Go(func() (err error) {
			*file.object, err = l.putContent(ctx, "chunks/", file.suffix, file.body)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return schemas.Chunk{}, err
	}
	c.ID = c.Rows.SHA256
	return c, nil
}

// PutCodes stores other codes of a chunk, and returns the chunk with them.
func (l *Log) PutCodes(ctx context.Context, c schemas.Chunk, codes []byte) (schemas.Chunk, error) {
	o, err := l.putContent(ctx, "chunks/", ".codes.arrow", codes)
	if err != nil {
		return schemas.Chunk{}, err
	}
	c.Codes = o
	return c, nil
}

// PutCompacted stores a segment that the builder joined from others.
func (l *Log) PutCompacted(ctx context.Context, body []byte) (schemas.Object, error) {
	return l.putContent(ctx, segments+"/merged/", ".arrow", body)
}

// PutMergedTombstones stores deletes that the builder joined.
func (l *Log) PutMergedTombstones(ctx context.Context, body []byte) (schemas.Object, error) {
	return l.putContent(ctx, tombstones+"/merged/", ".arrow", body)
}

// PutDead stores the dead rows of a generation.
func (l *Log) PutDead(ctx context.Context, body []byte) (schemas.Object, error) {
	return l.putContent(ctx, "dead/", ".arrow", body)
}

// putContent stores an object under the sum of its content. It is no error if it is there already.
func (l *Log) putContent(ctx context.Context, prefix, suffix string, body []byte) (schemas.Object, error) {
	sum := checksum(body)
	return l.putData(ctx, prefix+sum+suffix, sum, body)
}

// putData stores an object. The store says ErrExists only after it found other bytes under the key, and nobody else
// makes this key with other bytes.
func (l *Log) putData(ctx context.Context, key, sum string, body []byte) (schemas.Object, error) {
	err := l.bucket.PutIfAbsent(ctx, key, body)
	if errors.Is(err, store.ErrExists) {
		return schemas.Object{}, corrupt(key, fmt.Errorf("it holds other bytes than the %d with sha256 %s: %w", len(body), sum, err))
	}
	if err != nil {
		return schemas.Object{}, err
	}
	return schemas.Object{Key: key, Size: int64(len(body)), SHA256: sum}, nil
}

func checksum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
