package segment

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// AppendText appends a value to a column of strings.
func (c *Column) AppendText(v []byte) {
	c.text = append(c.text, v...)
	c.ends = append(c.ends, len(c.text))
	c.valid = append(c.valid, true)
}

// AppendBool appends a value to a column of booleans.
func (c *Column) AppendBool(v bool) {
	c.bools = append(c.bools, v)
	c.valid = append(c.valid, true)
}

// AppendInt appends a value to a column of integers, or of timestamps what [Milliseconds] has returned.
func (c *Column) AppendInt(v int64) {
	c.ints = append(c.ints, v)
	c.valid = append(c.valid, true)
}

// AppendFloat appends a value to a column of floats.
func (c *Column) AppendFloat(v float64) {
	c.floats = append(c.floats, v)
	c.valid = append(c.valid, true)
}

// Milliseconds is a time since the epoch as a column of timestamps has it, rounded down.
func Milliseconds(v int64, unit arrow.TimeUnit) (int64, error) {
	ms, outside := v, false
	switch unit {
	case arrow.Second:
		ms, outside = v*1000, v > maxTimestamp/1000 || v < minTimestamp/1000
	case arrow.Microsecond:
		ms = floorDiv(v, 1000)
	case arrow.Nanosecond:
		ms = floorDiv(v, 1_000_000)
	}
	if outside || ms < minTimestamp || ms > maxTimestamp {
		return 0, fmt.Errorf("timestamp %d %s since the epoch, allowed: the years 0 to 9999", v, unit)
	}
	return ms, nil
}
