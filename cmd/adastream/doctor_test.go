package main

import (
	"strings"
	"testing"
	"time"

	"github.com/adastream/adastream/pipeline/source/sourcetest"
	"github.com/adastream/adastream/schemas"
)

// Of an object that is gone nodes with a copy tell nothing: the doctor does.
func TestDoctorMissesObjects(t *testing.T) {
	c := newChannelTest(t)
	if err := lacking(t.Context(), c.index, c.newest()); err != nil {
		t.Errorf("all is there: %v", err)
	}
	sum := strings.Repeat("ab", 32)
	there, gone := "dead/"+sum+"-a.arrow", "tombstones/merged/"+sum+"-b.arrow"
	m := &schemas.Manifest{Format: schemas.ManifestFormat, Generation: 6, Parent: 5, Builder: "b", Checkpoint: map[string]int64{},
		Dead: &schemas.Object{Key: there, Size: 1, SHA256: sum}, Tombstones: []schemas.Object{{Key: gone, Size: 1, SHA256: sum}}}
	if err := c.index.Publish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := c.index.Bucket().PutIfAbsent(t.Context(), there, []byte("x")); err != nil {
		t.Fatal(err)
	}
	before := c.newest()
	c.promote(6, "builder")
	for name, seen := range map[string]*schemas.Channel{"now": c.newest(), "a moment ago": before} {
		if seen == before { // of which nothing is left
			if err := c.index.Bucket().Delete(t.Context(), "manifests/0000/00000000000000000004"); err != nil {
				t.Fatal(err)
			}
		}
		if err := lacking(t.Context(), c.index, seen); err == nil || !strings.Contains(err.Error(), "generation 6: not found: 1 object, such as "+gone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.index.Bucket().Delete(t.Context(), "manifests/0000/00000000000000000006"); err != nil {
		t.Fatal(err)
	}
	if err := lacking(t.Context(), c.index, c.newest()); err == nil || !strings.Contains(err.Error(), "generation 6: ") || !strings.Contains(err.Error(), "not found") {
		t.Errorf("without its manifest: %v", err)
	}
}

// Ages of what others wrote are no longer than what there is, and no negative ones.
func TestOldness(t *testing.T) {
	for age, want := range map[time.Duration]string{
		time.Hour: "1h0m0s old", 0: "0s old", -time.Second: "0s old",
		-14 * time.Minute: "written 14m0s in the future: the clock of its builder is ahead, synchronise it",
	} {
		if got := oldness(time.Now().Add(-age), "builder"); got != want {
			t.Errorf("%v: %q, want %q", age, got, want)
		}
	}
}

// A compacted topic loses rows of messages that have many, and no gap tells.
func TestDoctorLooksWhatTheTopicKeeps(t *testing.T) {
	many, one := &schemas.Spec{}, &schemas.Spec{Messages: &schemas.Messages{Format: schemas.MessagesJSON}}
	for _, tt := range []struct {
		policy, retention string
		spec              *schemas.Spec
		good, bad         string
	}{
		{"delete", "3600000", many, "for 1h0m0s", ""},
		{"delete", "-1", many, "for as long as retention.bytes allows", ""},
		{"compact", "3600000", many, "", "cleanup.policy=compact: compaction keeps only the newest message of a key"},
		{"compact,delete", "3600000", many, "", "cleanup.policy=compact,delete: compaction"},
		{"compact", "3600000", one, "cleanup.policy=compact", ""},
		{"compact,delete", "3600000", one, "for 1h0m0s", ""},
	} {
		c := sourcetest.Topic(t, 1, map[string]string{"cleanup.policy": tt.policy, "retention.ms": tt.retention})
		good, err := keeps(t.Context(), c, tt.spec)
		if good != tt.good || (err == nil) != (tt.bad == "") || err != nil && !strings.Contains(err.Error(), tt.bad) {
			t.Errorf("%s, %s: %q, %v", tt.policy, tt.retention, good, err)
		}
	}
}

// Versions of an id that come from several partitions are told of, where there are any.
func TestDoctorTellsOfStrayedVersions(t *testing.T) {
	if got := strayed(&schemas.Manifest{}); got != "" {
		t.Errorf("without any: %q", got)
	}
	if got := strayed(&schemas.Manifest{Moved: 89}); !strings.Contains(got, "; 89 versions came from a different partition") {
		t.Errorf("got %q", got)
	}
}

// A topic that got more partitions is a fault, and its log is looked at all the same.
func TestDoctorOfAddedPartitions(t *testing.T) {
	c := sourcetest.Topic(t, 3, nil)
	identity, err := c.Topic(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		partitions int
		id         string
		same       bool
		bad        string
	}{
		{3, identity.TopicID, true, ""},
		{2, identity.TopicID, true, "number of partitions is 3, the index has 2"},
		{4, identity.TopicID, false, "number of partitions is 3, the index has 4"},
		{3, "another", false, "topic id is"},
	} {
		same, err := compareTopic(t.Context(), c, &schemas.Spec{Topic: schemas.Topic{Partitions: tt.partitions, ID: tt.id}})
		if same != tt.same || (err == nil) != (tt.bad == "") || err != nil && !strings.Contains(err.Error(), tt.bad) {
			t.Errorf("%d partitions of %s: %v, %v", tt.partitions, tt.id, same, err)
		}
	}
}
