package commit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/adastream/adastream/index/model"
	"github.com/adastream/adastream/index/segment"
	"github.com/adastream/adastream/schemas"
)

// Kinds of data objects: the folders that they are in.
const (
	segments   = "segments"   // of one commit, or merged
	tombstones = "tombstones" // likewise
	quarantine = "quarantine" // of one commit
	models     = "models"
	chunks     = "chunks"
	dead       = "dead"
	pages      = "pages" // of manifests

	merged = "/merged/" // within segments and tombstones
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
	return l.putNew(ctx, dataPrefix(kind, partition, start), ".arrow", body, checksum(body))
}

// PutModel stores a trained model.
func (l *Log) PutModel(ctx context.Context, mdl *model.Model) (schemas.Object, error) {
	return l.putSummed(ctx, models+"/", ".arrow", mdl.Bytes())
}

// PutChunk stores the three files of a chunk, under one id, so that they can be told to belong together without a record.
func (l *Log) PutChunk(ctx context.Context, bodies segment.ChunkBodies) (schemas.Chunk, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return schemas.Chunk{}, fmt.Errorf("put chunk: %w", err)
	}
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
			sum := checksum(file.body)
			*file.object, err = l.put(ctx, chunks+"/"+sum+"-"+id.String()+file.suffix, file.body, sum)
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
	o, err := l.putSummed(ctx, chunks+"/", ".codes.arrow", codes)
	if err != nil {
		return schemas.Chunk{}, err
	}
	c.Codes = o
	return c, nil
}

// PutCompacted stores a segment that the builder joined from others.
func (l *Log) PutCompacted(ctx context.Context, body []byte) (schemas.Object, error) {
	return l.putSummed(ctx, segments+merged, ".arrow", body)
}

// PutMergedTombstones stores deletes that the builder joined.
func (l *Log) PutMergedTombstones(ctx context.Context, body []byte) (schemas.Object, error) {
	return l.putSummed(ctx, tombstones+merged, ".arrow", body)
}

// PutDead stores the dead rows of a generation.
func (l *Log) PutDead(ctx context.Context, body []byte) (schemas.Object, error) {
	return l.putSummed(ctx, dead+"/", ".arrow", body)
}

// putSummed stores an object under the sum of its content and an id, so that it can be checked without a record.
func (l *Log) putSummed(ctx context.Context, prefix, suffix string, body []byte) (schemas.Object, error) {
	sum := checksum(body)
	return l.putNew(ctx, prefix+sum+"-", suffix, body, sum)
}

// putNew stores an object under a name that nothing ever had or will have, also if the same bytes are there already: an
// object that is named by a sum alone might be collected between "it is there" and the record that names it.
func (l *Log) putNew(ctx context.Context, prefix, suffix string, body []byte, sum string) (schemas.Object, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return schemas.Object{}, fmt.Errorf("put %s: %w", prefix, err)
	}
	return l.put(ctx, prefix+id.String()+suffix, body, sum)
}

// put stores an object whose checksum has been taken.
func (l *Log) put(ctx context.Context, key string, body []byte, sum string) (schemas.Object, error) {
	if err := l.bucket.PutIfAbsent(ctx, key, body); err != nil {
		return schemas.Object{}, err
	}
	return schemas.Object{Key: key, Size: int64(len(body)), SHA256: sum}, nil
}

func checksum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
