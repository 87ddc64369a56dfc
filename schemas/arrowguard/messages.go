package arrowguard

import (
	"io"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Messages hands guarded frames to the Arrow reader without copying them.
//
// ipc.NewReader would copy each body, and ignores its own limits (arrow-go 18.8.0); a reader of our own does neither.
func Messages(frames []Frame) ipc.MessageReader {
	return messages(func() (f Frame, err error) {
		if len(frames) == 0 {
			return f, io.EOF
		}
		f, frames = frames[0], frames[1:]
		return f, nil
	})
}

// messages is an ipc.MessageReader of what a function returns, up to its first error.
type messages func() (Frame, error)

func (next messages) Message() (*ipc.Message, error) {
	f, err := next()
	if err != nil {
		return nil, err
	}
	return ipc.NewMessage(memory.NewBufferBytes(f.Metadata), memory.NewBufferBytes(f.Body)), nil
}

func (messages) Retain()  {}
func (messages) Release() {}

// aligned is p, or a copy of it that begins at a multiple of 8 bytes as the numbers in it need.
func aligned(p []byte) []byte {
	if uintptr(unsafe.Pointer(unsafe.SliceData(p)))%alignment == 0 {
		return p
	}
	words := make([]uint64, (len(p)+alignment-1)/alignment)
	copied := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), alignment*len(words))
	return copied[:copy(copied, p)]
}
