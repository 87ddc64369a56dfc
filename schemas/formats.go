package schemas

import "strconv"

// Format is a version of what one kind of record is stored as, or all files are.
type Format struct {
	Kind   string `json:"kind"`
	Writes int    `json:"writes"`
	Reads  []int  `json:"reads"` // ascending
}

// Formats are those that this version of Adastream knows, records first. testdata/formats has an index of each that is read.
func Formats() []Format {
	file, err := strconv.Atoi(FileFormat)
	if err != nil {
		panic(err) // a constant
	}
	only := func(kind string, version int) Format {
		return Format{Kind: kind, Writes: version, Reads: []int{version}}
	}
	return []Format{
		only("spec", SpecFormat), only("commit", CommitFormat), only("manifest", ManifestFormat), only("channel", ChannelFormat),
		only("collection", CollectionFormat), only("resolution", ResolutionFormat), only("file", file),
	}
}
