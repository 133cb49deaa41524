package unpack

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

var text = `{"traceEvents": [` + strings.Repeat(`{"name": "é😀", "ph": "X", "ts": 1, "dur": 2},`, 5000) + `{}]}`

func gz(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

func zst(s string) string {
	e, _ := zstd.NewWriter(nil)
	defer e.Close()
	return string(e.EncodeAll([]byte(s), nil))
}

// packed is what a writer of the libraries makes of s.
func packed[W io.WriteCloser](s string, open func(io.Writer) W) string {
	var b bytes.Buffer
	w := open(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

func lz4Of(s string) string {
	return packed(s, func(w io.Writer) *lz4.Writer { return lz4.NewWriter(w) })
}
func zlibOf(s string) string {
	return packed(s, func(w io.Writer) *zlib.Writer { return zlib.NewWriter(w) })
}
func s2Of(s string, o ...s2.WriterOption) string {
	return packed(s, func(w io.Writer) *s2.Writer { return s2.NewWriter(w, o...) })
}

func lzmaOf(s string) string {
	return packed(s, func(w io.Writer) *lzma.Writer {
		z, err := lzma.NewWriter(w)
		if err != nil {
			panic(err) // without options it does not fail
		}
		return z
	})
}

func xzOf(t testing.TB, s string) string {
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

// bz2Hello is what bzip2 makes of "hello bzip2\n", for which Go has no writer.
const bz2Hello = "425a6839314159265359ab6ba1f1000002d9800010400010001264c01020003100d34d04001ea3ef4e51a2078bb9229c284855b5d0f880"

func utf16Of(s string, order binary.AppendByteOrder, mark bool) string {
	var b []byte
	if mark {
		b = order.AppendUint16(b, 0xFEFF)
	}
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

func TestReader(t *testing.T) {
	for name, c := range map[string]struct {
		in, kind string
	}{
		"plain":                {text, ""},
		"gzip":                 {gz(text), "gzip"},
		"members":              {gz(text[:100]) + gz(text[100:]), "gzip"},
		"zstd":                 {zst(text), "zstd"},
		"xz":                   {xzOf(t, text), "xz"},
		"frames of zstd":       {zst(text[:100]) + zst(text[100:]), "zstd"},
		"streams of xz":        {xzOf(t, text[:100]) + xzOf(t, text[100:]), "xz"},
		"lz4":                  {lz4Of(text), "lz4"},
		"frames of lz4":        {lz4Of(text[:100]) + lz4Of(text[100:]), "lz4"},
		"lzma":                 {lzmaOf(text), "lzma"},
		"zlib":                 {zlibOf(text), "zlib"},
		"s2":                   {s2Of(text), "snappy"},
		"snappy":               {s2Of(text, s2.WriterSnappyCompat()), "snappy"},
		"gzip and zeros":       {gz(text) + strings.Repeat("\x00", 3000), "gzip"},
		"zeros between":        {gz(text[:100]) + strings.Repeat("\x00", 700) + gz(text[100:]), "gzip"},
		"xz and zeros":         {xzOf(t, text) + "\x00\x00\x00\x00", "xz"},
		"gzip in gzip":         {gz(gz(text)), "gzip in gzip"},
		"zstd in gzip":         {gz(zst(text)), "zstd in gzip"},
		"gzip in xz in zstd":   {zst(xzOf(t, gz(text))), "gzip in xz in zstd"},
		"little end first":     {utf16Of(text, binary.LittleEndian, true), "UTF-16"},
		"big end first":        {utf16Of(text, binary.BigEndian, true), "UTF-16"},
		"little, without mark": {utf16Of(text, binary.LittleEndian, false), "UTF-16"},
		"big, without mark":    {utf16Of(text, binary.BigEndian, false), "UTF-16"},
		"UTF-16 in gzip":       {gz(utf16Of(text, binary.LittleEndian, true)), "UTF-16 in gzip"},
	} {
		u, err := New(strings.NewReader(c.in))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := io.ReadAll(u)
		if err != nil || u.Damaged() != nil || string(got) != text || u.Kind() != Kind(c.kind) {
			t.Errorf("%s: %d of %d bytes, kind %q, error %v, damage %v", name, len(got), len(text), u.Kind(), err,
				u.Damaged())
		}
		if u.Consumed() != int64(len(c.in)) {
			t.Errorf("%s: consumed %d of %d", name, u.Consumed(), len(c.in))
		}
		u.Close()
	}
}

func TestDamage(t *testing.T) {
	for name, packed := range map[string]string{"gzip": gz(text), "zstd": zst(text), "xz": xzOf(t, text),
		"gzip in gzip": gz(gz(text)), "lz4": lz4Of(text), "lzma": lzmaOf(text), "zlib": zlibOf(text), "s2": s2Of(text),
		"second member": gz(text[:100]) + gz(text[100:]), "second frame of lz4": lz4Of(text[:100]) + lz4Of(text[100:]),
	} {
		u, err := New(strings.NewReader(packed[:len(packed)-9]))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := io.ReadAll(u)
		if err != nil || u.Damaged() == nil || !strings.HasPrefix(text, string(got)) {
			t.Errorf("%s: %d bytes, error %v, damage %v", name, len(got), err, u.Damaged())
		}
		u.Close()
	}
}

// TestBehind: what follows whole packed data and is none itself is counted, and no damage.
func TestBehind(t *testing.T) {
	for name, packed := range map[string]string{"gzip": gz(text), "zstd": zst(text), "xz": xzOf(t, text),
		"lz4": lz4Of(text), "members": gz(text[:9]) + gz(text[9:]), "gzip in zstd": zst(gz(text)),
		"zeros between": gz(text) + "\x00\x00", "junk within": "",
	} {
		for _, junk := range []string{"saved by rank 3 at 10:00\n", strings.Repeat("log\n", 100_000),
			"PK\x03\x04 and more"} {
			in := packed + junk
			if name == "junk within" {
				in = zst(gz(text) + junk)
			}
			u, err := New(strings.NewReader(in))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			got, err := io.ReadAll(u)
			if err != nil || string(got) != text || u.Damaged() != nil || u.Behind() != int64(len(junk)) {
				t.Errorf("%s and %d bytes: %d of %d bytes, error %v, damage %v, %d behind", name, len(junk), len(got),
					len(text), err, u.Damaged(), u.Behind())
			}
			u.Close()
		}
	}
	raw, err := hex.DecodeString(bz2Hello)
	if err != nil {
		t.Fatal(err)
	}
	u, err := New(strings.NewReader(string(raw) + "done\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if got, err := io.ReadAll(u); err != nil || string(got) != "hello bzip2\n" || u.Behind() != 5 {
		t.Errorf("bzip2: %q, error %v, damage %v, %d behind", got, err, u.Damaged(), u.Behind())
	}
}

// TestLayers: what is packed too often is not unpacked for ever.
func TestLayers(t *testing.T) {
	s := text
	for range maxLayers + 2 {
		s = gz(s)
	}
	u, err := New(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if len(u.layers) != maxLayers {
		t.Errorf("%d layers", len(u.layers))
	}
}

func TestDictionary(t *testing.T) {
	raw := []byte(xzOf(t, "x"))
	raw[16] = 40 // 4 GiB
	if _, err := New(bytes.NewReader(raw)); err == nil || !strings.Contains(err.Error(), "dictionary") {
		t.Errorf("error %v", err)
	}
}

func TestFailing(t *testing.T) {
	bad := errors.New("disk on fire")
	u, err := New(io.MultiReader(strings.NewReader(gz(text)[:600]), failing{bad}))
	if err == nil {
		_, err = io.ReadAll(u)
		u.Close()
	}
	if !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// archive writes files of three kinds into a tar archive.
func archive(t testing.TB) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range 3 {
		body := fmt.Sprint("text ", i)
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d/%d.json", i), Size: int64(len(body)), Mode: 0o644,
			Format: tar.FormatPAX}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, body)
	}
	w.WriteHeader(&tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd", Format: tar.FormatPAX})
	w.Close()
	return b.String()
}

func zipped(t testing.TB) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := range 3 {
		f, err := w.Create(fmt.Sprintf("d/%d.json", i))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(f, "text ", i)
	}
	w.Close()
	return b.String()
}

func membersOf(t testing.TB, data string) (got string, damaged error) {
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	damaged, err = Members(context.Background(), f, func(m Member) error {
		if m.Unread != "" {
			got += m.Name + ": " + m.Unread + ";"
			return nil
		}
		b, err := io.ReadAll(m.R)
		got += m.Name + "=" + string(b) + ";"
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, damaged
}

// TestZipMethods: what archive/zip alone cannot unpack is read, or named with the reason.
func TestZipMethods(t *testing.T) {
	raw, err := hex.DecodeString(bz2Hello)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	add := func(h zip.FileHeader, data string, size int) {
		h.CRC32, h.CompressedSize64, h.UncompressedSize64 = crc32.ChecksumIEEE([]byte("hello bzip2\n")),
			uint64(len(data)), uint64(size)
		f, err := w.CreateRaw(&h)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(f, data)
	}
	hello := "hello bzip2\n"
	add(zip.FileHeader{Name: "bzip2", Method: zipBzip2}, string(raw), len(hello))
	add(zip.FileHeader{Name: "xz", Method: zipXZ}, xzOf(t, hello), len(hello))
	add(zip.FileHeader{Name: "zstd", Method: zstd.ZipMethodWinZip}, zst(hello), len(hello))
	add(zip.FileHeader{Name: "lzma", Method: 14}, "x", len(hello))
	add(zip.FileHeader{Name: "secret", Flags: zipEncrypted}, hello, len(hello))
	w.Close()
	want := "bzip2=hello bzip2\n;xz=hello bzip2\n;zstd=hello bzip2\n;" +
		"lzma: packed by method 14 of zip, which is not read: unpack it first;secret: encrypted: unpack it first;"
	if got, damaged := membersOf(t, b.String()); got != want || damaged != nil {
		t.Errorf("%q, damage %v", got, damaged)
	}
}

func TestMembers(t *testing.T) {
	const want = "d/0.json=text 0;d/1.json=text 1;d/2.json=text 2;"
	for name, data := range map[string]string{"tar": archive(t), "tar.gz": gz(archive(t)), "tar.zst": zst(archive(t)),
		"tar.xz": xzOf(t, archive(t)), "zip": zipped(t)} {
		if got, damaged := membersOf(t, data); got != want || damaged != nil {
			t.Errorf("%s: %s, damage %v", name, got, damaged)
		}
		if got, damaged := membersOf(t, data[:len(data)*45/100]); damaged == nil ||
			!strings.HasPrefix(want, got[:strings.LastIndexByte(got, '=')+1]) {
			t.Errorf("%s cut: %s, damage %v", name, got, damaged)
		}
	}
}

// Names that lead out of an archive stay inside it.
func TestMembersStayInside(t *testing.T) {
	for name, want := range map[string]string{"../../etc/rank0.json": "etc/rank0.json",
		"/etc/rank0.json": "etc/rank0.json", "a/../../b.json": "b.json", "./a.json": "./a.json",
		"a/b.json": "a/b.json", "a..b.json": "a..b.json"} {
		var tarred, zipped bytes.Buffer
		w := tar.NewWriter(&tarred)
		if err := w.WriteHeader(&tar.Header{Name: name, Size: 1, Mode: 0o600, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		z := zip.NewWriter(&zipped)
		f, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Close(), z.Close()); err != nil {
			t.Fatal(err)
		}
		for kind, data := range map[string]string{"tar": tarred.String(), "zip": zipped.String()} {
			if got, damaged := membersOf(t, data); got != want+"=x;" || damaged != nil {
				t.Errorf("%s, %s: %s, damage %v", kind, name, got, damaged)
			}
		}
	}
}

// A tar archive that was cut where a member ends reads as if it were whole, but for the
// blocks of zeros that it lacks.
func TestTarCutBetweenMembers(t *testing.T) {
	whole := archive(t)
	for cut := 2 * tarBlock; cut <= 6*tarBlock; cut += 2 * tarBlock { // a member is a header and a block
		for name, data := range map[string]string{"tar": whole[:cut], "tar.gz": gz(whole[:cut])} {
			if got, damaged := membersOf(t, data); strings.Count(got, ";") != cut/tarBlock/2 ||
				!errors.Is(damaged, errNoTarEnd) {
				t.Errorf("%s of %d bytes: %s, damage %v", name, cut, got, damaged)
			}
		}
	}
	for _, end := range []int{1, tarBlock, 2 * tarBlock} {
		if got, damaged := membersOf(t, whole[:6*tarBlock+end]); end >= tarBlock && damaged != nil ||
			strings.Count(got, ";") != 3 {
			t.Errorf("%d bytes of the end: %s, damage %v", end, got, damaged)
		}
	}
}

func TestBzip2(t *testing.T) {
	raw, err := hex.DecodeString(bz2Hello)
	if err != nil {
		t.Fatal(err)
	}
	u, err := New(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if got, err := io.ReadAll(u); err != nil || string(got) != "hello bzip2\n" {
		t.Errorf("%q, error %v, damage %v", got, err, u.Damaged())
	}
}

func FuzzReader(f *testing.F) {
	small := `{"traceEvents": []}`
	for _, s := range []string{small, gz(small), zst(small), xzOf(f, small), gz(gz(small)),
		lz4Of(small), lzmaOf(small), zlibOf(small), s2Of(small), gz(small) + "junk",
		utf16Of(small, binary.LittleEndian, false), archive(f), "PK\x03\x04"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4<<10 {
			return
		}
		u, err := New(bytes.NewReader(b))
		if err != nil {
			return
		}
		defer u.Close()
		if _, err := io.Copy(io.Discard, io.LimitReader(u, 1<<22)); err != nil {
			t.Fatal(err) // damage is no error
		}
	})
}
