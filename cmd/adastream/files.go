package main

import (
	"log/slog"

	"github.com/adastream/adastream/pipeline/files"
)

// fileFlags say how a file of vectors is to be read.
type fileFlags struct {
	Format string `help:"Format: arrow, parquet, jsonl (also a JSON array; may be compressed), npy, fvecs, bvecs, fbin, u8bin or i8bin. Default: by file extension, else arrow." placeholder:"FORMAT"`
	ID     string `help:"Column with the IDs." name:"id" default:"id" placeholder:"COLUMN"`
	Vector string `help:"Column with the vectors." default:"vector" placeholder:"COLUMN"`
}

func (f *fileFlags) options(log *slog.Logger, file string) files.Options {
	return files.Options{
		Format: files.Format(f.Format), ID: f.ID, Vector: f.Vector,
		Ignored: func(column, why string) { log.Info("a column is ignored", "file", file, "column", column, "why", why) },
	}
}
