// Package segment holds rows: in memory before they are written, in the stored files, and as the parts that queries
// and merges read.
//
// A segment is the upserts of one commit in one file. A chunk is a run of inverted lists that [Merge] made of segments
// and older chunks, in three files: rows, codes in the layout of the scan kernel, and original vectors. The chunks of one
// merge are a base: a list's codes are in its chunk, and each names its row by the number among the base's rows, since a
// row has a code in two lists, and the second may be in another chunk than the row. Deletes travel
// in a tombstones file of their own, and the rows that later versions replaced in a file of dead bitmaps. A [Part] is
// an opened segment or chunk; searching does not tell them apart except by [Part.Blocks].
//
// # Vectors
//
// The stored vector of a row is the given one in the type of the spec: narrowed to float16, or as it is. The searched vector
// is the stored one, scaled to unit length under cosine. List, code, int8 row and norms are functions of the searched
// vector, rotated if the model rotates, hence of model and what is stored: a merge that derives them anew gets what the
// first writer would have got at the same SIMD level; between levels sums differ by their rounding. Int8 rows and norms say
// by which axes they are rotated: those of different axes, or of none, cannot be compared with one query, see [Turn].
// [Check] says which vectors can be stored.
//
// # Files
//
// Every file is an Arrow IPC file with one uncompressed record batch and the schema that package schemas gives, and
// the same rows make the same bytes. Beyond what Arrow asks, a writer
//   - sorts the rows of a segment by list, then in order of arrival; without a model all are in list -1;
//   - gives each list of a chunk as many full blocks of 32 codes as it needs and at most one that is not full, its
//     absent rows and their numbers zero;
//   - lets the column that queries read most - int8 of segments and rows, block of codes, vector of vectors - begin at
//     a multiple of 64 bytes of the file, so that it is aligned to cache lines in a mapping. An entry "adastream.pad" in
//     the metadata of the batch fills up; its value means nothing.
//
// Readers do not need the last: they take every file whose buffers are aligned to 8 bytes, as Arrow demands.
//
// # Trust
//
// Opening checks all that reading relies on, so that a part that opened cannot make its users read out of bounds: kind,
// format, columns and their types, lengths, nulls, string offsets, the order of lists, and blocks. It takes one light
// pass over the lists, codes' row numbers and string offsets, and allocates 4 bytes for each row of a segment, no more.
// Bytes that fail give an error that wraps [schemas.ErrCorrupt] and names object and field; they cause neither a panic nor
// an allocation out of proportion. Values are not checked, that is what the checksums of the manifest are for.
package segment
