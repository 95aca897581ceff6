package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFlagsThatMakeNoSenseAreRefused(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--partitions", "0"}, "--partitions is 0"},
		{[]string{"--partitions", "5000"}, "--partitions is 5000"},
		{[]string{"--partitions", "x"}, "invalid argument"},
		{[]string{"--max-delay", "-1h"}, "--max-delay is -1h"},
		{[]string{"--max-delay", "1ns"}, "whole milliseconds"},
		{[]string{"--backend", "redis"}, "--backend is \"redis\""},
		{[]string{"--kill", "-1"}, "--kill is -1"},
		{[]string{"--output", "xml"}, "--output is \"xml\""},
		{[]string{"--show", "global"}, "--show is \"global\""},
		{[]string{"--rate", "-3"}, "--rate is -3"},
		{[]string{"--rate", "NaN"}, "--rate is NaN"},
		{[]string{"--nope"}, "unknown flag"},
		{[]string{"stray"}, "unknown command"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) { demo(t, tt.args...).is(t, 2, tt.want) })
	}
	r := demo(t, "--partitions", "0", "--output", "xml", "--kill", "-1")
	r.is(t, 2, "--partitions", "--output", "--kill") // all at once
}

func TestARunThatIsNotTheStoredOneIsRefused(t *testing.T) {
	dir := folder(t)
	input := write(t, "a.csv", some())
	base := func(more ...string) []string { return append([]string{"--data-dir", dir}, more...) }
	demo(t, base("--input", input, "--partitions", "3")...).ok(t)
	other := write(t, "b.csv", bytes.Replace(some(), []byte("LAX"), []byte("LAS"), 1))
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"another input", base("--input", other, "--partitions", "3"), []string{"--input", "b.csv", "a.csv", "another --data-dir"}},
		{"the built-in input", base("--partitions", "3"), []string{"--input", "the built-in week", "a.csv"}},
		{"standard input", base("--partitions", "3", "--input", "-"), []string{"--input", "standard input", "a.csv"}},
		{"other partitions", base("--input", input), []string{"--partitions is 4", "with 3", "give --partitions 3"}},
		{"another delay", base("--input", input, "--partitions", "3", "--max-delay", "1h"), []string{"--max-delay is 1h0m0s", "2h0m0s"}},
		{"all at once", base("--max-delay", "1h"), []string{"--input", "--partitions", "--max-delay"}},
		{"killed", base("--input", input, "--kill", "2"), []string{"--partitions"}},
	} {
		t.Run(tt.name, func(t *testing.T) { demo(t, tt.args...).is(t, 2, tt.want...) })
	}
	moved := filepath.Join(t.TempDir(), "moved.csv")
	if err := os.Rename(input, moved); err != nil {
		t.Fatal(err)
	}
	demo(t, base("--input", moved, "--partitions", "3")...).ok(t) // it is its content that counts
}

func TestAFolderOfSomethingElseIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "letter.txt"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	demo(t, "--data-dir", dir).is(t, 2, "letter.txt", "empty or a new folder")
	for content, want := range map[string]string{"{": "is damaged", "{}": "is damaged", `{"version":99}`: "use a newer one"} {
		damaged := t.TempDir()
		if err := os.WriteFile(filepath.Join(damaged, "demo.json"), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		demo(t, "--data-dir", damaged).is(t, 2, want)
	}
}

func TestAFolderIsForOneProcess(t *testing.T) {
	for _, backend := range []string{"pebble", "memory"} {
		t.Run(backend, func(t *testing.T) {
			dir := folder(t)
			cmd, stdout, stderr := command(t, "--data-dir", dir, "--rate", "30000", "--backend", backend)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			awaitFolder(t, dir)
			demo(t, "--data-dir", dir, "--backend", backend).is(t, 2, "in use by another process")
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			ended(t, cmd.Wait(), stdout, stderr).is(t, 130)
		})
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	input := write(t, "a.csv", some())
	demo(t, "--input", input).ok(t)
	demo(t, "--input", input, "--backend", "memory").ok(t)
	demo(t, "--input", input, "--kill", "1").ok(t)
	demo(t, "--input", write(t, "b.csv", nil)).is(t, 2)
	left, err := filepath.Glob(filepath.Join(tmp, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q %v", left, err)
	}
}
