package config

import (
	"bytes"
	"errors"
	"fmt"
)

// CookieAction is what to do about the cookie file.
type CookieAction uint8

// The actions.
const (
	// CookieUse reads the existing file.
	CookieUse CookieAction = iota
	// CookieMake draws a cookie and writes the file.
	CookieMake
)

// The lengths a cookie may have.
const (
	cookieBytesMin = 16
	cookieBytesMax = 256
)

// CookiePlan decides between using, making and refusing. exists says whether the file of CookiePath is there, used whether
// the data directory has an identity. The error is a sentence with the command that makes a cookie.
func (c *Config) CookiePlan(exists, used bool) (CookieAction, error) {
	if exists {
		return CookieUse, nil
	}
	howTo := fmt.Sprintf("(umask 077; head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \\n' > %s)", c.CookiePath())
	switch {
	case c.CookieFile != "":
		return 0, fmt.Errorf("cookie-file (%s): %s does not exist; copy it from another instance, or make one: %s",
			c.Origin("cookie-file"), c.CookieFile, howTo)
	case used:
		return 0, fmt.Errorf("the cookie %s of this instance is gone; copy it from another instance, or make one: %s",
			c.CookiePath(), howTo)
	case !c.alone():
		return 0, fmt.Errorf("instances on other addresses need a shared secret, and %s does not exist; "+
			"copy it from another instance, or make one: %s", c.CookiePath(), howTo)
	}
	return CookieMake, nil
}

// alone reports whether nobody but this machine can reach the instance, and it knows no peer but itself.
func (c *Config) alone() bool {
	if !IsLoopback(c.Listen) || !IsLoopback(c.Advertise) {
		return false
	}
	for _, p := range c.Peers {
		if !sameAddress(p, c.Listen) && !sameAddress(p, c.Advertise) {
			return false
		}
	}
	return true
}

// CheckCookie cuts one trailing newline and checks length and characters of a cookie file's content.
func CheckCookie(data []byte) (Secret, error) {
	data = cutNewline(data)
	if len(data) < cookieBytesMin || len(data) > cookieBytesMax {
		return Secret{}, fmt.Errorf("a cookie has %d to %d characters, this one has %d", cookieBytesMin, cookieBytesMax, len(data))
	}
	for _, b := range data {
		if b <= ' ' || b > '~' {
			return Secret{}, errors.New("a cookie has only printable ASCII characters without spaces")
		}
	}
	return NewSecret(data), nil
}

// PasswordBytesMax bounds a password file.
const PasswordBytesMax = 4096

// CheckPassword cuts one trailing newline of a password file's content and refuses an empty or too long one.
func CheckPassword(data []byte) (Secret, error) {
	data = cutNewline(data)
	if len(data) == 0 {
		return Secret{}, errors.New("the password is empty")
	}
	if len(data) > PasswordBytesMax {
		return Secret{}, fmt.Errorf("the password is longer than %d bytes", PasswordBytesMax)
	}
	return NewSecret(data), nil
}

func cutNewline(data []byte) []byte {
	data, found := bytes.CutSuffix(data, []byte("\n"))
	if found {
		data = bytes.TrimSuffix(data, []byte("\r"))
	}
	return data
}
