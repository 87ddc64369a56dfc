package schemas

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// Format is a version of what one kind of record is stored as, or all files are.
type Format struct {
	Kind   string `json:"kind"`
	Writes int    `json:"writes"` // the latest; what needs nothing of it is written in an earlier one
	Reads  []int  `json:"reads"`  // ascending
}

// Formats are those that this version of Adastream knows, records first. pipeline/formats has an index of each that is read.
func Formats() []Format {
	file, err := strconv.Atoi(FileFormat)
	if err != nil {
		panic(err) // a constant
	}
	only := func(kind string, version int) Format {
		return Format{Kind: kind, Writes: version, Reads: []int{version}}
	}
	return []Format{
		only("spec", SpecFormat), only("commit", CommitFormat),
		{Kind: "manifest", Writes: PagedManifest, Reads: []int{ManifestFormat, PagedManifest}}, only("page", PageFormat), only("channel", ChannelFormat),
		only("collection", CollectionFormat), only("resolution", ResolutionFormat), only("file", file),
	}
}

// unknown refuses a format of a record.
func unknown(format int, known ...int) error {
	allowed := strings.ReplaceAll(strings.Trim(fmt.Sprint(known), "[]"), " ", ", ")
	return fmt.Errorf("format: %d is not known here, allowed: %s%s", format, allowed, later(format, slices.Max(known)))
}

func later(format, known int) string {
	if format > known {
		return "; a later version of Adastream wrote it: upgrade this one"
	}
	return ""
}

// CheckKind refuses the metadata of a file that is of another kind, or of a format that is not known here. Readers ask before they look
// at anything else, as nothing else need be as they know it.
func CheckKind(meta arrow.Metadata, kind string) error {
	if got, _ := meta.GetValue(MetaKind); got != kind {
		return fmt.Errorf("%s %q, allowed: %q", MetaKind, got, kind)
	}
	if got, _ := meta.GetValue(MetaFormat); got != FileFormat {
		format, _ := strconv.Atoi(got) // 0 is of no version
		known, _ := strconv.Atoi(FileFormat)
		return fmt.Errorf("%s %q is not known here, allowed: %q%s", MetaFormat, got, FileFormat, later(format, known))
	}
	return nil
}
