package store

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// recallName is the file in which a process writes down for the next one what it has read through.
const recallName = "opened.json"

// recallFormat is of that file.
const recallFormat = 1

// fileIdentity tells a file from what was written to it, or put in its place, since. Times are in nanoseconds.
type fileIdentity struct {
	Inode   uint64 `json:"inode"`
	Size    int64  `json:"size"`
	Written int64  `json:"written"`
	Changed int64  `json:"changed"` // of the inode: no program sets it
}

// recallRecord is what recallName holds. It needs no checksum: a name or number that is wrong fits no file.
type recallRecord struct {
	Format int                     `json:"format"`
	Rules  int                     `json:"rules"`
	Files  map[string]fileIdentity `json:"files"` // by SHA256
}

// Remember writes down, for the next process, the files that were read through and that opened is true for: with them that
// process may do without. rules is a number of the caller's, for what else he has made sure of.
func (c *Cache) Remember(rules int, opened func(sha256 string) bool) error {
	record := recallRecord{Format: recallFormat, Rules: rules, Files: map[string]fileIdentity{}}
	c.mu.Lock()
	for name, f := range c.files {
		if f.identity != (fileIdentity{}) && (f.verified || f.recalled) && opened(name) {
			record.Files[name] = f.identity
		}
	}
	c.mu.Unlock()
	body, err := json.Marshal(record)
	if err != nil {
		return err
	}
	err = c.writeFile(c.path(recallName), func(w io.Writer) error {
		_, err := w.Write(body)
		return err
	})
	if err != nil {
		return fmt.Errorf("remember files of the cache: %w", classifyOS(err))
	}
	return nil
}

// Recall returns the same cache for a user who does without reading files through that an earlier process has remembered by the
// same rules, and says how many there are. They are those that nobody has written to since, as the file system says: what a
// disk does to them behind its back is seen when they are read through, see [Mapped.Verify]. All other users read files through.
//
// What was remembered is forgotten thereby: if this process dies of what it has taken, the next one does not.
func (c *Cache) Recall(rules int) (recalling *Cache, files int) {
	recalling = &Cache{c.bucket, true, c.pace, c.cacheFiles}
	body, err := os.ReadFile(c.path(recallName))
	if err != nil || os.Remove(c.path(recallName)) != nil {
		return recalling, 0
	}
	var record recallRecord
	if json.Unmarshal(body, &record) != nil || record.Format != recallFormat || record.Rules != rules {
		return recalling, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, was := range record.Files {
		f := c.files[name]
		if f == nil || f.verified {
			continue
		}
		info, err := os.Lstat(c.path(name))
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if is, ok := identityOf(info); ok && is == was {
			f.recalled, f.identity = true, is
			files++
		}
	}
	return recalling, files
}
