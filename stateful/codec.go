package stateful

// Codec turns the bytes of records into values and back. It is the codec of
// inputs and outputs; state has its own ([StateCodec]). A Codec is used by many
// goroutines at once.
type Codec interface {
	// Decode fills the value that v points to, which is zero, from data. It may keep parts of data
	// in v only if the handler does not keep them beyond the record.
	Decode(data []byte, v any) error
	// Append appends the encoding of v to b.
	Append(b []byte, v any) ([]byte, error)
}
