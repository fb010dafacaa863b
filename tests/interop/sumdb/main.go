// Driver of golang.org/x/mod/sumdb (note, tlog) for the tests: an implementation that is not ours reads our
// logs, checks our proofs, and writes logs for us to read. It knows C2SP paths and nothing else of aar.
//
//	sumdb verify VKEY DIR    verify a log; proofs to check come on standard input, one a line:
//	                           inclusion INDEX SIZE ROOT LEAF HASH...
//	                           consistency SIZE1 SIZE2 ROOT1 ROOT2 HASH...
//	                         prints "entries N proofs P signatures NAME..."
//	sumdb write SKEY DIR     write a log; entries come on standard input, each behind a big-endian uint16 of
//	                         its length; prints proofs as above for the last entry and from every tenth of it
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "verify":
		err = verify(os.Args[2], os.Args[3])
	case len(os.Args) == 4 && os.Args[1] == "write":
		err = write(os.Args[2], os.Args[3])
	default:
		err = errors.New("usage: sumdb verify VKEY DIR | sumdb write SKEY DIR")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sumdb:", err)
		os.Exit(1)
	}
}

// c2sp turns tile/8/0/000.p/3 into tile/0/000.p/3.
func c2sp(t tlog.Tile) string {
	return "tile/" + strings.TrimPrefix(t.Path(), fmt.Sprintf("tile/%d/", height))
}

type directory string

func (d directory) Height() int                               { return height }
func (d directory) SaveTiles(tiles []tlog.Tile, data [][]byte) {}
func (d directory) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, t := range tiles {
		data, err := os.ReadFile(filepath.Join(string(d), c2sp(t)))
		if err != nil {
			return nil, err
		}
		if len(data) != t.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", c2sp(t), len(data))
		}
		all = append(all, data)
	}
	return all, nil
}

func verify(vkey, dir string) error {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return err
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return fmt.Errorf("checkpoint text %q", opened.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return err
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return err
	}
	reader := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, directory(dir))
	got, err := tlog.TreeHash(size, reader)
	if err != nil {
		return err
	}
	// x/mod 0.7.0 gives zeros, not SHA-256 of nothing, for the empty tree; C2SP has no tiles to check there.
	if size > 0 && got != root {
		return errors.New("the tiles lead to another root")
	}
	if err := verifyEntries(dir, size, reader); err != nil {
		return err
	}
	proofs, err := checkProofs(os.Stdin)
	if err != nil {
		return err
	}
	fmt.Printf("entries %d proofs %d signatures", size, proofs)
	for _, signature := range append(opened.Sigs, opened.UnverifiedSigs...) {
		fmt.Printf(" %s", signature.Name)
	}
	fmt.Println()
	return nil
}

func bundlePath(n int64, width int) string {
	t := tlog.Tile{H: height, L: 0, N: n, W: width}
	return "tile/entries/" + strings.TrimPrefix(c2sp(t), "tile/0/")
}

func verifyEntries(dir string, size int64, reader tlog.HashReader) error {
	for first := int64(0); first < size; first += 256 {
		width := min(size-first, 256)
		path := bundlePath(first/256, int(width))
		data, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		indexes := make([]int64, width)
		for i := range indexes {
			indexes[i] = tlog.StoredHashIndex(0, first+int64(i))
		}
		hashes, err := reader.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for i := range hashes {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return fmt.Errorf("%s ends inside entry %d", path, i)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			if tlog.RecordHash(data[2:end]) != hashes[i] {
				return fmt.Errorf("entry %d is not the one in the tree", first+int64(i))
			}
			data = data[end:]
		}
		if len(data) != 0 {
			return fmt.Errorf("%s has %d bytes too many", path, len(data))
		}
	}
	return nil
}

func checkProofs(input io.Reader) (count int, err error) {
	lines := bufio.NewScanner(input)
	for ; lines.Scan(); count++ {
		words := strings.Fields(lines.Text())
		if len(words) < 5 {
			return count, fmt.Errorf("proof %q", lines.Text())
		}
		var hashes []tlog.Hash
		for _, word := range words[3:] {
			hash, err := tlog.ParseHash(word)
			if err != nil {
				return count, err
			}
			hashes = append(hashes, hash)
		}
		first, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return count, err
		}
		second, err := strconv.ParseInt(words[2], 10, 64)
		if err != nil {
			return count, err
		}
		switch words[0] {
		case "inclusion":
			err = tlog.CheckRecord(tlog.RecordProof(hashes[2:]), second, hashes[0], first, hashes[1])
		case "consistency":
			err = tlog.CheckTree(tlog.TreeProof(hashes[2:]), second, hashes[1], first, hashes[0])
		default:
			err = fmt.Errorf("proof %q", lines.Text())
		}
		if err != nil {
			return count, fmt.Errorf("%s %d %d: %w", words[0], first, second, err)
		}
	}
	return count, lines.Err()
}

func write(skey, dir string) error {
	signer, err := note.NewSigner(skey)
	if err != nil {
		return err
	}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			found[i] = stored[index]
		}
		return found, nil
	})
	input := bufio.NewReader(os.Stdin)
	var leaves []tlog.Hash
	var bundle []byte
	size := int64(0)
	for {
		var length [2]byte
		if _, err := io.ReadFull(input, length[:]); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		entry := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(input, entry); err != nil {
			return err
		}
		hashes, err := tlog.StoredHashes(size, entry, reader)
		if err != nil {
			return err
		}
		stored = append(stored, hashes...)
		leaves = append(leaves, tlog.RecordHash(entry))
		bundle = append(append(bundle, length[:]...), entry...)
		size++
		if size%256 == 0 {
			if err := save(dir, bundlePath(size/256-1, 256), bundle); err != nil {
				return err
			}
			bundle = nil
		}
	}
	if len(bundle) > 0 {
		if err := save(dir, bundlePath(size/256, int(size%256)), bundle); err != nil {
			return err
		}
	}
	for _, t := range tlog.NewTiles(height, 0, size) {
		// sumdb lists the partial tiles of every width on the way here; C2SP wants those of this size.
		if int64(t.W) != min(256, size>>(height*t.L)-t.N*256) {
			continue
		}
		data, err := tlog.ReadTileData(t, reader)
		if err != nil {
			return err
		}
		if err := save(dir, c2sp(t), data); err != nil {
			return err
		}
	}
	root, err := tlog.TreeHash(size, reader)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", signer.Name(), size, base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return err
	}
	if err := save(dir, "checkpoint", signed); err != nil {
		return err
	}
	return printProofs(size, root, leaves, reader)
}

func printProofs(size int64, root tlog.Hash, leaves []tlog.Hash, reader tlog.HashReader) error {
	step := max(size/10, 1)
	for index := (size - 1) % step; index >= 0 && index < size; index += step {
		proof, err := tlog.ProveRecord(size, index, reader)
		if err != nil {
			return err
		}
		printProof("inclusion", index, size, root, leaves[index], proof)
		if index == 0 {
			continue
		}
		old, err := tlog.TreeHash(index, reader)
		if err != nil {
			return err
		}
		extension, err := tlog.ProveTree(size, index, reader)
		if err != nil {
			return err
		}
		printProof("consistency", index, size, old, root, extension)
	}
	return nil
}

func printProof(kind string, first, second int64, one, two tlog.Hash, hashes []tlog.Hash) {
	fmt.Printf("%s %d %d %s %s", kind, first, second, one, two)
	for _, hash := range hashes {
		fmt.Printf(" %s", hash)
	}
	fmt.Println()
}

func save(dir, path string, data []byte) error {
	file := filepath.Join(dir, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
