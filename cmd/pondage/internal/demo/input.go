package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pondage/pondage/cmd/pondage/internal/flights"
)

// source says what an input is, wherever it lies. It is stored with the data.
type source struct {
	// Kind is "built-in", "file" or "stream". Streams cannot be told apart before they are read.
	Kind string `json:"kind"`
	// Digest is the SHA-256 of a file.
	Digest string `json:"digest,omitempty"`
	// Name is for messages only: a file may have been moved.
	Name string `json:"name"`
}

const (
	builtIn = "built-in"
	file    = "file"
	stream  = "stream"
)

func (s source) same(t source) bool { return s.Kind == t.Kind && s.Digest == t.Digest }

func (s source) String() string {
	switch s.Kind {
	case builtIn:
		return "the built-in week"
	case stream:
		return "a stream (" + s.Name + ")"
	}
	return fmt.Sprintf("%s (sha256 %.12s)", s.Name, s.Digest)
}

// flag is how s is asked for on the command line.
func (s source) flag() string {
	switch s.Kind {
	case builtIn:
		return "no --input"
	case stream:
		return "--input -"
	}
	return "--input " + quoted(s.Name)
}

// input is an input that may not have been opened yet.
type input struct {
	source
	f  *os.File // of a file
	in io.Reader
}

// identify finds out what arg names, without reading from a stream.
func identify(arg string, std io.Reader) (*input, error) {
	switch arg {
	case "":
		return &input{source: source{Kind: builtIn, Name: flights.WeekName}}, nil
	case stdin:
		return &input{source: source{Kind: stream, Name: "standard input"}, in: std}, nil
	}
	f, err := os.Open(arg)
	if err != nil {
		return nil, fmt.Errorf("--input: %w", err)
	}
	in := &input{source: source{Kind: stream, Name: arg}, f: f, in: f}
	st, err := f.Stat()
	if err == nil && st.IsDir() {
		err = fmt.Errorf("%s is a directory, want a file", arg)
	}
	if err == nil && st.Mode().IsRegular() {
		in.Kind = file
		in.Digest, err = digest(f)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--input: %w", err), f.Close())
	}
	return in, nil
}

func digest(f *os.File) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	_, err := f.Seek(0, io.SeekStart)
	return hex.EncodeToString(h.Sum(nil)), err
}

// open reads the header.
func (in *input) open() (*flights.Reader, error) {
	if in.Kind == builtIn {
		return flights.Week()
	}
	return flights.NewReader(in.Name, in.in)
}

// header is open, except that it does not wait longer than ctx for a stream to begin.
func (in *input) header(ctx context.Context) (*flights.Reader, error) {
	type opened struct {
		rows *flights.Reader
		err  error
	}
	done := make(chan opened, 1)
	go func() {
		rows, err := in.open()
		done <- opened{rows, err}
	}()
	select {
	case o := <-done:
		return o.rows, o.err
	case <-ctx.Done():
		return nil, errInterrupted
	}
}

// Close closes the file, if it is one.
func (in *input) Close() error {
	if in.f == nil {
		return nil
	}
	return in.f.Close()
}
