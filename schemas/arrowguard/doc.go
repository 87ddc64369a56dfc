// Package arrowguard looks at Arrow IPC bytes of others before the Arrow library does.
//
// The library trusts the metadata of what it reads: it allocates what they claim, follows their offsets, and takes a stream that is cut at
// a message boundary for a shorter one. Running out of memory is no error that can be recovered from. The guard walks the framing and the
// flatbuffers with every access checked, and makes sure that:
//   - a stream begins with its only schema and ends with the end-of-stream mark; messages of a file are where its footer says, inside of it,
//     and have no more bytes than it;
//   - there are no more bytes, rows, columns and batches than the limits allow, after decompression as well;
//   - columns have types whose layouts are known here: null, integers, floats, bool, timestamp, utf8, binary and their
//     large forms, fixed_size_binary, lists and fixed-size lists of those, and dictionaries of utf8 and large_utf8; or, of tables, all;
//   - every batch has the nodes and buffers that the schema asks for, and every buffer lies inside its body, on a
//     boundary of 8 bytes, beside the others;
//   - dictionaries of messages are whole: a delta would make each batch carry its own copy of everything before it.
//
// So the library allocates no more than some times the bytes that there are, and what the limits allow beyond. Only what was looked at is
// handed on: a stream or file is read once, here.
//
// What is inside the buffers is not looked at, but for the windows that zstd frames ask for: who reads values checks offsets and
// indices. The working memory of a decompressor is not counted: it is a small multiple of 8 MiB or of what the largest buffer
// claims, and one is in use at a time.
package arrowguard
