package iproto

import (
	"bytes"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/lycosadb/lycosa/internal/errcode"
	"github.com/lycosadb/lycosa/internal/msgpack"
)

// Greeting is what a server says first.
type Greeting struct {
	// Version is the announced version, for example "2.11.0".
	Version string
	// UUID is the instance uuid.
	UUID string
	// Salt is the start of the random salt, as far as chap-sha1 uses it.
	Salt [ScrambleBytes]byte
}

// AppendGreeting appends the 128 bytes of the greeting. Texts that are too long are cut.
func AppendGreeting(dst []byte, version, uuid string, salt [SaltBytes]byte) []byte {
	var g [GreetingBytes]byte
	for i := range g {
		g[i] = ' '
	}
	copy(g[:63], "Tarantool "+version+" (Binary) "+uuid)
	base64.StdEncoding.Encode(g[64:], salt[:])
	g[63], g[127] = '\n', '\n'
	return append(dst, g[:]...)
}

// ParseGreeting reads the 128 bytes of a greeting.
func ParseGreeting(b []byte) (g Greeting, err error) {
	if len(b) != GreetingBytes || b[63] != '\n' || b[127] != '\n' {
		return g, errors.New("iproto: this is not a greeting of 128 bytes")
	}
	words := bytes.Fields(b[:63])
	if len(words) < 3 || string(words[0]) != "Tarantool" || string(words[2]) != "(Binary)" {
		return g, errors.New("iproto: the greeting is not one of the binary protocol")
	}
	g.Version = string(words[1])
	if len(words) > 3 {
		g.UUID = string(words[3])
	}
	var salt [64]byte
	text := bytes.TrimRight(b[64:127], " ")
	n, err := base64.StdEncoding.Decode(salt[:], text)
	if err != nil || n < ScrambleBytes {
		return g, fmt.Errorf("iproto: the greeting's salt is unreadable (%d bytes)", len(text))
	}
	copy(g.Salt[:], salt[:n])
	return g, nil
}

// HashPassword returns sha1(sha1(password)), which a server stores (in base64) instead of the password.
func HashPassword(password []byte) [ScrambleBytes]byte {
	step1 := sha1.Sum(password)
	return sha1.Sum(step1[:])
}

// Scramble returns the chap-sha1 proof that the sender knows the password, for one salt.
func Scramble(password []byte, salt [ScrambleBytes]byte) (out [ScrambleBytes]byte) {
	step1 := sha1.Sum(password)
	mask := scrambleMask(salt, sha1.Sum(step1[:]))
	subtle.XORBytes(out[:], step1[:], mask[:])
	return out
}

// CheckScramble reports whether the scramble proves the password whose hash is stored. It takes the same time for
// right and wrong ones of the right length.
func CheckScramble(scramble []byte, salt, stored [ScrambleBytes]byte) bool {
	if len(scramble) != ScrambleBytes {
		return false
	}
	var step1 [ScrambleBytes]byte
	mask := scrambleMask(salt, stored)
	subtle.XORBytes(step1[:], scramble, mask[:])
	hash := sha1.Sum(step1[:])
	return subtle.ConstantTimeCompare(hash[:], stored[:]) == 1
}

func scrambleMask(salt, stored [ScrambleBytes]byte) [ScrambleBytes]byte {
	var in [2 * ScrambleBytes]byte
	copy(in[:], salt[:])
	copy(in[ScrambleBytes:], stored[:])
	return sha1.Sum(in[:])
}

// AuthData is the decoded tuple of an AUTH request.
type AuthData struct {
	// Empty means that the tuple had no fields, which logs guest in.
	Empty bool
	// Scramble is part of the request; its length is ScrambleBytes.
	Scramble []byte
}

// DecodeAuth reads the tuple of an AUTH request: nothing, or the method chap-sha1 and a scramble as string or binary.
// Errors are for the client: 20 with Tarantool 2.6's texts, 249 for another method.
func DecodeAuth(tuple []byte) (a AuthData, err error) {
	n, b, err := msgpack.ReadArrayLen(tuple)
	switch {
	case err != nil:
		return a, errBody
	case n == 0:
		return AuthData{Empty: true}, nil
	case n < 2:
		return a, errcode.New(errcode.InvalidMsgPack, "authentication request body")
	}
	method, b, err := msgpack.ReadStr(b)
	if err != nil {
		return a, errcode.New(errcode.InvalidMsgPack, "authentication request body")
	}
	if string(method) != AuthChapSHA1 {
		return a, errcode.New(errcode.UnknownAuthMethod, printable(method))
	}
	a.Scramble, _, err = msgpack.ReadStr(b)
	if err != nil {
		a.Scramble, _, err = msgpack.ReadBin(b)
	}
	if err != nil {
		return a, errcode.New(errcode.InvalidMsgPack, "authentication scramble")
	}
	if len(a.Scramble) != ScrambleBytes {
		return a, errcode.New(errcode.InvalidMsgPack, "invalid scramble size")
	}
	return a, nil
}

// printable cuts foreign text for an error message.
func printable(b []byte) []byte {
	const textBytesMax = 64
	if len(b) > textBytesMax {
		b = b[:textBytesMax]
	}
	return bytes.ToValidUTF8(b, []byte("?"))
}
