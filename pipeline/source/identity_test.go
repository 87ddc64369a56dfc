package source

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/adastream/adastream/internal/mutate"
)

// goldenMetadata is the answer of version 10 for topic "t", by the field.
var goldenMetadata = unhex(
	"00000000 00" + // correlation id, tags
		"00000000" + // throttle
		"03" + // two brokers
		"00000001 0a 3132372e302e302e31 00004a94 00 00" +
		"00000002 02 68 00004a95 02 72 01 05 02 ffff" + // with rack and a tag
		"03 6331" + // cluster "c1"
		"00000001" + // controller
		"02 0000 02 74 000102030405060708090a0b0c0d0e0f 00" + // topic
		"01 80000000 00 80000000 00") // no partitions, operations, tags

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err) // a typing error above
	}
	return b
}

func TestParseMetadata(t *testing.T) {
	id, code, err := parseMetadata(goldenMetadata, "t")
	if err != nil || code != 0 || id != (Identity{"c1", "t", "AAECAwQFBgcICQoLDA0ODw"}) {
		t.Errorf("got %+v, %d, %v", id, code, err)
	}
	if _, _, err := parseMetadata(goldenMetadata, "u"); !errors.Is(err, errMetadata) {
		t.Errorf("other topic: %v", err)
	}
	end := bytes.Index(goldenMetadata, unhex("0e0f")) + 2 // of what is read
	for n := range end {
		if _, _, err := parseMetadata(goldenMetadata[:n], "t"); !errors.Is(err, errMetadata) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

func TestMetadataRequest(t *testing.T) {
	want := unhex("00000025 0003 000a 00000000 0001 63 00" +
		"02 00000000000000000000000000000000 02 74 00" + "00 00 00 00")
	want[3] = byte(len(want) - 4)
	if got := metadataRequest("c", "t"); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestReadFrameLimitsSize(t *testing.T) {
	if _, err := readFrame(bytes.NewReader(unhex("7fffffff 00"))); err == nil {
		t.Error("accepted 2 GiB")
	}
}

func FuzzParseMetadata(f *testing.F) { mutate.Fuzz(f, parsingMetadata) }

func TestMutations(t *testing.T) {
	mutate.Run(t, map[string]mutate.Target{"FuzzParseMetadata": parsingMetadata})
}

// parsingMetadata: whatever a broker answers, nothing panics and no length is believed that does not fit the answer.
func parsingMetadata(testing.TB) ([][]byte, func(testing.TB, []byte)) {
	return [][]byte{goldenMetadata, unhex("00000000 00 00000000 ffffffff0f")}, func(t testing.TB, b []byte) {
		before := mutate.Allocated()
		id, _, err := parseMetadata(b, "t")
		if got := mutate.Allocated() - before; got > 1<<20 {
			t.Fatalf("%d bytes allocated for %d", got, len(b))
		}
		if err == nil && (id.Topic != "t" || len(id.TopicID) != 0 && len(id.TopicID) != 22 || len(id.Cluster) > len(b)) {
			t.Errorf("got %+v", id)
		}
	}
}
