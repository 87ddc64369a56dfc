package source_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/adastream/adastream/pipeline/source"
	"github.com/adastream/adastream/pipeline/source/sourcetest"
)

// codecs of franz-go, which compresses with other code than the library that reads.
var codecs = []struct {
	name  string
	codec kgo.CompressionCodec
}{
	{"none", kgo.NoCompression()}, {"gzip", kgo.GzipCompression()}, {"snappy", kgo.SnappyCompression()},
	{"lz4", kgo.Lz4Compression()}, {"zstd", kgo.ZstdCompression()},
}

// Batches of every codec of another client come back as they were, also when they are part of transactions, of which only
// the committed ones count.
func TestFetchReadsEveryCodecOfAnotherClient(t *testing.T) {
	for _, tc := range codecs {
		t.Run(tc.name, func(t *testing.T) {
			c := sourcetest.Topic(t, 1, map[string]string{"max.message.bytes": fmt.Sprint(4 << 20)})
			ctx := testContext(t)
			var want []source.Record
			at := int64(0)
			batch := func(seed uint64, kept bool) []*kgo.Record {
				var records []*kgo.Record
				for i := range 20 {
					v := slices.Concat(payload(i*501, seed+uint64(i)), bytes.Repeat([]byte{byte(i)}, i*1009))
					records = append(records, &kgo.Record{Key: fmt.Appendf(nil, "k%d", i), Value: v})
					if kept {
						want = append(want, source.Record{Offset: at, Key: records[i].Key, Value: v})
					}
					at++
				}
				return records
			}
			plain := franz(t, c, kgo.ProducerBatchCompression(tc.codec))
			if err := plain.ProduceSync(ctx, batch(1, true)...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			tx := franz(t, c, kgo.ProducerBatchCompression(tc.codec), kgo.TransactionalID(c.Options().Topic))
			for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
				if err := tx.BeginTransaction(); err != nil {
					t.Fatal(err)
				}
				if err := tx.ProduceSync(ctx, batch(uint64(100*i+100), end == kgo.TryCommit)...).FirstErr(); err != nil {
					t.Fatal(err)
				}
				if err := tx.EndTransaction(ctx, end); err != nil {
					t.Fatal(err)
				}
				at++ // the marker
			}
			for _, cl := range []*source.Client{c, sibling(t, c, 1)} {
				if got := drain(t, cl, 0, at); !equalRecords(got, want) {
					t.Errorf("with at most %d bytes: %d records are not the %d that were committed", cl.Options().MaxBytes, len(got), len(want))
				}
			}
		})
	}
}

// batchOverhead is what a batch of one record of about 16 MiB, without a key, takes beside the value: its header of 61
// bytes, and of the record a length of 4, attributes, two deltas, the key's length, the value's length of 4, no headers.
const batchOverhead = 61 + 4 + 1 + 1 + 1 + 1 + 4 + 1

// A batch of exactly the topic's limit is taken and comes back; one byte more is refused with the name of the setting.
func TestMessageAtTheLimit(t *testing.T) {
	const limit = 16 << 20
	c := sourcetest.Topic(t, 1, map[string]string{"max.message.bytes": fmt.Sprint(limit)})
	p := c.NewProducer(source.ProducerOptions{})
	defer p.Close()
	big := payload(limit-batchOverhead+1, 3)
	err := p.Send(testContext(t), source.Message{Value: big})
	if !errors.Is(err, source.ErrTooLarge) || !strings.Contains(fmt.Sprint(err), "max.message.bytes") {
		t.Errorf("one byte above the limit: %v", err)
	}
	big = big[1:]
	if err := p.Send(testContext(t), source.Message{Value: big}); err != nil {
		t.Fatalf("at the limit: %v", err)
	}
	for _, cl := range []*source.Client{c, sibling(t, c, 1)} {
		if got := drain(t, cl, 0, 1); len(got) != 1 || !bytes.Equal(got[0].Value, big) {
			t.Errorf("with at most %d bytes: not the message", cl.Options().MaxBytes)
		}
	}
}

// Compressed, 16 MiB are a message of any size to the broker.
func TestFetchLargeCompressedMessages(t *testing.T) {
	const size = 16 << 20
	c := sourcetest.Topic(t, 1, map[string]string{"max.message.bytes": fmt.Sprint(size + 1024)})
	value := slices.Concat(payload(size/4, 5), make([]byte, size-size/4))
	for i, tc := range codecs {
		cl := franz(t, c, kgo.ProducerBatchCompression(tc.codec), kgo.ProducerBatchMaxBytes(size+1024), kgo.MaxBufferedBytes(2*size))
		if err := cl.ProduceSync(testContext(t), &kgo.Record{Value: value}).FirstErr(); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if got := drain(t, c, int64(i), int64(i)+1); len(got) != 1 || !bytes.Equal(got[0].Value, value) {
			t.Errorf("%s: not the message", tc.name)
		}
	}
}
